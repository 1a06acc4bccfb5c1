"""From a clip's arrays to the network's tensors; training and sampling share it. N frames, C, H, W; K frames of EAR; S mel steps.

Pictures become float32 in [-1, 1], or in [0, 1] for the systems that take those.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from stages.clips.clip import Clip, condition_window
from stages.faces.crops import MOUTH_BELOW, mouth_map
from stages.faces.geometry import RIGID, head_axes, head_turns, similarity, transform
from stages.networks.hifidiff import Conditions

REFERENCE = 0  # at inference the reference frame is the clip's first
# The ellipsoid that stands for a head, in distances of the outer eye corners, and how many times as far as the nose's tip its
# outline moves, aside and down: fitted to the rendered corpus's training speakers.
HEAD, HEAD_MIDDLE = np.array([0.8, 0.9]), np.array([0.0, 0.3])  # half-axes, and the middle from between the eyes
LEVEL = np.array([[0.5, 0.0], [0.0, 0.6]])  # an eye corner and the nose's base
PARALLAX = np.array([2.0, 1.2])


def to_tensor(frames_NHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB → (N, C, H, W) in [-1, 1]."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(frames_NHWC)), "n h w c -> n c h w").float() / 127.5 - 1


def to_unit(frames_NHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB → (N, C, H, W) in [0, 1], as some published systems take pictures."""
    return (to_tensor(frames_NHWC) + 1) / 2


def to_frames(x_NCHW: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [-1, 1], clipped → uint8 RGB (N, H, W, C)."""
    x = ((x_NCHW.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rearrange(x.cpu(), "n c h w -> n h w c").contiguous().numpy()


def masks(clip: Clip, frames: Sequence[int]) -> Tensor:
    """(N, 1, H, W) float, 1 where the face is generated."""
    return torch.from_numpy(clip.masks_THW[list(frames)]).float()[:, None]


def masked_face(x_NCHW: Tensor, mask_N1HW: Tensor) -> Tensor:
    """The frame with the face region set to 0, mid-grey."""
    return x_NCHW * (1 - mask_N1HW)


def mel_windows(clip: Clip, frames: Sequence[int], steps: int) -> Tensor:
    """(N, steps, 80): the spectrogram around each frame."""
    return torch.from_numpy(np.stack([condition_window(clip.mel_SM, frame, steps) for frame in frames]))


def ear_windows(clip: Clip, frames: Sequence[int], blink_frames: int, ear: str) -> Tensor:
    """(N, blink_frames, 2): eye aspect ratios around each frame, the clip's ends repeated; see :func:`ear_condition`."""
    around = np.asarray(frames)[:, None] + np.arange(blink_frames) - blink_frames // 2
    window = clip.ear_T2[around.clip(0, len(clip.ear_T2) - 1)]
    return torch.from_numpy(ear_condition(window, *clip.eye_levels, ear=ear))


def ear_condition(
    ear_X2: NDArray[np.floating], shut: float | NDArray[np.floating], is_open: float | NDArray[np.floating], *, ear: str
) -> NDArray[np.float32]:
    """The eye aspect ratio as a network is told it, by ``network.ear``: raw, or normalised to 0 for shut and 1 for open eyes."""
    shares = (ear_X2 - shut) / (is_open - shut) if ear == "normalised" else ear_X2
    return np.asarray(shares, np.float32)


def mouth_maps(clip: Clip, frames: Sequence[int]) -> Tensor:
    """(N, 2, 3): where the mouth lies in each frame, by the head's pose alone; see :func:`stages.faces.crops.mouth_map`."""
    side = clip.frames_THWC.shape[1]
    return torch.from_numpy(np.stack([mouth_map(clip.landmarks_TL2[frame], side) for frame in frames]))


def aligned(clip: Clip, frames: Sequence[int], reference: int) -> NDArray[np.uint8]:
    """The reference frame moved onto each of ``frames``, (N, H, W, C): its nose and eye corners come to lie on the frame's.

    First by the similarity that carries the mask. Then by parallax: where the head has turned out of the picture's plane
    since the reference (:func:`stages.faces.geometry.head_turns`), its outline, which lies behind eyes and nose, moves the
    other way; how far behind each pixel lies is that of an ellipsoid. All of it comes from points that neither speech nor
    blinks move, so that it tells of the head's place, turn and size, and of nothing else. What comes from beyond the picture
    is mirrored at its border. Lanczos: linear interpolation blurs, and most of a generated face is this picture.
    """
    picture, landmarks_TL2 = clip.frames_THWC[reference], clip.landmarks_TL2
    turned = head_turns(landmarks_TL2, [*frames, reference])
    moved = np.empty((len(frames), *picture.shape), np.uint8)
    grid_HW2 = _grid(len(picture))
    for n, frame in enumerate(frames):
        points = landmarks_TL2[frame]
        _, axes, distance, _ = head_axes(points)
        shift = -PARALLAX * (turned[n] - turned[-1]) * distance @ axes
        behind_HW1 = _behind(_on_head(points, len(picture)) / distance)[..., None]
        back = similarity(points[RIGID], landmarks_TL2[reference][RIGID])
        onto = transform(grid_HW2 - behind_HW1 * shift, back).astype(np.float32)
        moved[n] = cv2.remap(picture, onto[..., 0], onto[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return moved


def _on_head(landmarks_L2: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """The place of each pixel across and down the face from the point between the eyes, (size, size, 2), pixels."""
    eyes, axes, _, _ = head_axes(landmarks_L2)
    return (_grid(size) - eyes) @ axes.T


def _behind(on_head: NDArray[np.floating]) -> NDArray[np.float64]:
    """The depth of places on a head, behind eyes and nose, (..., 2) → (...): 0 on a level with them, 1 at the outline."""

    def before(places: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.sqrt(np.maximum(1 - (((places - HEAD_MIDDLE) / HEAD) ** 2).sum(-1), 0))

    return 1 - before(on_head) / before(LEVEL).mean()


@cache
def _grid(size: int) -> NDArray[np.float64]:
    """The places of a square picture's pixels, (size, size, 2)."""
    y, x = np.mgrid[:size, :size]
    return np.stack([x, y], -1).astype(np.float64)


def places(landmarks_L2: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """The place of each pixel on the head, (4, size, size): across and down from the nose's base, nearness of mouth and of eyes.

    The units are the distance of the outer eye corners and the one from the eyes to the nose's base. These three points alone are
    used, which the similarity of :func:`aligned` uses too: this tells of the head's place, turn and size, and of nothing else.
    """
    _, _, distance, nose = head_axes(landmarks_L2)
    u, v = np.moveaxis(_on_head(landmarks_L2, size) / [distance, max(nose, 1e-6)], -1, 0)
    mouth = np.exp(-((u / 0.4) ** 2) - ((v - MOUTH_BELOW) / 0.5) ** 2)
    lids = np.exp(-(((abs(u) - 0.33) / 0.2) ** 2) - (v / 0.3) ** 2)
    return np.stack([u, v - 1, mouth, lids]).astype(np.float32)


def conditions(
    clip: Clip,
    sound: Clip,
    frames: Sequence[int],
    reference: int,
    *,
    align: bool,
    places_too: bool,
    audio_steps: int,
    blink_frames: int,
    ear: str,
    drop: Sequence[str],
) -> Conditions:
    """All conditions of ``frames``; the audio is ``sound``'s (the clip itself, but where another's is wanted).

    ``align`` moves the reference onto each frame (:func:`aligned`). A method that is not given the masked face knows nothing
    of the head's pose, and its reference stays where it is; so do, with ``places_too``, the pixels' places. ``ear`` is the
    scale of the eye aspect ratios (:func:`ear_condition`).
    """
    x = to_tensor(clip.frames_THWC[list(frames)])
    if align and "masked_face" not in drop:
        reference_NCHW = to_tensor(aligned(clip, frames, reference))
    else:
        reference_NCHW = to_tensor(clip.frames_THWC[reference : reference + 1]).expand(len(frames), -1, -1, -1)
    shown = [reference] * len(frames) if "masked_face" in drop else frames
    size = x.shape[-1]
    return Conditions(
        reference_NCHW=reference_NCHW,
        mel_NSM=mel_windows(sound, frames, audio_steps),
        ear_NK2=None if "blink" in drop else ear_windows(clip, frames, blink_frames, ear),
        masked_NCHW=None if "masked_face" in drop else masked_face(x, masks(clip, frames)),
        places_N4HW=torch.from_numpy(np.stack([places(clip.landmarks_TL2[frame], size) for frame in shown]))
        if places_too
        else None,
    )
