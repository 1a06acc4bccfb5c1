"""A model, a face and a sound give a video: on a rendered portrait, with a small network that is not trained."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_talk import CONFIG, DEMO, model

from stages import media, talk
from stages.base.errors import InputError, ParameterError
from stages.clips import facts
from stages.clips.clip import mel_window
from stages.clips.mel import Mel
from stages.corpora.rendered import speaker
from stages.store import tars
from stages.talking import film, mark, paste, portrait, voice
from stages.talking.film import Options

QUIET = Options(check=False)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a portrait, its speaker's video with sound, and a model."""
    folder = tmp_path_factory.mktemp("talk")
    settings = DEMO.corpus.rendered.model_copy(update={"sentences": 1})
    speaker.take(settings, "ada", folder / "ada.tar")
    (folder / "speech.mp4").write_bytes(tars.read(folder / "ada.tar", "ada_s01.mp4"))
    Image.fromarray(media.decode(folder / "speech.mp4", fps=25)[0]).save(folder / "ada.png")
    model().save_pretrained(folder / "model")
    return folder


def made(given: Path, options: Options = QUIET, **changes: Any) -> film.Film:
    return film.talk(model(**changes), given / "ada.png", given / "speech.mp4", options)


def test_it_is_as_long_as_the_sound_and_as_large_as_the_picture(given: Path, tmp_path: Path) -> None:
    found = made(given)
    seconds = len(media.decode_audio(given / "speech.mp4", 48_000)) / 48_000
    assert abs(found.seconds - seconds) <= 0.5 / 25
    (warning,) = found.save(tmp_path / "a.mp4")
    assert re.match(r"the face's square is \d+ pixels wide and the model makes 32: expect blur", warning)
    shown = media.decode(tmp_path / "a.mp4", fps=25)
    assert shown.shape == (len(found), 360, 480, 3)
    heard = media.decode_audio(tmp_path / "a.mp4", 48_000)
    own = media.decode_audio(given / "speech.mp4", 48_000)
    assert np.corrcoef(heard[: len(own) // 2], own[: len(own) // 2])[0, 1] > 0.99
    assert len(made(given, Options(check=False, seconds=0.4, tail=0.2))) == 15
    assert len(made(given, Options(check=False, start=seconds - 0.2))) == 5


def test_only_what_is_inside_the_mask_changes_where_nothing_moves(given: Path) -> None:
    found = made(given, Options(check=False, motion=0, seconds=0.3))
    source = np.asarray(Image.open(given / "ada.png"))
    x, y, side = found.facts["crop"]
    for picture in found:
        outside = np.ones(source.shape[:2], bool)
        outside[max(y, 0) : y + side, max(x, 0) : x + side] = False
        assert np.array_equal(picture[outside], source[outside])
        assert not np.array_equal(picture, source)


def test_motion_and_blinks_leave_each_other_alone(given: Path) -> None:
    many = {"blink": 2.0, "seconds": 1.8}
    still, moving, lids = (
        made(given, Options(check=False, **o)) for o in ({"motion": 0, **many}, many, {**many, "blink": 0})
    )
    assert np.ptp(still.landmarks_TL2, 0).max() == 0
    assert np.ptp(moving.landmarks_TL2, 0).max() > 0.3
    assert np.array_equal(moving.landmarks_TL2, lids.landmarks_TL2)
    assert np.ptp(lids.ear_T2, 0).max() == 0
    assert len(lids.facts["blinks_s"]) == 0
    assert len(moving.facts["blinks_s"]) >= 1
    for onset in moving.facts["blinks_s"]:
        near = moving.ear_T2[round(onset * 25) : round(onset * 25) + 6].min(0)
        assert (near < 0.6 * moving.ear_T2.max(0)).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(given: Path, tmp_path: Path) -> None:
    files = []
    for number, seed in enumerate((5, 5, 6)):
        made(given, Options(check=False, seconds=0.4, seed=seed)).save(tmp_path / f"{number}.mp4")
        files.append((tmp_path / f"{number}.mp4").read_bytes())
    assert files[0] == files[1] != files[2]


def test_batches_leave_no_seam(given: Path) -> None:
    one, other = (np.stack(list(made(given, Options(check=False, seconds=0.6, batch=n)))) for n in (4, 25))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_the_result_is_marked_and_plays(given: Path, tmp_path: Path) -> None:
    made(given, Options(check=False, seconds=0.4, seed=7)).save(tmp_path / "a.mp4")
    packet = mark.read(tmp_path / "a.mp4")
    assert packet is not None
    assert mark.SOURCE_TYPE in packet
    assert "seed 7" in packet
    assert mark.read(given / "speech.mp4") is None
    assert len(media.decode(tmp_path / "a.mp4", fps=25)) == 10


def test_a_lower_jaw_makes_a_longer_mask(given: Path) -> None:
    def outline(jaw: float) -> np.ndarray:
        subject = made(given, Options(check=False, jaw=jaw, seconds=0.2)).subject
        return subject.hulls(subject.small(subject.landmarks(np.arange(1))))[0]

    short, long = outline(0.0), outline(0.4)
    assert long[:, 1].max() > short[:, 1].max() + 1
    assert long[:, 1].min() == pytest.approx(short[:, 1].min(), abs=0.5)


def test_detail_gives_an_unchanged_face_back() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (120, 140, 3), dtype=np.uint8)
    crop = (20, 10, 96)
    hull = np.array([[4, 4], [27, 4], [27, 27], [4, 27]])
    small = media.cut(picture, crop, 32)
    assert np.abs(paste.Paste(crop, 0.06, True)(picture, small, hull).astype(int) - picture).max() <= 1
    plain = paste.Paste(crop, 0.06, False)(picture, small, hull)
    assert np.abs(plain.astype(int) - picture).mean() > 5
    assert np.array_equal(plain[:10], picture[:10])
    beyond = (-30, -30, 96)
    assert (
        np.abs(
            paste.Paste(beyond, 0.0, True)(picture, media.cut(picture, beyond, 32), hull).astype(int) - picture
        ).max()
        <= 1
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_read_as_people_see_them(given: Path, tmp_path: Path, orientation: int) -> None:
    with Image.open(given / "ada.png") as source:
        upright = np.asarray(source)
        backward = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # of Image.Transpose: what EXIF's reader will undo
        stored = source if orientation == 1 else source.transpose(Image.Transpose(backward[orientation]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(portrait.read_picture(tmp_path / "a.png", 1920), upright)


def test_transparency_lies_over_white_sides_are_even_and_large_pictures_are_scaled(tmp_path: Path) -> None:
    Image.new("RGBA", (101, 51), (200, 0, 0, 0)).save(tmp_path / "a.png")
    found = portrait.read_picture(tmp_path / "a.png", 1920)
    assert found.shape == (50, 100, 3)
    assert (found == 255).all()
    assert portrait.read_picture(tmp_path / "a.png", 60).shape == (30, 60, 3)


def test_several_faces_are_listed_and_chosen(given: Path, tmp_path: Path) -> None:
    with Image.open(given / "ada.png") as source:
        one = np.asarray(source)
    Image.fromarray(np.concatenate([one, one], 1)).save(tmp_path / "two.png")
    picture = portrait.read_picture(tmp_path / "two.png", 1920)
    with pytest.raises(InputError, match=r"two\.png: 2 faces \(1: \d+,\d+; 2: \d+,\d+\); say which by --which"):
        portrait.choose(tmp_path / "two.png", picture, "one")
    left, right = (portrait.choose(tmp_path / "two.png", picture, which) for which in ("left", "right"))
    assert np.abs(right - left - [480, 0]).max() < 3
    for which, expected in (("1", left), ("2", right), (f"{right[30, 0]:.0f},{right[30, 1]:.0f}", right)):
        assert np.array_equal(portrait.choose(tmp_path / "two.png", picture, which), expected)
    for which in ("3", "me", "5,5"):
        with pytest.raises(InputError, match="--which"):
            portrait.choose(tmp_path / "two.png", picture, which)


def test_a_picture_without_a_face_says_which_way_to_turn_it(given: Path, tmp_path: Path) -> None:
    with Image.open(given / "ada.png") as source:
        source.rotate(90, expand=True).save(tmp_path / "lying.png")
    Image.new("RGB", (200, 200)).save(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (
        ("lying.png", "no face found; it lies on its side: turn it right"),
        ("none.png", "no face found; take a picture"),
        ("text.png", "not a picture that can be read"),
        ("absent.png", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            film.talk(model(), tmp_path / name, given / "speech.mp4", QUIET)


def test_a_sound_that_is_none_is_refused(given: Path, tmp_path: Path) -> None:
    pictures = [np.zeros((16, 16, 3), np.uint8)] * 10
    how: dict[str, Any] = {"fps": 25, "sample_rate": 16000, "crf": 30}
    media.write_video(tmp_path / "mute.mp4", pictures, audio=None, **how)
    media.write_video(tmp_path / "silent.mp4", pictures, audio=np.zeros(6400), **how)
    (tmp_path / "text.wav").write_text("no sound")
    for path, words in (
        (tmp_path / "mute.mp4", "no audio stream; name a file with sound"),
        (tmp_path / "silent.mp4", "silent throughout"),
        (tmp_path / "text.wav", "name a file with sound"),
        (tmp_path / "absent.wav", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            film.talk(model(), given / "ada.png", path, QUIET)
    with pytest.raises(InputError, match=r"s of sound, and --from is 99; begin earlier"):
        made(given, Options(check=False, start=99))


def test_a_model_that_cannot_is_refused(given: Path) -> None:
    with pytest.raises(InputError, match="trained without the masked face"):
        made(given, drop=["masked_face"])
    with pytest.raises(ParameterError, match="--blink: the model was trained without the blink signal"):
        made(given, Options(check=False, blink=0.3), drop=["blink"])
    assert made(given, drop=["blink"]).facts["blinks_s"] == []
    before = replace(model(), config={name: value for name, value in CONFIG.items() if name != "corpus"})
    with pytest.raises(InputError, match="lacks corpus: it is of an earlier version; train it again"):
        film.talk(before, given / "ada.png", given / "speech.mp4", QUIET)


def stored(sound: np.ndarray) -> voice.Stored:
    return voice.stored([sound], 16000)


def test_the_network_is_told_speech_at_the_trainings_level_and_silence_below_the_gate() -> None:
    rng = np.random.default_rng(3)
    time_N = np.arange(32000) / 16000
    tone = 0.02 * np.sin(2 * np.pi * 200 * time_N) * (time_N < 1)
    sound = stored(tone + 0.0002 * rng.normal(size=len(tone)))
    assert voice.level(voice.powers(sound)) == pytest.approx(facts.level(sound[:], 16000), abs=1e-6)
    ungated = voice.Told.of(sound, DEMO.spectrogram, level_db=-18.0, gate="off")
    speech = ungated.samples(0, 32000)
    assert facts.level(media.to_int16(speech), 16000) == pytest.approx(-18.0, abs=0.1)
    assert ungated.gain_db > 15
    assert ungated.gate_db is None
    told = voice.Told.of(sound, DEMO.spectrogram, level_db=-18.0, gate="auto")
    assert told.gate_db is not None
    assert told.gate_db <= -30.0
    heard = told.samples(0, 32000)
    assert np.abs(heard[20000:]).max() == 0
    assert np.array_equal(heard[2000:14000], speech[2000:14000])
    assert np.array_equal(told.samples(9000, 17003), heard[9000:17003])
    assert voice.Told.of(sound, DEMO.spectrogram, level_db=None, gate="off").gain_db == 0


@pytest.mark.parametrize("per_frame", [3.2, 80 / 30, 1.6])
def test_a_frames_window_of_the_sound_is_that_of_the_whole_at_any_rate(per_frame: float) -> None:
    """The spectrogram is made piece by piece, and is that of the whole sound."""
    sound = stored(np.random.default_rng(1).normal(scale=0.1, size=24_123))
    told = voice.Told.of(sound, DEMO.spectrogram, level_db=None, gate="off")
    whole = Mel(DEMO.spectrogram)(sound[:] / np.float32(32768))
    starts = [round(per_frame * frame) - 8 for frame in range(int(130 / per_frame))]
    expected = np.stack([mel_window(whole, start, 16) for start in starts])
    for first in range(0, len(starts), 7):
        assert np.array_equal(told.windows(starts[first : first + 7], 16), expected[first : first + 7])


def test_the_command_writes_a_video_or_one_line_and_nothing(given: Path, tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.talk", given / "model", given / "ada.png", given / "speech.mp4", *more]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    done = run("--out", str(tmp_path / "a.mp4"), "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert "a.mp4: 12 frames, 0.48 s" in done.stdout
    assert "warning: the mouth hardly moves" in done.stderr  # of a network that is not trained
    for more, words in (
        (("--out", str(tmp_path / "b.avi")), "error: --out is"),
        (("--out", str(tmp_path / "b.mp4"), "--motion", "-1"), "error: --motion is -1.0; give 0 or more"),
        (("--out", str(tmp_path / "b.mp4"), "--which", "2"), "error: "),
    ):
        failed = run(*more)
        assert failed.returncode == 2
        assert failed.stderr.splitlines()[-1].startswith(words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]


def test_the_options_of_command_and_film_are_the_same() -> None:
    args = talk.parser().parse_args(["m", "f", "s"])
    assert talk.options(args) == Options()
    assert talk.options(talk.parser().parse_args(["m", "f", "s", "--blink", "off", "--preview"])).settled.steps == 1
