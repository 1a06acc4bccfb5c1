"""LSE-C and LSE-D of a clip by SyncNet, on the reference's route (Prajwal et al. 2020): whole frames, no face tracking.

Shapes: T frames at 25 fps, H, W, 3; N = min(T, samples // 640) − 5 windows; E = 1024.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stages.measures.mfcc import mfcc
from stages.measures.sync import Sync, sync
from stages.networks.syncnet import EMBEDDING, FRAMES, SIDE, STEPS, SyncNet

FPS = 25
SAMPLES = 640  # of 16 kHz sound, a frame
STEPS_A_FRAME = 4  # of the MFCC

Embeddings = NDArray[np.float32]


def windows(frames: int, samples: int) -> int:
    """N, the windows of a clip with so many frames and samples, 0 or more. The reference leaves the last one out, too."""
    return max(min(frames, samples // SAMPLES) - FRAMES, 0)


@torch.inference_mode()
def embeddings(
    network: SyncNet, frames_THWC: NDArray[np.uint8], samples: NDArray[np.int16], *, batch: int = 20
) -> tuple[Embeddings, Embeddings]:
    """SyncNet's (N, E) of the pictures and (N, E) of the sound, ``batch`` windows at a time.

    RGB uint8 frames at 25 fps, resized whole to 224×224 (OpenCV's bilinear) and given as BGR in [0, 255]; mono int16 sound at
    16 kHz. Window i is the frames i … i+4 and the MFCC steps 4i … 4i+19. The reference decodes the video to JPEG files and
    reads those; here the decoded frames are taken as they are. The network has to be in evaluation mode.

    Raises:
        ValueError: frames or sound of another type or shape.
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise ValueError(f"frames are {frames_THWC.dtype} {frames_THWC.shape}; wanted: uint8 (T, H, W, 3)")
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"samples are {samples.dtype} {samples.shape}; wanted: int16, one channel")
    count = windows(len(frames_THWC), len(samples))
    video, audio = (np.zeros((count, EMBEDDING), np.float32) for _ in range(2))
    if count == 0:
        return video, audio
    device = next(network.parameters()).device
    cepstrum_KS = torch.from_numpy(mfcc(samples).T.astype(np.float32))
    for start in range(0, count, batch):
        own = range(start, min(start + batch, count))
        bgr_THWC = np.stack([_resized(frame) for frame in frames_THWC[own.start : own.stop + FRAMES - 1]])
        bgr_3THW = torch.from_numpy(bgr_THWC).movedim(-1, 0).to(device, torch.float32)
        pictures = torch.stack([bgr_3THW[:, i - start : i - start + FRAMES] for i in own])
        sounds = torch.stack([cepstrum_KS[None, :, STEPS_A_FRAME * i :][..., :STEPS] for i in own]).to(device)
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            video[own.start : own.stop] = network.embed_video(pictures).float().cpu().numpy()
            audio[own.start : own.stop] = network.embed_audio(sounds).float().cpu().numpy()
    return video, audio


def _resized(frame_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(frame_HWC[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def lse(
    network: SyncNet, frames_THWC: NDArray[np.uint8], samples: NDArray[np.int16], *, batch: int = 20
) -> Sync | None:
    """A clip's LSE-C (``confidence``) and LSE-D (``distance``); None where it has no window, which takes six frames.

    At the 31 shifts, sound outside the clip is the zero embedding: the shorter a clip, the more of the distances are to it.
    ``offset`` has the opposite sign of the reference's. A corpus' score is the plain mean over clips.
    """
    return sync(*embeddings(network, frames_THWC, samples, batch=batch), pad=True)
