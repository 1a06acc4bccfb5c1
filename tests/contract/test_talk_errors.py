"""Input that ``talk`` can't use: one line with file, value and fix, exit 2, nothing half-written; lists go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_talk import model, posed, rendered, write

from stages import media, talk
from stages.base.errors import InputError, ParameterError
from stages.talking import mark, options
from stages.talking.jobs import read_jobs
from stages.talking.options import Options


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Portraits of one speaker: as they should be, turned by 30 degrees, with shut eyes, small; a sound; a model."""
    folder = tmp_path_factory.mktemp("errors")
    renderer, moves, sound = rendered()
    for name, pose in (("good", {}), ("turned", {"yaw": 30.0}), ("asleep", {"eyelid_T2": 0.0})):
        pose = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, **pose}
        (picture,) = renderer.frames(posed(moves, **pose))
        Image.fromarray(np.asarray(picture, np.uint8)).save(folder / f"{name}.png")
    with Image.open(folder / "good.png") as good:
        good.resize((150, 112), Image.Resampling.LANCZOS).save(folder / "small.png")
    write(folder / "speech.mp4", [np.zeros((16, 16, 3), np.uint8)] * 60, sound[: 2 * 48_000])
    model().save_pretrained(folder / "model")
    return folder


@pytest.mark.parametrize(
    ("face", "words"),
    [
        (
            "turned",
            r"turned\.png: the face is turned away \(its nose stands [+-]0\.\d\d aside, of 0\.3\); take a picture in which",
        ),
        ("asleep", r"asleep\.png: the eyes are shut \(eye aspect ratio 0\.1\d\); .* or --blink off"),
        ("small", r"small\.png: the face is \d\d pixels wide; give one of 60 pixels or more"),
    ],
)
def test_a_face_that_is_of_no_use_is_named_with_what_is_wrong(given: Path, face: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        model().talk(given / f"{face}.png", given / "speech.mp4", check=False)


def test_shut_eyes_will_do_where_nothing_blinks(given: Path) -> None:
    assert model().talk(given / "asleep.png", given / "speech.mp4", blink="off").facts["blinks_s"] == []


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("motion", "-1", "--motion is -1.0; give 0 or more"),
        ("fps", "0", r"--fps is 0.0; give 1 to 240"),
        ("fps", "fast", "--fps is 'fast'; give a number"),
        ("level", "loud", "--level is 'loud'; give a number, auto or off"),
        ("when_short", "again", "--when-short is 'again'; give pingpong, loop, hold or stop"),
        ("start", "nan", "--from is nan"),
        ("steps", "2.5", "--steps is '2.5'; give a number"),
    ],
)
def test_a_value_that_an_option_may_not_have_is_named_with_its_range(option: str, value: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Options(**{option: options.read(option, value)})


def command(given: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "stages.talk", str(given / "model"), str(given / "good.png"), str(given / "speech.mp4"),
            *map(str, more)]  # fmt: skip


def test_a_full_disk_leaves_nothing_and_says_so(given: Path, tmp_path: Path) -> None:
    """Files of more than so many blocks can't be written: as on a disk that is full."""
    out = tmp_path / "a.mp4"
    line = " ".join(command(given, "--out", out, "--seconds", "1", "--steps", "1", "--no-check"))
    done = subprocess.run(["bash", "-c", f"ulimit -f 4; exec {line}"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "can be written (File too large); make room" in error
    assert list(tmp_path.iterdir()) == []
    film = model().talk(given / "good.png", given / "speech.mp4", check=False, seconds=0.2)
    (tmp_path / "full").write_text("a file, where a folder is wanted")
    with pytest.raises(InputError, match=r"full/a\.mp4: can't be written \(.*\); .*make room"):
        film.save(tmp_path / "full" / "a.mp4")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_nothing_is_left(given: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "a.mp4"
    started = subprocess.Popen(
        command(given, "--out", out, "--tail", "3000", "--no-check"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )
    while not any(tmp_path.iterdir()):  # until it writes
        assert started.poll() is None
        time.sleep(0.1)
    os.kill(started.pid, how)
    _, said = started.communicate()
    assert started.returncode == 2
    assert (
        said.splitlines()[-1]
        == f"error: {out}: interrupted, and nothing half-written is left; run the same command again"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_list_makes_all_that_can_be_made(given: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(
        f"face,sound,out,seconds,motion,check\n{given}/good.png,{given}/speech.mp4,one.mp4,0.4,0,no\n"
        f"{given}/asleep.png,{given}/speech.mp4,two.mp4,0.4,,no\n{given}/good.png,{given}/speech.mp4,three.mp4,0.2,,no\n"
    )
    run = [sys.executable, "-m", "stages.talk", str(given / "model"), "--list", str(tmp_path / "jobs.csv")]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.csv", "one.mp4", "three.mp4"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "asleep.png: the eyes are shut" in errors[0]
    assert errors[1] == f"error: {tmp_path}/jobs.csv: 1 of 3 films were not made; see the errors above"
    assert len(media.decode(tmp_path / "one.mp4", fps=25)) == 10


def test_lists_are_read_or_named_by_line(tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text("face,sound,max-side,from,motion,blink\na.png,b.wav,640,1.5,head.csv,off\nc.png,/d.wav,,,,\n")
    first, second = read_jobs(table, Options(seed=7))
    assert (first.face, first.sound, first.out) == (tmp_path / "a.png", tmp_path / "b.wav", tmp_path / "a-b.mp4")
    assert first.options == Options(seed=7, max_side=640, start=1.5, motion=str(tmp_path / "head.csv"), blink="off")
    assert (second.sound, second.options) == (Path("/d.wav"), Options(seed=7))
    for text, words in (
        ("face,sound\n", "has no rows"),
        ("face\na.png\n", "lacks the column sound"),
        ("face,sound,colour\na,b,red\n", "has a column 'colour', which is no option"),
        ("face,sound,fps\na,b,25\nc,d,fast\n", "line 3: --fps is 'fast'; give a number; mend the line"),
        ("face,sound\na,b\na,b\n", "line 3 writes .*a-b.mp4, as one above does"),
        ("face,sound\n,b\n", "line 2: it names no face or no sound"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=words):
            read_jobs(table, Options())
    with pytest.raises(ParameterError, match="name a FACE and a SOUND, or a --list of them"):
        talk.jobs(talk.parser().parse_args(["model"]))
    with pytest.raises(ParameterError, match="--list says faces"):
        talk.jobs(talk.parser().parse_args(["model", "a", "b", "--list", "c"]))


def test_a_label_is_seen_and_what_it_covers_is_in_a_corner(given: Path) -> None:
    plain, labelled = (
        next(iter(model().talk(given / "good.png", given / "speech.mp4", motion=0, label=label)))
        for label in (None, "synthetic")
    )
    changed = (plain != labelled).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.min() > 0.9 * len(plain)
    assert columns.max() < 0.3 * plain.shape[1]
    assert labelled[changed].max() > 200
    args = talk.parser().parse_args(["m", "f", "s", "--label"])
    assert talk.options(args).label == "synthetic"


def test_the_file_says_what_it_is_in_its_own_metadata(given: Path, tmp_path: Path) -> None:
    import av

    named = type(model()).from_pretrained(given / "model")
    named.talk(given / "good.png", given / "speech.mp4", check=False, seconds=0.2, seed=9).save(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as file:
        said = file.metadata
    assert said["comment"].startswith("Synthetic: face and lips made by HifiDiff. Model model, sha256 ")
    assert said["comment"].endswith("seed 9, 2 steps")
    assert said["description"] == mark.SOURCE_TYPE


def test_a_name_without_an_ending_is_a_folder_of_marked_pictures(given: Path, tmp_path: Path) -> None:
    film = model().talk(given / "good.png", given / "speech.mp4", check=False, seconds=0.2)
    film.save(tmp_path / "frames")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]
    names = [f"{number:06d}.png" for number in range(5)]
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [*names, "sound.wav"]
    for name, expected in zip(names, film, strict=True):
        with Image.open(tmp_path / "frames" / name) as picture:
            assert np.array_equal(np.asarray(picture), expected)
            assert mark.SOURCE_TYPE in picture.info["XML:com.adobe.xmp"]
    assert np.array_equal(media.to_int16(media.decode_audio(tmp_path / "frames/sound.wav", 48_000)), film.heard[:])
    with pytest.raises(InputError, match=r"frames: is there already; name another folder"):
        film.save(tmp_path / "frames")
