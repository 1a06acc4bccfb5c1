"""The output of the encoders that a run trains itself, the judges, for a video. N items, T frames, E embedding.

Networks with public weights are another family, with columns of their own: :class:`stages.pretrained.public_judges.Public`.
Numbers of two families never stand under one name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.base import devices
from stages.base.errors import InputError
from stages.clips import conditions
from stages.clips.clip import sync_window
from stages.faces import crops
from stages.measures.image import hull_crops
from stages.measures.networks import judges
from stages.measures.networks.judges import MOUTH_SIZE, SYNC_FRAMES, VIDEO_FRAMES, FrameEncoder, SyncJudge, VideoEncoder
from stages.store import weights_file

if TYPE_CHECKING:
    from stages.base.params import Params
    from stages.pretrained.public_judges import Public

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]

STRIDE = 4  # frames between the starts of two windows of the video encoder


class Judges:
    """The trained judges of a run (``data/<run>/judges``), in evaluation mode."""

    digest: str  # of the weights: features of different weights are not comparable

    def __init__(self, folder: Path, batch: int) -> None:
        self.batch = batch
        self.digest = _digest([folder / f"{judge}.safetensors" for judge in ("sync", "frame", "video")])
        self.sync, _ = _load(folder / "sync.safetensors", SyncJudge)
        self.frame, self.size = _load(folder / "frame.safetensors", FrameEncoder)
        self.video, _ = _load(folder / "video.safetensors", VideoEncoder)

    def features(self, frames_THWC: Frames, masks_THW: NDArray[np.bool_]) -> dict[str, Array]:
        """A clip's features for the Fréchet distances, by column of ``features`` and ``reference``.

        Of its frames, (T, E); of the hull of the face alone, (0, E) where there is no mask; of windows of eight frames, (N, E).
        """
        frames = crops.resized(frames_THWC, self.size)
        hulls = hull_crops(frames_THWC, masks_THW, self.size)
        windows = crops.windows(frames, VIDEO_FRAMES, STRIDE)
        video = torch.stack([conditions.to_tensor(w) for w in windows]) if len(windows) else torch.zeros(0)
        return {
            "frame_features": self._features(cast(FrameEncoder, self.frame), conditions.to_tensor(frames)),
            "mask_features": self._features(cast(FrameEncoder, self.frame), conditions.to_tensor(hulls)),
            "video_features": self._features(cast(VideoEncoder, self.video), video),
        }

    @torch.no_grad()
    def mouths(self, frames_THWC: Frames, landmarks_TL2: NDArray[np.floating]) -> Array:
        """Embeddings of five mouth cuts from each frame on, (T − 4, E); the landmarks say where the head is."""
        if len(frames_THWC) < SYNC_FRAMES:
            return np.zeros((0, 1))
        x = conditions.to_tensor(crops.mouth_crops(frames_THWC, landmarks_TL2, MOUTH_SIZE))
        windows = x.unfold(0, SYNC_FRAMES, 1).movedim(-1, 1)
        return _numpy([cast(SyncJudge, self.sync).embed_video(part) for part in windows.split(self.batch)])

    @torch.no_grad()
    def sound(self, mel_SM: NDArray[np.float32], frames: int) -> Array:
        """Embeddings of the sound at the same places of a clip of so many frames, (T − 4, E)."""
        count = frames - SYNC_FRAMES + 1
        if count < 1:
            return np.zeros((0, 1))
        mel = torch.from_numpy(np.stack([sync_window(mel_SM, start) for start in range(count)]))
        return _numpy([cast(SyncJudge, self.sync).embed_audio(part) for part in mel.split(self.batch)])

    @torch.no_grad()
    def _features(self, encoder: FrameEncoder | VideoEncoder, x: Tensor) -> Array:
        if not len(x):
            return np.zeros((0, len(encoder.mean)))
        return _numpy([encoder.features(part) for part in x.split(self.batch)])


def public_networks(settings: Params) -> Public | None:
    """The networks that ``metrics.public`` names; None where it names none, and then nothing of them is imported.

    Raises:
        InputError: a file of weights isn't there and can't be fetched.
        ParameterError: ``metrics.device`` names an accelerator, and there is none of the name.
    """
    if not settings.metrics.public:
        return None
    from stages.pretrained.public_judges import Public

    device = devices.choose(settings.metrics.device, "metrics.device")
    return Public(settings.metrics.public, Path(settings.weights.folder), device)


def _load(path: Path, kind: type[torch.nn.Module]) -> tuple[torch.nn.Module, int]:
    weights, config = weights_file.read(path)
    network = judges.build(config)
    if not isinstance(network, kind):
        raise InputError(path, f"holds the {config.get('judge')} judge", "delete it and run 'snakemake --cores all'")
    network.load_state_dict(weights)
    return network.eval(), int(config["size"])


def _digest(paths: list[Path]) -> str:
    """16 hexadecimal digits of the files' content; a missing one is reported where it is read."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()[:16]


def _numpy(parts: list[Tensor]) -> Array:
    return torch.cat(parts).double().numpy()
