"""stages/clips/corpus.py: a clip's frames and masks, made when they are asked for, are what its files hold."""

import pickle

import cv2
import numpy as np
import pytest
import simplejpeg
import torch
from conftest import write_clip

from stages.base.lazy import LazyArray
from stages.clips import corpus
from stages.faces.geometry import clip_masks
from stages.store import schemas, tables

FRAMES, SEGMENT, SIDE = 47, 10, 48


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clip(folder, "ada_s01", FRAMES, side=SIDE, segment=SEGMENT)
    return folder


def loaded(data, *, size=SIDE, stream=False):
    return corpus.load(data, "ada", "ada_s01", size=size, dilation=0.12, stream=stream)


@pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("size", [SIDE, 32])
def test_frames_and_masks_are_the_files(data, size, stream):
    rows = tables.read(data / "faces" / "ada.parquet", schemas.FACES).to_pylist()
    frames = [simplejpeg.decode_jpeg(jpeg) for row in rows for jpeg in row["frames"]]
    if size != SIDE:
        frames = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    clip = loaded(data, size=size, stream=stream)
    assert np.array_equal(np.asarray(clip.frames_THWC), np.stack(frames))
    assert np.array_equal(np.asarray(clip.masks_THW), clip_masks(clip.landmarks_TL2, size, 0.12))
    assert len(clip.landmarks_TL2) == len(clip.ear_T2) == FRAMES
    assert clip.mel_SM.shape == (FRAMES * 16 // 5 + 1, 80)
    assert (len(clip.audio), clip.blinks) == (FRAMES * 640, [(3, 7)])
    backwards = list(range(FRAMES))[::-7]
    assert np.array_equal(clip.frames_THWC[backwards], np.stack(frames)[backwards])


def test_segments_are_put_in_order(data, tmp_path):
    path = data / "faces" / "ada.parquet"
    rows = tables.read(path, schemas.FACES).to_pylist()
    for table in ("blink", "spectrogram"):
        (tmp_path / table).mkdir()
        (tmp_path / table / "ada.parquet").write_bytes((data / table / "ada.parquet").read_bytes())
    other = [rows[0] | {"clip": "ada_s02"}]
    tables.write(tmp_path / "faces" / "ada.parquet", schemas.FACES, [*rows[2:], *other, *rows[:2]])  # one row group
    for stream in (False, True):
        found, clip = loaded(tmp_path, stream=stream), loaded(data)
        assert np.array_equal(np.asarray(found.frames_THWC), np.asarray(clip.frames_THWC))
        assert np.array_equal(found.landmarks_TL2, clip.landmarks_TL2)


def test_streaming_holds_three_segments_and_reads_each_once(data, monkeypatch):
    read = []
    monkeypatch.setattr(
        corpus, "_jpegs", lambda path, places, jpegs=corpus._jpegs: read.extend(places) or jpegs(path, places)
    )
    clip = loaded(data, stream=True)
    for first in range(0, FRAMES, 4):
        clip.frames_THWC[first : first + 4]
        clip.frames_THWC[0]
    assert sorted(read) == [(segment, 0) for segment in range(5)]
    assert isinstance(clip.frames_THWC, LazyArray)
    assert len(clip.frames_THWC.fill.args[0].held) == 3


@pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
def test_a_clip_can_be_sent_to_another_process(data, stream):
    clip = loaded(data, stream=stream)
    clip.frames_THWC[3]
    sent = pickle.dumps(clip)
    found = pickle.loads(sent)
    assert np.array_equal(found.frames_THWC[[40, 3]], clip.frames_THWC[[40, 3]])
    assert np.array_equal(found.masks_THW[40], clip.masks_THW[40])
    assert len(sent) == len(pickle.dumps(loaded(data, stream=stream))), "what was read of the file is not sent"


@pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
def test_loader_processes_read_a_clip(data, stream):
    clip = loaded(data, stream=stream)
    loader = torch.utils.data.DataLoader(clip.frames_THWC, batch_size=8, num_workers=2, multiprocessing_context="fork")
    assert np.array_equal(torch.cat(list(loader)).numpy(), np.asarray(clip.frames_THWC))


def test_the_head_of_a_clip_keeps_the_masks_of_the_whole(data):
    clip = loaded(data, stream=True)
    head = clip.head(5)
    assert isinstance(head.frames_THWC, LazyArray)
    assert len(head.frames_THWC) == len(head.masks_THW) == len(head.ear_T2) == 5
    assert np.array_equal(np.asarray(head.masks_THW), clip.masks_THW[:5])
    assert head.blinks == [(3, 5)]
    assert clip.head(None) is clip.head(FRAMES) is clip
