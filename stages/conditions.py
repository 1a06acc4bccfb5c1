"""From a clip's arrays to the network's tensors; training and sampling share it. N frames, C, H, W; K frames of EAR; S mel steps.

Pictures become float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from stages.corpus import Clip, condition_window
from stages.crops import mouth_map
from stages.geometry import RIGID, similarity
from stages.networks.hifidiff import Conditions

REFERENCE = 0  # at inference the reference frame is the clip's first


def to_tensor(frames_NHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB → (N, C, H, W) in [-1, 1]."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(frames_NHWC)), "n h w c -> n c h w").float() / 127.5 - 1


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


def ear_windows(clip: Clip, frames: Sequence[int], blink_frames: int) -> Tensor:
    """(N, blink_frames, 2): eye aspect ratios around each frame, the clip's ends repeated."""
    around = np.asarray(frames)[:, None] + np.arange(blink_frames) - blink_frames // 2
    return torch.from_numpy(clip.ear_T2[around.clip(0, len(clip.ear_T2) - 1)])


def mouth_maps(clip: Clip, frames: Sequence[int]) -> Tensor:
    """(N, 2, 3): where the mouth lies in each frame, by the head's pose alone; see :func:`stages.crops.mouth_map`."""
    side = clip.frames_THWC.shape[1]
    return torch.from_numpy(np.stack([mouth_map(clip.landmarks_TL2[frame], side) for frame in frames]))


def aligned(clip: Clip, frames: Sequence[int], reference: int) -> NDArray[np.uint8]:
    """The reference frame moved onto each of ``frames``, (N, H, W, C): its nose and eye corners come to lie on the frame's.

    The similarity is the one that carries the mask, so that this tells of the head's place, turn and size what the mask's
    outline tells, and nothing of mouth or lids. What comes from beyond the picture is mirrored at its border.
    """
    picture, size = clip.frames_THWC[reference], clip.frames_THWC.shape[1:3]
    source = clip.landmarks_TL2[reference][RIGID]
    moved = [
        cv2.warpAffine(
            picture,
            similarity(source, clip.landmarks_TL2[frame][RIGID]),
            (size[1], size[0]),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for frame in frames
    ]
    return np.stack(moved).astype(np.uint8)


def conditions(
    clip: Clip,
    sound: Clip,
    frames: Sequence[int],
    reference: int,
    *,
    align: bool,
    audio_steps: int,
    blink_frames: int,
    drop: Sequence[str],
) -> Conditions:
    """All conditions of ``frames``; the audio is ``sound``'s (the clip itself, but where another's is wanted).

    ``align`` moves the reference onto each frame (:func:`aligned`). A method that is not given the masked face knows nothing
    of the head's pose, and its reference stays where it is.
    """
    x = to_tensor(clip.frames_THWC[list(frames)])
    if align and "masked_face" not in drop:
        reference_NCHW = to_tensor(aligned(clip, frames, reference))
    else:
        reference_NCHW = to_tensor(clip.frames_THWC[reference : reference + 1]).expand(len(frames), -1, -1, -1)
    return Conditions(
        reference_NCHW=reference_NCHW,
        mel_NSM=mel_windows(sound, frames, audio_steps),
        ear_NK2=None if "blink" in drop else ear_windows(clip, frames, blink_frames),
        masked_NCHW=None if "masked_face" in drop else masked_face(x, masks(clip, frames)),
    )
