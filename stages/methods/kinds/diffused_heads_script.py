"""Diffused Heads by its authors' published weights: two TorchScript files, called as their public program calls them.

Stypułkowski et al., WACV 2024, whose idea stands in :mod:`stages.methods.kinds.diffused_heads`. The authors publish, for CREMA-D,
``crema_script.pt`` (the UNet) and ``audio_encoder.pt`` (SDA's encoder), under CC BY-NC-SA 4.0. Put both into
``data/<run>/models/<name>/`` and name that folder as the row's ``made_from``, with the two hashes in its ``settings``.

**TorchScript is a program from elsewhere**, which runs with your rights. A file is read only if its sha256 is the one that the
row's settings state; state what its publisher says, or what ``sha256sum`` prints for a file whose origin you trust.

**Never run here with the real files**, which no machine that this was made on could fetch: it was tested with small scripted
modules of the same signature. The call, by the authors' public ``sample.py`` and what it uses:

- sound at 16 kHz in [-1, 1], 1,280 zeros before and after it, cut into windows of 3,200 samples every 640, one a frame;
- encoder(window (1, 1, 3200), length (1,), init_state=hidden (2, 1, 256)) → embedding (1, 256), something, the next hidden state;
- unet(x_t, t, identity, motion_frames=…, audio_emb=…) → (1, 6, 128, 128): noise and ν in [-1, 1], where x_t and the identity
  frame are (1, 3, 128, 128) in [-1, 1], t is one of the 1,000 timesteps, the motion frames are the two before, in colour, in
  order, (1, 6, 128, 128), and audio_emb is (1, 5, 256), the frame's own in the middle, the clip's ends repeated;
- the cosine schedule and the learned variance, on ``steps`` timesteps spread evenly from 0 to 999, all noise fresh.

Frames are brought to 128×128 and back where the run has another size. They are this pipeline's crops; the authors' faces were
aligned by another program, so that the weights see faces somewhat otherwise placed than those that they learnt.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from stages.base import params
from stages.base.errors import InputError
from stages.clips import conditions
from stages.clips.clip import Clip
from stages.clips.conditions import REFERENCE
from stages.diffusion import learned_variance
from stages.diffusion.schedule import Diffusion
from stages.faces import crops
from stages.methods.generate import Noise
from stages.methods.kinds.diffused_heads import neighbours
from stages.methods.systems import Render, Row

UNET, ENCODER = "crema_script.pt", "audio_encoder.pt"
SIZE, MOTION, REACH, TIMESTEPS = 128, 2, 2, 1000
WINDOW, STRIDE = 3200, 640  # samples: 0.2 s, and a frame at 25 a second


class Settings(params.Section):
    """``methods.<row>.settings`` of kind diffused_heads_script."""

    script_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description=f"of {UNET}, as you state it; no other is read")
    encoder_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description=f"of {ENCODER}, as you state it; no other is read"
    )
    steps: int = Field(
        ge=2, le=TIMESTEPS, description="sampling steps; the authors: 200 in tests, 100 in their program"
    )


def script(path: Path, sha256: str, device: torch.device) -> Any:
    """A TorchScript file, frozen, in evaluation mode.

    Raises:
        InputError: it is missing, has another sha256 (which the message says), or is no TorchScript.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"can't be read ({error.strerror})", "put the authors' file there") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            path,
            f"sha256 is {found}, the row's settings state {sha256}; TorchScript is a program, and no other is run",
            "put the right file there, or state this hash if you trust the file",
        )
    print(
        f"{path}: TorchScript, a program from elsewhere, which now runs with your rights", file=sys.stderr, flush=True
    )
    try:
        return torch.jit.load(io.BytesIO(content), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise InputError(path, f"no TorchScript ({error})", "put the authors' file there") from None


def spread_timesteps(steps: int) -> list[int]:
    """``steps`` timesteps, evenly from 999 down to 0, both ends among them."""
    stride = (TIMESTEPS - 1) / (steps - 1)
    return [round(stride * number) for number in reversed(range(steps))]


def sound_windows(audio: NDArray[np.int16], frames: int) -> Tensor:
    """(N, 1, 1, 3200) in [-1, 1]: the sound around each frame's middle; what lies beyond its ends is silence."""
    around = (WINDOW - STRIDE) // 2
    padded = np.zeros(STRIDE * frames + 2 * around, np.float32)
    own = audio[: STRIDE * frames]
    padded[around : around + len(own)] = own / np.float32(32768)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STRIDE]
    return torch.from_numpy(windows[:frames].copy())[:, None, None]


class Program:
    """The two files, and their call. ``folder`` is for messages."""

    def __init__(self, unet: Any, encoder: Any, folder: Path, device: torch.device) -> None:
        self.unet, self.encoder, self.folder, self.device = unet, encoder, folder, device
        self.diffusion = Diffusion(TIMESTEPS, "cosine", "epsilon")

    def embed(self, audio: NDArray[np.int16], frames: int) -> Tensor:
        """(N, 256): the sound of each frame; the encoder goes over the windows in order."""
        hidden, length = torch.zeros(2, 1, 256, device=self.device), torch.tensor([WINDOW])
        embeddings = []
        for window in sound_windows(audio, frames).to(self.device):
            try:
                embedding, _, hidden = self.encoder(window, length, init_state=hidden)
            except (RuntimeError, TypeError, ValueError) as error:
                raise self._other_call(ENCODER, error) from None
            embeddings.append(self._shaped(ENCODER, embedding, (1, 256)))
        return torch.cat(embeddings)

    def frame(
        self, motion: Tensor, identity: Tensor, sound: Tensor, times: list[int], noise: Noise, frame: int
    ) -> Tensor:
        """Sample one frame, (1, 3, 128, 128)."""

        def normal(draw: int) -> Tensor:
            return torch.from_numpy(noise.frames(draw, range(frame, frame + 1))).to(self.device)

        def estimate(x_t: Tensor, t_N: Tensor) -> tuple[Tensor, Tensor]:
            try:
                output = self.unet(x_t, t_N, identity, motion_frames=motion, audio_emb=sound)
            except (RuntimeError, TypeError, ValueError) as error:
                raise self._other_call(UNET, error) from None
            eps, nu = self._shaped(UNET, output, (1, 6, SIZE, SIZE)).float().chunk(2, dim=1)
            return self.diffusion.x_0(x_t, t_N, eps).clamp(-1, 1), (nu + 1) / 2

        return learned_variance.sample(self.diffusion, estimate, normal(0), times, lambda step: normal(1 + step))

    def _shaped(self, name: str, found: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(found.shape) != shape:
            raise InputError(
                self.folder / name, f"gives {tuple(found.shape)}, not {shape}", "put the authors' file there"
            )
        return found

    def _other_call(self, name: str, error: Exception) -> InputError:
        problem = f"does not answer the call of the authors' sample.py ({str(error).strip().splitlines()[-1]})"
        return InputError(self.folder / name, problem, "put the authors' file there")


def renderer(row: Row) -> Render:
    """The authors' files, after a look at their hashes."""
    settings, device, seed = Settings.model_validate(row.entry.settings), row.device, row.sampling.seed
    program = Program(
        script(row.made_from / UNET, settings.script_sha256, device),
        script(row.made_from / ENCODER, settings.encoder_sha256, device),
        row.made_from,
        device,
    )
    times = spread_timesteps(settings.steps)

    def render(clip: Clip, sound: Clip) -> Iterator[NDArray[np.uint8]]:
        count, size = len(clip.frames_THWC), clip.frames_THWC.shape[1]
        first = crops.resized(clip.frames_THWC[REFERENCE : REFERENCE + 1], SIZE)
        identity = conditions.to_tensor(first).to(device)
        noise = Noise(clip.name, (3, SIZE, SIZE), seed, shared=0.0, interpolation=0.0)
        with torch.no_grad():
            heard_NE = program.embed(sound.audio, count)
            motion = [identity] * MOTION
            for frame in range(count):
                around = heard_NE[neighbours(frame, count, REACH)][None]
                made = program.frame(torch.cat(motion, 1), identity, around, times, noise, frame)
                motion = [*motion[1:], made]
                yield crops.resized(conditions.to_frames(made), size)
                row.progress(1)

    return render


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return "the first frame, " + ("the audio" if entry.audio == "own" else "the audio of another test clip")
