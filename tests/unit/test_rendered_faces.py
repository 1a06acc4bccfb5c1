"""The rendered faces: what dlib sees follows the parameters they were painted from, and frames are right where it matters."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from stages.base import params
from stages.corpora.rendered import face, identity, portrait, speaker
from stages.corpora.rendered.motion import Motion
from stages.corpora.rendered.mouth import Viseme, lips
from stages.faces.geometry import ear, mouth_opening
from stages.faces.landmarks import detect_landmarks

SETTINGS = params.load("presets/demo.yaml").corpus.rendered
WIDTH, HEIGHT = SETTINGS.width, SETTINGS.height
AT_REST = {"eyelid_T2": [1.0, 1.0], "gaze_T2": [0.0, 0.0], "shift_T2": [0.0, 0.0], "scale": 1.0, "tongue": 0.2}


def still(**values: float | list[float]) -> Motion:
    """A motion of one frame: at rest but for the values."""
    values = {**{field.name: 0.0 for field in fields(Motion)}, **AT_REST, **values}
    return Motion(**{name: np.array([value], float) for name, value in values.items()})


@pytest.fixture(scope="module")
def renderers():
    """A renderer each of a plain face, one with glasses and one with a beard."""
    people = {name: identity.draw(SETTINGS.seed, name) for name in ("ada", "gaia", "levi")}
    return {name: face.Renderer(portrait.paint(who, WIDTH, HEIGHT), WIDTH, HEIGHT) for name, who in people.items()}


@pytest.mark.parametrize("name", ["ada", "gaia", "levi"])
def test_dlib_follows_eyelid_and_mouth(renderers, name):
    moves, times, _ = speaker.perform(SETTINGS, identity.draw(SETTINGS.seed, name), 0)
    seen, lid, gap = [], [], []
    for number in range(0, len(times), 2):
        found = detect_landmarks(renderers[name].frame(moves, number))
        assert found is not None, f"no face in frame {number}"
        seen.append(found)
        lid.append(moves.eyelid_T2[number].mean())
        gap.append(moves.mouth_open[number])
    landmarks = np.stack(seen)
    assert np.corrcoef(ear(landmarks).mean(-1), lid)[0, 1] > 0.9
    assert np.corrcoef(mouth_opening(landmarks), gap)[0, 1] > 0.85


@pytest.mark.parametrize(
    "pose", [{"yaw": 12.0}, {"yaw": -12.0}, {"pitch": 6.0}, {"pitch": -6.0}, {"roll": 6.0}, {"roll": -6.0}]
)
def test_turned_heads_are_found(renderers, pose):
    assert detect_landmarks(renderers["ada"].frame(still(**pose), 0)) is not None


def test_the_nose_moves_against_the_cheeks_when_the_head_turns(renderers):
    def nose_offset(yaw: float) -> float:
        found = detect_landmarks(renderers["ada"].frame(still(yaw=yaw), 0))
        assert found is not None
        return float(found[30, 0] - (found[1, 0] + found[15, 0]) / 2)

    assert nose_offset(11) - nose_offset(-11) > 12  # pixels: the head turns, it does not slide


def test_jaw_lowers_the_chin_and_nothing_above_the_nose(renderers):
    closed, wide = (renderers["ada"].frame(still(jaw_open=jaw), 0).astype(int) for jaw in (0.0, 1.0))
    changed = np.flatnonzero(np.abs(wide - closed).max((1, 2)) > 6)
    who = identity.draw(SETTINGS.seed, "ada")
    eyes = portrait.CENTRE_Y * HEIGHT
    assert changed.min() > eyes + 40
    assert changed.max() < eyes + who.chin_y + who.jaw_drop + 8
    face_height = who.chin_y - who.brow_y
    assert 0.06 < who.jaw_drop / face_height < 0.10


def test_what_shows_below_the_dilated_hull_does_not_tell_the_jaw(renderers):
    """Below the widest chin by less than mask.dilation (0.12 of some 93 px), frames of any jaw are the same."""
    who = identity.draw(SETTINGS.seed, "ada")
    below = int(portrait.CENTRE_Y * HEIGHT + who.chin_y + who.jaw_drop + 8)
    frames = [renderers["ada"].frame(still(jaw_open=jaw, mouth_open=jaw), 0)[below:] for jaw in (0.0, 0.5, 1.0)]
    assert all((frame == frames[0]).all() for frame in frames)


def test_frames_do_not_depend_on_what_was_rendered_before(renderers):
    fresh = face.Renderer(renderers["gaia"].portrait, WIDTH, HEIGHT).frame(still(), 0)
    renderers["gaia"].frame(still(mouth_open=1.0, jaw_open=1.0, eyelid_T2=[0.0, 0.0], brow=1.0), 0)
    assert (renderers["gaia"].frame(still(), 0) == fresh).all()


def test_lips_gap_is_the_parameter_and_closed_lips_touch():
    who = identity.draw(SETTINGS.seed, "ada")
    middle = np.zeros(1, np.float32)
    for gap in (0.0, 0.3, 1.0):
        curve = lips(who, Viseme(gap=gap, jaw=gap, spread=0, round=0, tongue=0.2, tuck=0, press=0), middle)
        assert (curve.inner_lower - curve.inner_upper)[0] == pytest.approx(gap * who.gap, abs=1e-4)


def test_rounding_narrows_and_spreading_widens_the_mouth():
    who = identity.draw(SETTINGS.seed, "ada")
    x = np.arange(-40, 41, dtype=np.float32)

    def width(**shape: float) -> int:
        values = {
            "gap": 0.3,
            "jaw": 0.2,
            "spread": 0.0,
            "round": 0.0,
            "tongue": 0.2,
            "tuck": 0.0,
            "press": 0.0,
            **shape,
        }
        return int((np.abs(lips(who, Viseme(**values), x).t) < 1).sum())

    assert width(spread=-1, round=1) < width() < width(spread=1)


def test_small_frames_are_the_same_picture(renderers):
    who = identity.draw(SETTINGS.seed, "ada")
    small = face.Renderer(portrait.paint(who, 240, 180), 240, 180).frame(still(), 0)
    large = renderers["ada"].frame(still(), 0).reshape(180, 2, 240, 2, 3).mean((1, 3))
    assert np.abs(small[40:140, 80:160] - large[40:140, 80:160]).mean() < 6
