"""A video as the face, and others that lend their motion and blinks: on a rendered speaker, with a small network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_talk import model, posed, rendered, write

from stages import media
from stages.base.errors import InputError, ParameterError
from stages.faces.geometry import ear, mouth_opening
from stages.talking import footage, heads
from stages.talking.film import Film, Options
from stages.talking.subject import Moving, Still

FPS = 30
BLANK = slice(20, 44)  # frames without a face


@dataclass(frozen=True)
class Given:
    folder: Path
    moves: object

    def film(self, face: str, sound: str = "speech.mp4", **options: object) -> Film:
        return model().talk(self.folder / face, self.folder / sound, Options(check=False), **options)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """A speaker's two seconds (``speech.mp4``), the same with a gap, one without sound that is shorter, and a portrait."""
    folder = tmp_path_factory.mktemp("videos")
    renderer, moves, sound = rendered()
    pictures = [np.asarray(p, np.uint8) for p in renderer.frames(posed(moves, slice(0, 60)))]
    write(folder / "speech.mp4", pictures, sound[: 2 * 48_000])
    write(folder / "short.mp4", pictures[:15], None)
    holed = [np.full_like(p, 90) if BLANK.start <= n < BLANK.stop else p for n, p in enumerate(pictures)]
    write(folder / "holed.mp4", holed, None)
    Image.fromarray(pictures[0]).save(folder / "face.png")
    return Given(folder, moves)


def test_a_video_keeps_its_own_rate_motion_and_blinks(given: Given) -> None:
    film = given.film("speech.mp4")
    assert isinstance(film.subject, Moving)
    assert film.fps == FPS
    assert len(film) == 60
    filmed = film.subject.footage
    assert np.array_equal(film.subject.landmarks(np.arange(60)), filmed.landmarks_TL2)
    own = ear(filmed.landmarks_TL2)
    assert min(np.corrcoef(film.ear_T2[:, eye], own[:, eye])[0, 1] for eye in (0, 1)) > 0.99
    assert 0.40 <= np.percentile(film.ear_T2, 90) <= 0.50  # the training's open eyes
    x, y, side = film.facts["crop"]
    source = media.decode(given.folder / "speech.mp4", fps=FPS)
    outside = np.ones(source.shape[1:3], bool)
    outside[max(y, 0) : y + side, max(x, 0) : x + side] = False
    for number, picture in enumerate(film):
        assert np.abs(picture[outside].astype(int) - source[number][outside]).mean() < 1  # JPEG's
        if number == 10:
            break


@pytest.mark.parametrize(
    ("when_short", "expected"),
    [("pingpong", [0, 1, 2, 3, 2, 1, 0, 1, 2]), ("loop", [0, 1, 2, 3, 0, 1, 2, 3, 0]), ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3]),
     ("stop", [0, 1, 2, 3])],
)  # fmt: skip
def test_a_video_that_is_shorter_than_the_sound(given: Given, when_short: str, expected: list[int]) -> None:
    assert heads.order(4, 9, when_short).tolist() == expected
    assert heads.order(1, 3, when_short).tolist() == ([0] if when_short == "stop" else [0, 0, 0])
    film = given.film("short.mp4", when_short=when_short)
    assert isinstance(film.subject, Moving)
    assert len(film) == (15 if when_short == "stop" else 60)
    assert film.heard.count == round(len(film) / FPS * 48_000)
    assert film.subject.order[:15].tolist() == list(range(15))


def test_a_gap_is_shown_as_the_source_has_it_and_named(given: Given) -> None:
    film = given.film("holed.mp4")
    (gap,) = film.facts["as_it_is_s"]
    assert gap == pytest.approx([BLANK.start / FPS, BLANK.stop / FPS], abs=1.5 / FPS)
    assert (
        f"holed.mp4: no face from {gap[0]:.2f} to {gap[1]:.2f} s: shown as the source has it"
        in film.facts["warnings"][0]
    )
    assert isinstance(film.subject, Moving)
    shown = [film.subject.shown(number) for number in range(60)]
    assert shown[30] == 0
    assert shown[0] == shown[59] == 1
    assert 0 < shown[18] < 1
    for number, picture in enumerate(film):
        same = np.array_equal(picture, film.subject.picture(number))
        assert same == (shown[number] == 0)


def test_a_short_gap_is_interpolated() -> None:
    found = np.ones(60, bool)
    found[20:32] = False
    assert (footage._shown(found, 25) == 1).all()
    found[32] = False
    shown = footage._shown(found, 25)
    assert np.flatnonzero(shown == 0).tolist() == list(range(20, 33))
    assert shown[19] == pytest.approx(1 / 6)
    assert shown[14] == shown[38] == 1


def test_a_damaged_video_is_used_up_to_the_damage(given: Given) -> None:
    """As many bytes as hold the first half; the sound is another file's."""
    whole = (given.folder / "speech.mp4").read_bytes()
    broken = given.folder / "broken.mp4"
    broken.write_bytes(whole[: len(whole) * 6 // 10])
    film = given.film("broken.mp4")
    (warning, *_) = film.facts["warnings"]
    assert "broken.mp4: " in warning
    assert "s are used" in warning
    assert len(film) == 60
    broken.write_bytes(whole[:3000])
    with pytest.raises(InputError, match=r"broken\.mp4: .*; "):
        given.film("broken.mp4")


def test_the_reference_has_open_eyes_and_a_shut_mouth_or_is_the_one_asked_for(given: Given) -> None:
    film = given.film("speech.mp4")
    assert isinstance(film.subject, Moving)
    points = film.subject.footage.landmarks_TL2
    found = film.subject._reference
    assert ear(points[found]).mean() >= np.percentile(ear(points).mean(1), 60)
    assert mouth_opening(points[found]) <= np.percentile(mouth_opening(points), 45)
    asked = given.film("speech.mp4", reference=0.5).subject
    assert isinstance(asked, Moving)
    assert asked._reference == 15
    with pytest.raises(InputError, match=r"--reference is 7, and what is used of it ends at 2\.00 s; give less"):
        given.film("speech.mp4", reference=7.0)
    with pytest.raises(InputError, match="no face at --reference 1"):
        given.film("holed.mp4", reference=1.0)


def test_a_videos_motion_can_be_taken_away(given: Given) -> None:
    """A number for the head: the video's reference becomes a portrait."""
    film = given.film("speech.mp4", motion=0.0)
    assert isinstance(film.subject, Still)
    assert np.ptp(film.landmarks_TL2, 0).max() == 0
    assert film.fps == FPS
    assert np.array_equal(film.subject.picture(0), film.subject.picture(40))
    assert np.array_equal(film.ear_T2, given.film("speech.mp4").ear_T2)  # its blinks stay its own


def test_another_videos_head_moves_a_portrait(given: Given) -> None:
    film = given.film("face.png", motion=str(given.folder / "speech.mp4"), fps=30.0)
    lent = given.film("speech.mp4").landmarks_TL2
    nose = 30
    for axis in (0, 1):
        assert np.corrcoef(film.landmarks_TL2[:, nose, axis], lent[:, nose, axis])[0, 1] > 0.9
    assert np.array_equal(film.subject.picture(0), np.asarray(Image.open(given.folder / "face.png")))


def test_poses_of_landmarks_are_those_that_moved_them() -> None:
    points = np.random.default_rng(2).uniform(0, 100, (68, 2))
    points[[36, 45, 33]] = [30, 40], [70, 42], [50, 60]
    poses = np.array([[0, 0, 0, 1], [4, 0.1, -0.05, 1.03], [-7, -0.2, 0.1, 0.9]], np.float64)
    moves = heads.moves(points, poses)
    assert np.array_equal(moves[0], np.eye(2, 3))
    moved = points @ np.swapaxes(moves[:, :, :2], 1, 2) + moves[:, None, :, 2]
    assert np.abs(heads.of_landmarks(moved) - poses).max() < 1e-9


def test_tables_of_motion_and_blinks(given: Given, tmp_path: Path) -> None:
    (tmp_path / "head.csv").write_text("roll,x,y,scale\n0,0,0,1\n10,0,0,1\n")
    (tmp_path / "times.csv").write_text("time_s\n0.5\n1.2\n")
    (tmp_path / "ears.csv").write_text("\ufeffear_right,ear_left\n0.3,0.4\n0.2,0.1\n")
    turning = given.film("face.png", motion=str(tmp_path / "head.csv"), when_short="loop")
    first, second = turning.landmarks_TL2[:2]
    across = [points[45] - points[36] for points in (first, second)]
    angle = np.degrees(np.arctan2(across[1][1], across[1][0]) - np.arctan2(across[0][1], across[0][0]))
    assert angle == pytest.approx(10, abs=1e-6)
    assert np.array_equal(turning.landmarks_TL2[::2], np.repeat(first[None], 25, 0))
    film = given.film("face.png", blink=str(tmp_path / "times.csv"))
    assert film.facts["blinks_s"] == [0.5, 1.2]
    shut = film.ear_T2.mean(1) < 0.6 * film.ear_T2.mean(1).max()
    assert np.flatnonzero(np.diff(shut.astype(int)) == 1).tolist() == pytest.approx([13, 31], abs=2)
    exact = given.film("face.png", blink=str(tmp_path / "ears.csv"), when_short="loop")
    assert np.allclose(exact.ear_T2[:4], [[0.4, 0.3], [0.1, 0.2], [0.4, 0.3], [0.1, 0.2]])
    for text, words in (
        ("roll,x\n0,0\n", "its columns are roll,x; give roll,x,y,scale"),
        ("roll,x,y,scale\n0,0,zero,1\n", r"line 2 is '0,0,zero,1'; give numbers"),
        ("roll,x,y,scale\n", "has no rows"),
        ("roll,x,y,scale\n0,0,0,0\n", "holds a scale of 0; give factors above 0"),
        ("", "its columns are none"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match=words):
            given.film("face.png", motion=str(tmp_path / "bad.csv"))


def test_another_videos_blinks_and_motion_leave_each_other_alone(given: Given) -> None:
    other = str(given.folder / "speech.mp4")
    plain = given.film("face.png", fps=30.0)
    lids = given.film("face.png", fps=30.0, blink=other)
    head = given.film("face.png", fps=30.0, motion=other)
    still = given.film("face.png", fps=30.0, motion=0.0)
    assert np.array_equal(lids.landmarks_TL2, plain.landmarks_TL2)
    assert np.array_equal(head.ear_T2, plain.ear_T2)
    assert np.array_equal(still.ear_T2, plain.ear_T2)
    own = given.film("speech.mp4").ear_T2
    assert np.corrcoef(lids.ear_T2[:, 0], own[:, 0])[0, 1] > 0.95


def test_what_a_picture_does_not_have_is_refused(given: Given) -> None:
    for name in ("motion", "blink"):
        with pytest.raises(ParameterError, match=f"--{name} is own: .*face.png is a picture"):
            given.film("face.png", **{name: "own"})
        with pytest.raises(ParameterError, match=f"--{name} is 'nothing': no number, word or file"):
            given.film("face.png", **{name: "nothing"})


@pytest.mark.parametrize("fps", [12.5, 25, 50])
def test_any_rate_gives_the_same_film(given: Given, fps: float) -> None:
    """The same moments are the same frames, whatever the rate; the noise is one for all."""
    film = given.film("face.png", fps=fps, motion=0.0, blink="off", seconds=0.5)
    assert len(film) == round(0.5 * fps)
    reference = given.film("face.png", fps=12.5, motion=0.0, blink="off", seconds=0.5)
    every = list(film.faces())[:: round(fps / 12.5)][:6]
    for made, expected in zip(every, list(reference.faces())[:6], strict=True):
        assert np.abs(made.astype(int) - expected).max() <= 1


def test_two_faces_of_a_video_are_listed_and_one_is_followed(given: Given) -> None:
    pictures = media.decode(given.folder / "short.mp4", fps=FPS)
    write(given.folder / "two.mp4", np.concatenate([pictures, pictures], 2), None)
    with pytest.raises(InputError, match=r"two\.mp4: 2 faces \(1: \d+,\d+; 2: \d+,\d+\); say which by --which"):
        given.film("two.mp4")
    one = given.film("short.mp4", seconds=0.5)
    right = given.film("two.mp4", which="right", seconds=0.5)
    shift = right.subject.landmarks(np.arange(15)) - one.subject.landmarks(np.arange(15))
    assert np.abs(shift - [480, 0]).max() < 6
