"""The networks that are compared: HifiDiff's, its bare UNet, and the peer, ``diffusers``' ``UNet2DModel`` of the same widths.

Shapes: N images, C = 3, H = W = size pixels, E embedding.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import Setting
from stages.base.errors import HifiDiffError
from stages.networks import seeded
from stages.networks.cost import forward_flops
from stages.networks.hifidiff import Conditions, HifiDiffNet
from stages.networks.unet import UNet, timestep_embedding

MULTIPLIERS, RES_BLOCKS, GROUPS, HEAD_CHANNELS = (1, 2, 2, 4), 2, 32, 64
MEL_STEPS, MEL_BINS, BLINK_FRAMES = 16, 80, 1
PICTURES = 3  # x_t, reference, masked frame
Predict = Callable[[Tensor, Tensor], Tensor]  # (x_t, t_N) → what the network predicts


class MissingPeer(HifiDiffError):
    """The package that a benchmark compares with is not installed."""


def import_peer() -> Any:
    """The module ``diffusers``.

    Raises:
        MissingPeer: it is not installed.
    """
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise MissingPeer(
            f"the peer, diffusers, can't be imported ({error}); install it beside the locked environment: "
            "python -m pip install --require-hashes -r requirements-bench.lock"
        ) from None


@dataclass(frozen=True)
class Layout:
    """The size and widths of both sides: the paper's at 128 pixels and 128 channels, or one reduced in size or width."""

    size: int = 128
    channels: int = 128
    head_channels: int = HEAD_CHANNELS

    def __post_init__(self) -> None:
        if self.size % 16 or self.channels % self.head_channels:
            raise HifiDiffError(
                f"--size {self.size} --channels {self.channels}: allowed are multiples of 16 and of {self.head_channels}"
            )

    @property
    def attention(self) -> list[int]:
        """32 and 16 at 128 pixels: the two lowest levels."""
        return [self.size // 4, self.size // 8]

    def common(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "multipliers": list(MULTIPLIERS),
            "res_blocks": RES_BLOCKS,
            "attention": self.attention,
            "head_channels": self.head_channels,
            "dropout": 0.0,
            "groups": GROUPS,
        }

    def whole(self) -> HifiDiffNet:
        """HifiDiff's network as it is trained: UNet, time, audio and blink."""
        return HifiDiffNet(
            size=self.size,
            patch=1,
            audio_channels=32,
            audio_steps=MEL_STEPS,
            blink_frames=BLINK_FRAMES,
            places=False,
            prior=0.0,
            condition_gain=1.0,
            residual="none",
            mel_bins=MEL_BINS,
            uses_blink=True,
            uses_mask=True,
            **self.common(),
        )

    def peer(self) -> nn.Module:
        """``UNet2DModel`` with the same widths, blocks, attention, heads and groups; it knows time and no other condition."""
        return import_peer().UNet2DModel(
            sample_size=self.size,
            in_channels=3 * PICTURES,
            out_channels=3,
            layers_per_block=RES_BLOCKS,
            block_out_channels=tuple(self.channels * m for m in MULTIPLIERS),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            attention_head_dim=self.head_channels,
            norm_num_groups=GROUPS,
            dropout=0.0,
        )

    def flops(self) -> int:
        """FLOP (two a multiplication and addition) of one image's forward through the whole network."""
        with torch.device("meta"):
            net = self.whole()
        return forward_flops(net, audio_steps=MEL_STEPS, mel_bins=MEL_BINS, blink_frames=BLINK_FRAMES)


class BareUNet(nn.Module):
    """The UNet with its time embedding, and a condition embedding that is given."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        emb = 4 * layout.channels
        self.channels = layout.channels
        self.unet = UNet(c_in=3 * PICTURES, c_out=3, size=layout.size, emb=emb, **layout.common())
        self.time = nn.Sequential(nn.Linear(layout.channels, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())

    def forward(self, x_NCHW: Tensor, t_N: Tensor, condition_NE: Tensor) -> Tensor:
        return self.unet(x_NCHW, self.time(timestep_embedding(t_N, self.channels)), condition_NE)


@dataclass(frozen=True)
class Inputs:
    """Random inputs of the right shapes, the pictures in ``channels_last``, as the training set and the sampler give them."""

    x_t: Tensor
    t_N: Tensor
    given: Conditions
    condition_NE: Tensor
    target: Tensor

    @classmethod
    def random(cls, layout: Layout, n: int, device: torch.device) -> Inputs:
        g = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g).to(device)

        def picture() -> Tensor:
            return normal(n, 3, layout.size, layout.size).contiguous(memory_format=torch.channels_last)

        given = Conditions(picture(), normal(n, MEL_STEPS, MEL_BINS), normal(n, BLINK_FRAMES, 2), picture())
        t_N = torch.linspace(0, 999, n, device=device).long()
        return cls(picture(), t_N, given, normal(n, 4 * layout.channels), picture())

    def stacked(self, x_t: Tensor) -> Tensor:
        """The nine channels that the bare UNet and the peer take."""
        assert self.given.masked_NCHW is not None
        return torch.cat([x_t, self.given.reference_NCHW, self.given.masked_NCHW], 1)


OURS = ("hifidiff", "unet")  # the whole network, and the bare UNet
PEERS = ("diffusers", "diffusers_channels_last")


@dataclass(frozen=True)
class Case:
    """A network ready to run, and how it is called."""

    net: nn.Module
    predict: Predict


def cases(
    names: tuple[str, ...], layout: Layout, inputs: Inputs, setting: Setting, *, compiled: bool = False
) -> dict[str, Case]:
    """Build the named networks; ours run in ``channels_last``, the peer in either memory format."""
    made = {}
    for name in names:
        build: dict[str, Callable[[], nn.Module]] = {"hifidiff": layout.whole, "unet": lambda: BareUNet(layout)}
        net = seeded(0, build.get(name, layout.peer)).to(setting.device)
        if name != "diffusers":
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        forward: Callable[..., Any] = torch.compile(net) if compiled else net
        made[name] = Case(net, _predictor(name, forward, inputs))
    return made


def _predictor(name: str, forward: Callable[..., Any], inputs: Inputs) -> Predict:
    if name == "hifidiff":
        return lambda x_t, t_N: forward(x_t, t_N, inputs.given)
    if name == "unet":
        return lambda x_t, t_N: forward(inputs.stacked(x_t), t_N, inputs.condition_NE)
    if name == "diffusers":
        return lambda x_t, t_N: forward(inputs.stacked(x_t).contiguous(), t_N).sample
    return lambda x_t, t_N: forward(inputs.stacked(x_t), t_N).sample


def millions(net: nn.Module) -> float:
    """Parameters, in millions."""
    return sum(p.numel() for p in net.parameters()) / 1e6


def add_layout(
    parser: argparse.ArgumentParser, *, cpu_size: int, cpu_channels: int, cpu_batch: int, cuda_batch: int
) -> None:
    """Options of the network's size; their defaults depend on the device (:func:`choose_layout`)."""
    parser.add_argument("--size", type=int, help=f"pixels; cuda: 128, as in the paper, cpu: {cpu_size}")
    parser.add_argument("--channels", type=int, help=f"cuda: 128, as in the paper, cpu: {cpu_channels}")
    parser.add_argument("--batch", type=int, help=f"images; cuda: {cuda_batch}, cpu: {cpu_batch}")
    parser.set_defaults(cpu=(cpu_size, cpu_channels, cpu_batch), cuda=(128, 128, cuda_batch))


def choose_layout(args: argparse.Namespace, setting: Setting) -> tuple[Layout, int]:
    """The layout and the number of images."""
    size, channels, batch = args.cuda if setting.device.type == "cuda" else args.cpu
    return Layout(args.size or size, args.channels or channels), args.batch or batch
