"""Footage cut into clips: shots, faces that are lost or turned away, silences, other people, and the length of what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.base import params
from stages.faces import pieces as cutting
from stages.faces.pieces import Piece, Shots

CUT = params.Cut(longest_s=8, shortest_s=1, silence_s=1, turn=0.3, jump=0.04)


def picture(seed: int, shift: int = 0) -> NDArray[np.uint8]:
    """Clouds that move by some pixels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (12, 16)).astype(np.uint8)
    return np.roll(np.kron(small, np.ones((20, 20), np.uint8)), shift, 1)


def starts(images: Sequence[NDArray[np.uint8]]) -> list[int]:
    shots = Shots()
    seen = list(shots.follow(images))
    assert [id(image) for _, image in seen] == [id(image) for image in images], "each picture once, in order"
    numbers = [number for number, _ in seen]
    assert [t for t in range(1, len(numbers)) if numbers[t] > numbers[t - 1]] == shots.starts
    return shots.starts


def test_a_shot_begins_where_the_picture_changes() -> None:
    one, other = [picture(1, t) for t in range(20)], [picture(2, t) for t in range(20)]
    assert starts(one) == []
    assert starts([*one, *other, *one]) == [20, 40]
    assert starts([*one, other[0]]) == [20], "also with the last picture"
    assert starts([]) == []
    assert starts(one[:1]) == []


def test_a_flash_and_fast_motion_are_no_cuts() -> None:
    one = [picture(1, t) for t in range(20)]
    flash = np.full_like(one[0], 255)
    assert starts([*one[:10], flash, *one[10:]]) == []
    assert starts([picture(1, 4 * t) for t in range(30)]) == []


def face(count: int, *, aside: float = 0.0, jump: float = 0.0, seed: int = 0) -> list[NDArray[np.float32]]:
    """Landmarks of a face 100 pixels wide that stands still but for ``jump`` of its size."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], -1) * 70 + 200
    points[[36, 39, 42, 45]] = [[150, 180], [180, 180], [220, 180], [250, 180]]
    points[[29, 30]] = [200 + 100 * aside, 210]
    points[33] = [200, 225]
    return [(points + rng.normal(0, 100 * jump, (68, 2))).astype(np.float32) for _ in range(count)]


def parts(
    found: Sequence[NDArray[np.float32] | None], begin: Sequence[int] = (), level: Any = None, **changed: Any
) -> list[Piece]:
    cut = CUT.model_copy(update=changed)
    made = cutting.pieces(found, begin, level, cut=cut, max_gap=5, fps=25)
    assert [piece.first for piece in made] == [0, *(piece.after for piece in made[:-1])], "each frame in one"
    assert made[-1].after == len(found)
    return made


def test_what_has_no_fault_is_one_part() -> None:
    assert parts(face(100)) == [Piece(0, 100)]
    assert parts([*face(40), *[None] * 5, *face(55)]) == [Piece(0, 100)], "a short loss is filled"


def test_losses_and_shots_part() -> None:
    lost: list[NDArray[np.float32] | None] = [*face(40), *[None] * 6, *face(54)]
    assert parts(lost) == [Piece(0, 40), Piece(40, 46, "no face"), Piece(46, 100)]
    assert parts([None, None, *face(98)]) == [Piece(0, 2, "no face"), Piece(2, 100)], "none is made up at an end"
    assert parts(face(100), [30]) == [Piece(0, 30), Piece(30, 100)]
    assert parts([None] * 30) == [Piece(0, 30, "no face")]
    split: list[NDArray[np.float32] | None] = [*face(47), *[None] * 6, *face(47)]
    assert parts(split, [50]) == [Piece(0, 47), Piece(47, 53, "no face"), Piece(53, 100)], "a loss over a cut is one"


def test_heads_that_are_turned_away_and_landmarks_on_no_face_are_left_out() -> None:
    turned = parts([*face(50), *face(30, aside=0.5), *face(50)])
    assert [piece.reason for piece in turned] == ["", "the head is turned away", ""]
    assert abs(turned[1].first - 50) <= 2 >= abs(turned[1].after - 80)
    assert parts([*face(50), *face(50, aside=0.2)]) == [Piece(0, 100)]
    jumping = parts([*face(50), *face(50, jump=0.1), *face(50)])
    assert [piece.reason for piece in jumping] == ["", "the landmarks sit on no face", ""]
    assert parts(face(100, jump=0.01)) == [Piece(0, 100)]


def test_silences_are_left_out_but_for_a_breath() -> None:
    level = np.zeros(200)
    level[80:130] = -60
    breath = 5
    assert parts(face(200), level=level) == [
        Piece(0, 80 + breath),
        Piece(80 + breath, 130 - breath, "nobody speaks"),
        Piece(130 - breath, 200),
    ]
    level[80:130] = -20
    assert parts(face(200), level=level) == [Piece(0, 200)]
    level[170:] = -60
    assert parts(face(200), level=level)[-1] == Piece(175, 200, "nobody speaks")
    assert parts(face(200), [170], level=level)[-1] == Piece(170, 200, "nobody speaks"), "no breath after a cut"
    level[:] = 0
    level[:60] = -60
    breath_in = 60 - breath
    lost = parts([*face(breath_in - 1), None, None, *face(200 - breath_in - 1)], level=level)
    assert lost == [
        Piece(0, breath_in, "nobody speaks"),
        Piece(breath_in, breath_in + 1, "no face"),
        Piece(breath_in + 1, 200),
    ]


def test_long_parts_are_divided_where_it_is_quiet_and_short_ones_left_out() -> None:
    level = np.zeros(500)
    level[240] = level[235] = -30
    assert parts(face(500), level=level, longest_s=10) == [Piece(0, 235), Piece(235, 500)]
    assert [piece.frames for piece in parts(face(500), longest_s=5)] == [125] * 4
    short = parts([*face(100), *[None] * 10, *face(20)])
    assert short[-1] == Piece(110, 130, "shorter than 1 s")


@given(
    st.lists(
        st.tuples(st.sampled_from(["face", "none", "turned", "jump"]), st.integers(1, 40)), min_size=1, max_size=8
    ),
    st.data(),
)
def test_each_frame_is_in_one_part_and_those_that_are_used_are_long_enough(
    runs: list[tuple[str, int]], data: st.DataObject
) -> None:
    made: dict[str, Any] = {"face": {}, "turned": {"aside": 0.6}, "jump": {"jump": 0.2}}
    found: list[NDArray[np.float32] | None] = []
    for kind, count in runs:
        found += [None] * count if kind == "none" else face(count, **made[kind])
    begin = sorted(data.draw(st.sets(st.integers(1, max(len(found) - 1, 1)), max_size=4)) - {len(found)})
    level = np.array(data.draw(st.lists(st.sampled_from([-60.0, 0.0]), min_size=len(found), max_size=len(found))))
    for piece in parts(found, begin, level, shortest_s=0.4, silence_s=0.2, longest_s=1.0):
        assert piece.frames > 0
        inside = [found[t] is None for t in range(piece.first, piece.after)]
        if not piece.reason:
            assert 10 <= piece.frames <= 32
            assert not inside[0]
            assert not inside[-1]
            assert not any(piece.first < start < piece.after for start in begin)


def test_levels_by_hand() -> None:
    sound = np.zeros(16000)
    sound[:8000] = 1.0
    sound[8000:12000] = 0.1
    found = cutting.levels(sound, 16000, 25, 26)
    assert found[[0, 5, 11]] == pytest.approx(0)
    assert found[[13, 17]] == pytest.approx(-20)
    assert found[[20, 24]] == pytest.approx(-100)
    assert len(found) == 26
    assert found[25] == -100, "beyond the sound's end there is none"
    assert (cutting.levels(np.zeros(0), 16000, 25, 3) == -100).all()


def test_the_person_with_the_most_frames_stays() -> None:
    rng = np.random.default_rng(1)
    ann, bob = rng.normal(0, 1, (2, 128)) / 10
    seen = np.stack([ann, bob, ann, ann, bob]) + rng.normal(0, 0.02, (5, 128))
    assert cutting.strangers(seen, [100, 150, 100, 100, 100]).tolist() == [False, True, False, False, True]
    assert cutting.strangers(seen, [100, 300, 100, 100, 100]).tolist() == [True, False, True, True, False]
    assert cutting.strangers(np.zeros((0, 128)), []).tolist() == []
