"""CREMA-D's kind of files (flv1 and mp3 in Flash video, WAV beside it) from the download to the index."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soxr
import yaml
from commands import call
from numpy.typing import NDArray

from stages import blink, download, index, mask, media, spectrogram
from stages.base import params, presets
from stages.clips import corpus
from stages.corpora import cremad
from stages.corpora.cremad import Object
from stages.corpora.rendered import speaker
from stages.store import schemas, tables, tars


def write_flv(path: Path, frames_THWC: NDArray[np.uint8], audio: NDArray[np.float32] | None) -> None:
    """Flash video at 29.97 fps with no duration in it, as one of CREMA-D's; ``audio``: 16 kHz mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="flv", options={"flvflags": "no_duration_filesize"}) as out:
        stream: Any = out.add_stream("flv1", rate=Fraction(30000, 1001), options={"qscale": "3"})
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        track: Any = None if audio is None else out.add_stream("libmp3lame", rate=44100, layout="mono")
        for number, picture in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1001, 30000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None and audio is not None:
            resampled = soxr.resample(audio, 16000, 44100)
            part = av.AudioFrame.from_ndarray(resampled[None], format="fltp", layout="mono")
            part.sample_rate, part.pts = 44100, 0
            out.mux(track.encode(part))
            out.mux(track.encode(None))


def write_wav(path: Path, audio: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="wav") as out:
        track: Any = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        part = av.AudioFrame.from_ndarray((audio * 32767).astype(np.int16)[None], format="s16", layout="mono")
        part.sample_rate, part.pts = 16000, 0
        out.mux(track.encode(part))
        out.mux(track.encode(None))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A speaker of CREMA-D whose files are there: a clip, one without sound, an error picture; taken to the index."""
    root = tmp_path_factory.mktemp("run")
    settings = yaml.safe_load(presets.whole(Path("presets/paper.yaml")))
    settings["corpus"]["shards"] = ["1076"]
    settings["index"] |= {"unseen_speakers": [], "test_sentences": ["MTI"]}
    settings["cremad"] |= {"folder": str(root / "cremad"), "sources": ["http://127.0.0.1:9/a"]}
    for method in settings["methods"].values():
        method["splits"] = ["test_seen"]
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    made = params.load("presets/demo.yaml").corpus.rendered.model_copy(update={"sentences": 1})
    speaker.take(made, "ada", root / "ada.tar")
    clip = tars.read(root / "ada.tar", "ada_s01.mp4")
    frames, sound = media.decode(clip, fps=30000 / 1001), media.decode_audio(clip, 16000)
    videos, folder = root / "cremad" / "VideoFlash", root / "cremad"
    write_flv(videos / "1076_DFA_NEU_XX.flv", frames, sound)
    write_flv(videos / "1076_MTI_NEU_XX.flv", frames[:40], None)
    write_wav(folder / "AudioWAV" / "1076_MTI_NEU_XX.wav", sound)
    write_flv(videos / "1076_MTI_SAD_XX.flv", np.full((6, 360, 480, 3), 90, np.uint8), sound[:3200])
    listed = {}
    for path in sorted(folder.rglob("*.*")):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        listed[name] = Object(name, hashlib.sha256(content).hexdigest(), len(content))
    given, shard = ("--params", root / "params.yaml"), "1076"
    raw, faces = root / "raw" / f"{shard}.tar", root / "faces" / f"{shard}.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cremad, "manifest", lambda: listed)
        call(download.main, "--shard", shard, "--out", raw, *given)
    call(mask.main, "--raw", raw, "--out", faces, *given)
    call(blink.main, "--faces", faces, "--out", root / "blink" / f"{shard}.parquet", *given)
    out = root / "spectrogram" / f"{shard}.parquet"
    call(spectrogram.main, "--raw", raw, "--faces", faces, "--out", out, *given)
    call(index.main, "--data", root, "--out", root / "index.parquet", *given)
    return root


def test_the_index_says_what_each_clip_is_and_why_one_is_left_out(run: Path) -> None:
    rows = {row["clip"]: row for row in tables.read(run / "index.parquet", schemas.INDEX).to_pylist()}
    assert {clip: (row["split"], row["status"]) for clip, row in rows.items()} == {
        "1076_DFA_NEU_XX": ("train", "ok"),
        "1076_MTI_NEU_XX": ("test_seen", "ok"),
        "1076_MTI_SAD_XX": ("out", "known defect: an error picture, no audio, very short"),
    }
    row = rows["1076_MTI_NEU_XX"]
    assert (row["speaker"], row["sentence"], row["emotion"], row["level"]) == ("1076", "MTI", "NEU", "XX")
    assert "sound from AudioWAV/1076_MTI_NEU_XX.wav" in row["source"]


def test_the_wav_and_the_videos_own_track_are_the_same_sound(run: Path) -> None:
    """MP3 alters and may shift it by a fraction of a spectrogram's step; the pictures are the same, but for where they were cut:
    a crop's corner lies on every second pixel, which are 0.7 of these.
    """
    own, beside = (corpus.load(run, "1076", f"1076_{name}_NEU_XX", size=64, dilation=0.12) for name in ("DFA", "MTI"))
    steps = min(len(own.mel_SM), len(beside.mel_SM)) - 8
    assert steps > 80
    alike = np.corrcoef(own.mel_SM[:steps].ravel(), beside.mel_SM[:steps].ravel())[0, 1]
    assert alike > 0.95
    assert np.abs(own.landmarks_TL2[:30] - beside.landmarks_TL2[:30]).mean() < 1.0
