"""LSE-C and LSE-D of a clip by SyncNet, on the reference's route (Prajwal et al. 2020): whole frames, no face tracking.

SyncNet's own program finds a face, follows it and cuts it out with a margin first; the tracker's defaults refuse faces of less
than 100 pixels and tracks of less than 100 frames. That is not done here, nor for a folder of videos: frames are to show a face
as the pipeline's crops do. Of frames with more around the face another number comes out than of the face's track.

Shapes: T frames at 25 fps, H, W, 3; N = min(T, samples // 640) − 5 windows, as the reference leaves the last one out; E = 1024.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stages.measures.mfcc import mfcc
from stages.measures.networks.syncnet import EMBEDDING, FRAMES, SIDE, STEPS, SyncNet
from stages.measures.sync import Sync, sync
from stages.networks import exact

FPS = 25
SAMPLES = 640  # of 16 kHz sound, a frame
STEPS_A_FRAME = 4  # of the MFCC

Embeddings = NDArray[np.float32]


@torch.inference_mode()
def pictures(network: SyncNet, frames_THWC: NDArray[np.uint8], *, batch: int = 20) -> Embeddings:
    """SyncNet's embeddings (T − 5, E) of a video, ``batch`` windows at a time; window i is the frames i … i+4.

    RGB uint8 frames at 25 fps, resized whole to 224×224 (OpenCV's bilinear) and given as BGR in [0, 255]. The reference decodes
    the video to JPEG files and reads those; here the decoded frames are taken as they are. The network has to be in
    evaluation mode.

    Raises:
        ValueError: frames of another type or shape.
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise ValueError(f"frames are {frames_THWC.dtype} {frames_THWC.shape}; wanted: uint8 (T, H, W, 3)")
    device = next(network.parameters()).device
    found = np.zeros((max(len(frames_THWC) - FRAMES, 0), EMBEDDING), np.float32)
    for start in range(0, len(found), batch):
        own = range(start, min(start + batch, len(found)))
        bgr_THWC = np.stack([_resized(frame) for frame in frames_THWC[own.start : own.stop + FRAMES - 1]])
        bgr_3THW = torch.from_numpy(bgr_THWC).movedim(-1, 0).to(device, torch.float32)
        windows_B3FHW = torch.stack([bgr_3THW[:, i - start : i - start + FRAMES] for i in own])
        with exact():
            found[own.start : own.stop] = network.embed_video(windows_B3FHW).float().cpu().numpy()
    return found


@torch.inference_mode()
def sound(network: SyncNet, samples: NDArray[np.int16], *, batch: int = 20) -> Embeddings:
    """SyncNet's embeddings (samples // 640 − 5, E) of mono int16 sound at 16 kHz; window i is the MFCC steps 4i … 4i+19.

    Raises:
        ValueError: sound of another type or shape.
    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"samples are {samples.dtype} {samples.shape}; wanted: int16, one channel")
    device = next(network.parameters()).device
    found = np.zeros((max(len(samples) // SAMPLES - FRAMES, 0), EMBEDDING), np.float32)
    if not len(found):
        return found
    cepstrum_KS = torch.from_numpy(mfcc(samples).T.astype(np.float32))
    for start in range(0, len(found), batch):
        own = range(start, min(start + batch, len(found)))
        windows_B1KS = torch.stack([cepstrum_KS[None, :, STEPS_A_FRAME * i :][..., :STEPS] for i in own]).to(device)
        with exact():
            found[own.start : own.stop] = network.embed_audio(windows_B1KS).float().cpu().numpy()
    return found


def _resized(frame_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(frame_HWC[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def lse(
    network: SyncNet, frames_THWC: NDArray[np.uint8], samples: NDArray[np.int16], *, batch: int = 20
) -> Sync | None:
    """A clip's LSE-C (``confidence``) and LSE-D (``distance``); None where it has no window, which takes six frames."""
    return of_embeddings(pictures(network, frames_THWC, batch=batch), sound(network, samples, batch=batch))


def of_embeddings(pictures_NE: Embeddings, sound_NE: Embeddings) -> Sync | None:
    """The same of embeddings, the longer of the two cut.

    At the 31 shifts, sound outside the clip is the zero embedding: the shorter a clip, the more of the distances are to it.
    ``offset`` has the opposite sign of the reference's. A corpus' score is the plain mean over clips.
    """
    return sync(pictures_NE, sound_NE, pad=True)
