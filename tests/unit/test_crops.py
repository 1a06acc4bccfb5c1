"""Cuts for the judges: they follow the head, not the mouth."""

import cv2
import numpy as np
import pytest
import torch

from stages.faces import crops
from stages.faces.geometry import MOUTH
from stages.networks.lipsync_expert import mouths
from stages.training import corruptions


def test_mouth_cut_does_not_follow_the_mouth(make_clip) -> None:
    landmarks = make_clip(size=64).landmarks_TL2[0]
    opened = landmarks.copy()
    opened[MOUTH] += [0, 6]
    opened[:17] += [0, 8]
    np.testing.assert_array_equal(crops.mouth_matrix(landmarks, 32), crops.mouth_matrix(opened, 32))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_mouth_cut_is_upright_and_of_one_size(make_clip, scale) -> None:
    """A head turned by 20 degrees, enlarged and moved gives the same cut; the mouth lies in it."""
    landmarks = make_clip(size=64).landmarks_TL2[0].astype(np.float64)
    angle = np.radians(20)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = landmarks @ turn.T + [5, -3]
    for points in (landmarks, moved):
        matrix = crops.mouth_matrix(points, 32)
        placed = points @ matrix[:, :2].T + matrix[:, 2]
        assert (placed[MOUTH] > 0).all()
        assert (placed[MOUTH] < 31).all()
    one, two = (p @ m[:, :2].T + m[:, 2] for p, m in ((q, crops.mouth_matrix(q, 32)) for q in (landmarks, moved)))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_experts_cut_is_the_judges_cut(make_clip) -> None:
    """One by OpenCV, on pixels; the other by torch, on a grid from edge to edge, through which gradients pass."""
    clip = make_clip(size=64)
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in clip.frames_THWC[:5]])
    expected = crops.mouth_crops(smooth, clip.landmarks_TL2[:5], 32)
    maps = torch.from_numpy(np.stack([crops.mouth_map(points, 64) for points in clip.landmarks_TL2[:5]]))
    frames = torch.from_numpy(smooth).permute(0, 3, 1, 2)[None].float().requires_grad_()
    found = mouths(frames, maps[None], 32)
    np.testing.assert_allclose(found[0].detach().permute(0, 2, 3, 1), expected, atol=1.5)
    found.sum().backward()
    assert frames.grad is not None
    assert float(frames.grad[0, 0, :, :20].abs().sum()) == 0  # above the mouth: the cut does not see it


def test_windows_and_sizes(make_clip) -> None:
    frames = make_clip(frames=20).frames_THWC
    assert crops.windows(frames, 8, 4).shape == (4, 8, 32, 32, 3)
    assert len(crops.windows(frames[:5], 8, 4)) == 0
    assert crops.resized(frames, 16).shape == (20, 16, 16, 3)
    assert crops.resized(frames, 32) is frames


@pytest.mark.parametrize("corrupt", sorted({*corruptions.IN_SPACE, *corruptions.IN_TIME}, key=lambda f: f.__name__))
def test_corruptions_keep_the_form_and_leave_the_input(make_clip, corrupt) -> None:
    frames = make_clip(frames=8).frames_THWC
    before = frames.copy()
    once, again = (corrupt(frames, np.random.default_rng(3)) for _ in range(2))
    assert once.shape == frames.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(frames, before)
    assert (corrupt is corruptions.clean) == np.array_equal(once, frames)
