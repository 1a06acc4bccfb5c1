"""Networks with public weights: the published layouts, loaded strictly; inputs against slow resizing; FVD's conventions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import inception as tv
from torchvision.models import vgg16

from stages.base.errors import InputError
from stages.fetching import public_files
from stages.fetching.public_files import PublicFile
from stages.measures import lse
from stages.measures.mfcc import mfcc
from stages.measures.networks import i3d, inception
from stages.measures.networks.inception import Inception
from stages.measures.networks.syncnet import EMBEDDING, SyncNet
from stages.measures.perceptual import distances
from stages.networks import perceptual, seeded
from stages.pretrained import public_judges
from stages.scoring import catalogue, folder, measured
from stages.training.prepared import perceptual_distance

# The convolutions of the FID's Inception, "name:in>out:kernel", in the file's order. Taken from torchvision 0.29's
# Inception3(num_classes=1008, aux_logits=False), whose names and shapes pytorch-fid loads its file into, strictly; the channels
# are those of Szegedy et al. 2016. Each has a batch normalisation `bn` beside it; `fc` follows.
LAYERS = """
Conv2d_1a_3x3 -:3>32:3x3
Conv2d_2a_3x3 -:32>32:3x3
Conv2d_2b_3x3 -:32>64:3x3
Conv2d_3b_1x1 -:64>80:1x1
Conv2d_4a_3x3 -:80>192:3x3
Mixed_5b branch1x1:192>64:1x1 branch5x5_1:192>48:1x1 branch5x5_2:48>64:5x5 branch3x3dbl_1:192>64:1x1
    branch3x3dbl_2:64>96:3x3 branch3x3dbl_3:96>96:3x3 branch_pool:192>32:1x1
Mixed_5c branch1x1:256>64:1x1 branch5x5_1:256>48:1x1 branch5x5_2:48>64:5x5 branch3x3dbl_1:256>64:1x1
    branch3x3dbl_2:64>96:3x3 branch3x3dbl_3:96>96:3x3 branch_pool:256>64:1x1
Mixed_5d branch1x1:288>64:1x1 branch5x5_1:288>48:1x1 branch5x5_2:48>64:5x5 branch3x3dbl_1:288>64:1x1
    branch3x3dbl_2:64>96:3x3 branch3x3dbl_3:96>96:3x3 branch_pool:288>64:1x1
Mixed_6a branch3x3:288>384:3x3 branch3x3dbl_1:288>64:1x1 branch3x3dbl_2:64>96:3x3 branch3x3dbl_3:96>96:3x3
Mixed_6b branch1x1:768>192:1x1 branch7x7_1:768>128:1x1 branch7x7_2:128>128:1x7 branch7x7_3:128>192:7x1
    branch7x7dbl_1:768>128:1x1 branch7x7dbl_2:128>128:7x1 branch7x7dbl_3:128>128:1x7 branch7x7dbl_4:128>128:7x1
    branch7x7dbl_5:128>192:1x7 branch_pool:768>192:1x1
Mixed_6c branch1x1:768>192:1x1 branch7x7_1:768>160:1x1 branch7x7_2:160>160:1x7 branch7x7_3:160>192:7x1
    branch7x7dbl_1:768>160:1x1 branch7x7dbl_2:160>160:7x1 branch7x7dbl_3:160>160:1x7 branch7x7dbl_4:160>160:7x1
    branch7x7dbl_5:160>192:1x7 branch_pool:768>192:1x1
Mixed_6d branch1x1:768>192:1x1 branch7x7_1:768>160:1x1 branch7x7_2:160>160:1x7 branch7x7_3:160>192:7x1
    branch7x7dbl_1:768>160:1x1 branch7x7dbl_2:160>160:7x1 branch7x7dbl_3:160>160:1x7 branch7x7dbl_4:160>160:7x1
    branch7x7dbl_5:160>192:1x7 branch_pool:768>192:1x1
Mixed_6e branch1x1:768>192:1x1 branch7x7_1:768>192:1x1 branch7x7_2:192>192:1x7 branch7x7_3:192>192:7x1
    branch7x7dbl_1:768>192:1x1 branch7x7dbl_2:192>192:7x1 branch7x7dbl_3:192>192:1x7 branch7x7dbl_4:192>192:7x1
    branch7x7dbl_5:192>192:1x7 branch_pool:768>192:1x1
Mixed_7a branch3x3_1:768>192:1x1 branch3x3_2:192>320:3x3 branch7x7x3_1:768>192:1x1 branch7x7x3_2:192>192:1x7
    branch7x7x3_3:192>192:7x1 branch7x7x3_4:192>192:3x3
Mixed_7b branch1x1:1280>320:1x1 branch3x3_1:1280>384:1x1 branch3x3_2a:384>384:1x3 branch3x3_2b:384>384:3x1
    branch3x3dbl_1:1280>448:1x1 branch3x3dbl_2:448>384:3x3 branch3x3dbl_3a:384>384:1x3 branch3x3dbl_3b:384>384:3x1
    branch_pool:1280>192:1x1
Mixed_7c branch1x1:2048>320:1x1 branch3x3_1:2048>384:1x1 branch3x3_2a:384>384:1x3 branch3x3_2b:384>384:3x1
    branch3x3dbl_1:2048>448:1x1 branch3x3dbl_2:448>384:3x3 branch3x3dbl_3a:384>384:1x3 branch3x3dbl_3b:384>384:3x1
    branch_pool:2048>192:1x1
"""

# SyncNet v2: (place in the Sequential, in, out, kernel of a convolution or none of a linear layer), as its reference builds it.
SYNCNET = {
    "netcnnaud": [(0, 1, 64, (3, 3)), (4, 64, 192, (3, 3)), (8, 192, 384, (3, 3)), (11, 384, 256, (3, 3)),
                  (14, 256, 256, (3, 3)), (18, 256, 512, (5, 4))],
    "netfcaud": [(0, 512, 512, ()), (3, 512, 1024, ())],
    "netfclip": [(0, 512, 512, ()), (3, 512, 1024, ())],
    "netcnnlip": [(0, 3, 96, (5, 7, 7)), (4, 96, 256, (1, 5, 5)), (8, 256, 256, (1, 3, 3)), (11, 256, 256, (1, 3, 3)),
                  (14, 256, 256, (1, 3, 3)), (18, 256, 512, (1, 6, 6))],
}  # fmt: skip

State = dict[str, Tensor]


class Filler:
    """Random tensors for named layers; activations keep their size."""

    def __init__(self) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(6)

    def weight(self, name: str, *shape: int) -> None:
        fan = np.prod(shape[1:])
        self.state[name] = (2 / fan) ** 0.5 * torch.randn(*shape, generator=self.generator)

    def bias(self, name: str, size: int) -> None:
        self.state[name] = 0.1 * torch.randn(size, generator=self.generator)

    def norm(self, name: str, size: int) -> None:
        for kind in ("weight", "running_var"):
            self.state[f"{name}.{kind}"] = 0.5 + torch.rand(size, generator=self.generator)
        for kind in ("bias", "running_mean"):
            self.bias(f"{name}.{kind}", size)


def inception_state() -> State:
    filler = Filler()
    for line in LAYERS.replace("\n    ", " ").split("\n")[1:-1]:
        block, *layers = line.split()
        for layer in layers:
            name, channels, kernel = layer.split(":")
            path = block if name == "-" else f"{block}.{name}"
            (c_in, c_out), sides = map(int, channels.split(">")), map(int, kernel.split("x"))
            filler.weight(f"{path}.conv.weight", c_out, c_in, *sides)
            filler.norm(f"{path}.bn", c_out)
    filler.weight("fc.weight", 1008, 2048)
    filler.bias("fc.bias", 1008)
    return filler.state


def syncnet_state() -> State:
    filler = Filler()
    for tower, layers in SYNCNET.items():
        for place, c_in, c_out, kernel in layers:
            filler.weight(f"{tower}.{place}.weight", c_out, c_in, *kernel)
            filler.bias(f"{tower}.{place}.bias", c_out)
            if c_out != 1024:
                filler.norm(f"{tower}.{place + 1}", c_out)
    filler.state["netcnnlip.1.running_var"] *= 5e4  # of pictures in [0, 255], of coefficients of 20
    filler.state["netcnnaud.1.running_var"] *= 500
    return filler.state


def counted(state: State) -> State:
    """The state dict as newer versions of torch write it: with the number of batches that each normalisation saw."""
    names = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    return {**state, **{f"{name}num_batches_tracked": torch.tensor(3) for name in names}}


def listed(path: Path, *, file: str = "x.bin") -> PublicFile:
    """A file of a test as a registry would name it."""
    content = path.read_bytes()
    return PublicFile("x", file, ("http://127.0.0.1:9/x",), len(content), hashlib.sha256(content).hexdigest(), "", "")


@pytest.fixture(scope="module")
def network() -> Inception:
    network = Inception()
    network.load_state_dict(inception_state(), strict=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def syncnet() -> SyncNet:
    network = SyncNet()
    network.load_state_dict(syncnet_state(), strict=True)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "state", "tensors", "name"),
    [
        (Inception, inception_state, 94 * 5 + 2, "inception"),
        (SyncNet, syncnet_state, 12 * 6 + 4 * 2 + 2 * 4, "syncnet"),
    ],
    ids=["inception", "syncnet"],
)
def test_the_layout_is_the_published_one(
    build: Callable[[], nn.Module], state: Callable[[], State], tensors: int, name: str
) -> None:
    """Both ways round, with and without the counters; and the numbers fill the published file but for its own bookkeeping."""
    published = state()
    assert len(published) == tensors
    own = build()
    assert {key: value.shape for key, value in own.state_dict().items()} == {
        key: value.shape for key, value in counted(published).items()
    }
    own.load_state_dict(published, strict=True)
    own.load_state_dict(counted(published), strict=True)
    numbers = 4 * sum(value.numel() for value in published.values())
    assert 0 < public_files.FILES[name].size - numbers < 250 * tensors
    missing = next(iter(published))
    with pytest.raises(RuntimeError, match=missing):
        own.load_state_dict({key: value for key, value in published.items() if key != missing}, strict=True)


def frames(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(len(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_features_are_torchvisions_with_the_graphs_pooling(
    network: Inception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: torchvision's own blocks, their nine pool branches told to pool otherwise."""
    x = inception.pytorch_fid(torch.from_numpy(frames(2, 40, 50)))
    plain = tv.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    plain.load_state_dict(inception_state())
    plain.fc = nn.Identity()
    calls = []

    def pool(x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        calls.append(x.shape[1])
        if len(calls) == 9:
            return F.max_pool2d(x, kernel_size, stride, padding)
        return torch.nn.functional.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    with torch.no_grad():
        unchanged = plain.eval()(x)
        patched = type("F", (), {**vars(F), "avg_pool2d": staticmethod(pool)})
        monkeypatch.setattr(tv, "F", patched)
        expected = plain(x)
        monkeypatch.undo()
        found = network(x)
    assert calls == [192, 256, 288, 768, 768, 768, 768, 1280, 2048]
    assert torch.equal(found, expected)
    assert not torch.allclose(found, unchanged, rtol=1e-3)


def test_features_are_the_same_bits_again(network: Inception) -> None:
    pictures = frames(3, 32, 32)
    found = inception.features(network, pictures, batch=2)
    assert found.shape == (3, 2048)
    assert found.dtype == np.float32
    assert np.array_equal(found, inception.features(network, pictures, batch=2))
    np.testing.assert_allclose(found, inception.features(network, pictures, batch=3), rtol=1e-4, atol=1e-5)
    other = inception.features(network, pictures, convention="torch_fidelity")
    assert not np.allclose(found, other, rtol=1e-3)
    assert inception.features(network, pictures[:0]).shape == (0, 2048)


def resized(picture: NDArray[np.float64], place: Callable[[int, int], float]) -> NDArray[np.float64]:
    """Bilinear to 299×299, a pixel at a time; ``place`` says where in the input an output pixel is read."""
    height, width, _ = picture.shape
    out = np.zeros((299, 299, 3))
    columns = [place(j, width) for j in range(299)]
    for i in range(299):
        y = place(i, height)
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for j, x in enumerate(columns):
            left, right = int(x), min(int(x) + 1, width - 1)
            above = picture[top, left] * (1 - (x - left)) + picture[top, right] * (x - left)
            below = picture[bottom, left] * (1 - (x - left)) + picture[bottom, right] * (x - left)
            out[i, j] = above * (1 - (y - top)) + below * (y - top)
    return out


@pytest.mark.parametrize("shape", [(7, 5), (64, 64), (320, 411), (299, 299)], ids=str)
def test_inputs_against_slow_resizing(shape: tuple[int, int]) -> None:
    pictures = frames(1, *shape)
    first = pictures[0].astype(np.float64)
    centres = resized(first / 255, lambda i, n: max((i + 0.5) * n / 299 - 0.5, 0.0))
    corners = resized(first, lambda i, n: i * n / 299)
    found = [make(torch.from_numpy(pictures))[0].movedim(0, -1).numpy() for make in inception.INPUTS.values()]
    assert list(inception.INPUTS) == ["pytorch_fid", "torch_fidelity"]
    np.testing.assert_allclose(found[0], 2 * centres - 1, atol=2e-4)  # places are float32
    np.testing.assert_allclose(found[1], (corners - 128) / 128, atol=2e-4)


def test_inputs_of_another_kind_are_refused() -> None:
    for bad in (torch.zeros(1, 8, 8, 3), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"wanted: uint8 \(N, H, W, 3\)"):
            inception.pytorch_fid(bad)


def test_syncnets_sizes_along_its_layers(syncnet: SyncNet) -> None:
    """The strides and paddings, which no state dict holds: worked out by hand from the layers as published."""

    def sizes(tower: nn.Sequential, x: Tensor) -> list[tuple[int, ...]]:
        found = [tuple(x.shape[2:])]
        for layer in tower:
            x = layer(x)
            if tuple(x.shape[2:]) != found[-1]:
                found.append(tuple(x.shape[2:]))
        return found

    with torch.no_grad():
        lips = sizes(syncnet.netcnnlip, torch.zeros(1, 3, 5, 224, 224))
        sound = sizes(syncnet.netcnnaud, torch.zeros(1, 1, 13, 20))
    assert lips == [(5, 224, 224), (1, 109, 109), (1, 54, 54), (1, 26, 26), (1, 13, 13), (1, 6, 6), (1, 1, 1)]
    assert sound == [(13, 20), (11, 9), (5, 4), (1, 1)]


def clip(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    rng = np.random.default_rng(count)
    small = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    pictures = np.stack([cv2.resize(frame, (40, 30), interpolation=cv2.INTER_CUBIC) for frame in small])
    return pictures, rng.integers(-5000, 5000, count * 640, dtype=np.int16)


def test_lse_against_a_literal_reading_of_the_route(syncnet: SyncNet) -> None:
    pictures, samples = clip(36)
    found = lse.lse(syncnet, pictures, samples, batch=7)
    coefficients = mfcc(samples).astype(np.float32)
    video, audio = [], []
    with torch.no_grad():
        for i in range(36 - 5):
            window = [cv2.resize(np.ascontiguousarray(f[..., ::-1]), (224, 224)) for f in pictures[i : i + 5]]
            x = torch.from_numpy(np.stack(window, 3)[None].astype(np.float32)).permute(0, 3, 4, 1, 2)
            video.append(syncnet.embed_video(x)[0])
            audio.append(
                syncnet.embed_audio(torch.from_numpy(coefficients[4 * i : 4 * i + 20].T.copy())[None, None])[0]
            )
    padded = F.pad(torch.stack(audio), (0, 0, 15, 15))
    each = [F.pairwise_distance(v[None].repeat(31, 1), padded[i : i + 31]) for i, v in enumerate(video)]
    means = torch.stack(each).mean(0)
    assert found is not None
    assert found.confidence == pytest.approx(float(means.median() - means.min()), abs=1e-4)
    assert found.distance == pytest.approx(float(means.min()), abs=1e-4)
    np.testing.assert_allclose(found.distances_S, means.numpy(), atol=1e-4)
    assert found.confidence > 0.1  # else nothing would be compared


@pytest.mark.parametrize(("count", "samples", "expected"), [(63, 63 * 640, 58), (63, 60 * 640 - 1, 54), (5, 9999, 0)])
def test_windows_of_a_clip(count: int, samples: int, expected: int) -> None:
    network = seeded(0, SyncNet).eval()
    network.embed_video = lambda frames: torch.zeros(len(frames), 1024)  # type: ignore[method-assign]
    pictures = lse.pictures(network, np.zeros((count, 4, 4, 3), np.uint8))
    sound = lse.sound(network, np.zeros(samples, np.int16))
    assert min(len(pictures), len(sound)) == expected


def test_a_clip_without_a_window_and_wrong_types(syncnet: SyncNet) -> None:
    pictures, samples = clip(5)
    assert lse.lse(syncnet, pictures, samples) is None
    with pytest.raises(ValueError, match="wanted: uint8"):
        lse.pictures(syncnet, pictures.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted: int16"):
        lse.sound(syncnet, samples.astype(np.float32))  # type: ignore[arg-type]


class TinyI3D(nn.Module):
    """The public script's call; 400 numbers that tell frames, sizes and switches apart."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        if resize:
            x = F.interpolate(x, size=[x.shape[2], 224, 224], mode="trilinear")
        if rescale:
            x = x / 255 * 2 - 1
        numbers = torch.stack([x[:, 0].mean((1, 2, 3)), x[:, 2].mean((1, 2, 3)), x[:, 0, 0].mean((1, 2))], 1)
        return numbers.repeat(1, 134)[:, :400] if return_features else numbers


class Other(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def scripted(path: Path, module: nn.Module) -> PublicFile:
    torch.jit.save(torch.jit.script(module), path)
    return listed(path, file=path.name)


def test_i3d_from_its_file(tmp_path: Path) -> None:
    network = public_judges.i3d(tmp_path, file=scripted(tmp_path / "i3d.pt", TinyI3D()))
    pictures = np.zeros((40, 6, 8, 3), np.uint8)
    pictures[..., 0] = np.arange(40)[:, None, None]
    pictures[..., 2] = 255
    found = i3d.features(network, pictures, i3d.CONVENTIONS["laughing_matters"], batch=1)
    assert found.shape == (2, 400)
    scaled = lambda x: x / 255 * 2 - 1  # noqa: E731
    expected = [[scaled(7.5), 1, scaled(0)], [scaled(23.5), 1, scaled(16)]]
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)
    whole = i3d.features(network, pictures, i3d.CONVENTIONS["stylegan_v"])
    np.testing.assert_allclose(whole, found[:1], atol=1e-6)
    assert i3d.features(network, pictures[:15], i3d.CONVENTIONS["stylegan_v"]).shape == (0, 400)
    with pytest.raises(ValueError, match="wanted: uint8"):
        i3d.features(network, pictures / 255, i3d.CONVENTIONS["stylegan_v"])


def test_another_script_and_no_script(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"other\.pt: not the I3D of the FVD \(the script is called by \['self', 'x'\]"
    ):
        public_judges.i3d(tmp_path, file=scripted(tmp_path / "other.pt", Other()))
    (tmp_path / "text.pt").write_text("no script")
    with pytest.raises(InputError, match=r"text\.pt: not the I3D of the FVD .*; delete it"):
        public_judges.i3d(tmp_path, file=listed(tmp_path / "text.pt", file="text.pt"))
    file = scripted(tmp_path / "good.pt", TinyI3D())
    with pytest.raises(InputError, match=r"good\.pt: not there, .*no connection"):
        public_judges.i3d(tmp_path, file=replace(file, sha256="0" * 64))


def test_conventions_cut_clips() -> None:
    one, many = i3d.CONVENTIONS["stylegan_v"], i3d.CONVENTIONS["laughing_matters"]
    assert [list(many.starts(n)) for n in (15, 16, 31, 32, 63)] == [[], [0], [0], [0, 16], [0, 16, 32]]
    assert [list(one.starts(n)) for n in (0, 15, 16, 63)] == [[], [], [0], [0]]
    assert list(replace(many, frames=10, stride=1).starts(12)) == [0, 1, 2]
    assert (one.ddof, many.ddof) == (0, 1)
    assert str(one).startswith("stylegan_v: 16 frames, one clip a video")
    assert str(many).endswith("covariance ÷ (N − 1)")
    with pytest.raises(ValueError, match="clips of 8 frames; I3D needs 9"):
        replace(many, frames=8)


@pytest.mark.parametrize(
    ("make", "state"), [(public_judges.inception, inception_state), (public_judges.syncnet, syncnet_state)]
)
def test_networks_from_their_files(tmp_path: Path, make: Callable[..., nn.Module], state: Callable[[], State]) -> None:
    path = tmp_path / "x.bin"
    torch.save(state(), path)
    network = make(tmp_path, file=listed(path))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not the layout of"):
        make(tmp_path, file=listed(path))
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="no state dict of tensors"):
        make(tmp_path, file=listed(path))
    path.write_text("no pickle")
    with pytest.raises(InputError, match="can't be read by torch"):
        make(tmp_path, file=listed(path))


def test_training_takes_its_vgg_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    state = seeded(1, lambda: torchvision.models.vgg19(weights=None).features).state_dict()
    path = tmp_path / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in state.items()}, path)
    monkeypatch.setitem(public_files.FILES, "vgg19", listed(path, file=path.name))
    distance = perceptual_distance("vgg19", torch.device("cpu"), tmp_path)
    x = torch.rand(1, 3, 32, 32)
    assert distance(x, x, torch.ones(1, 1, 32, 32)).tolist() == [0.0]
    path.unlink()
    with pytest.raises(
        InputError, match=r"vgg19\.pth: not there, .* put it there yourself: vgg19\.pth from http://127"
    ):
        perceptual_distance("vgg19", torch.device("cpu"), tmp_path)


def test_lpips_of_whole_frames_is_the_packages_and_inside_a_mask_its_map() -> None:
    trunk = seeded(1, lambda: vgg16(weights=None).features).state_dict()
    network = perceptual.lpips_from_trunk({f"features.{name}": value for name, value in trunk.items()})
    made, true = frames(3, 64, 48), frames(64, 48)[None].repeat(3, 0)
    masks = np.zeros((3, 64, 48), bool)
    masks[0], masks[1, :20, 5:30] = True, True
    whole, inside = distances(network, made, true, masks, batch=2)
    x, y = (torch.from_numpy(f).movedim(-1, 1).float() / 127.5 - 1 for f in (made, true))
    with torch.no_grad():
        np.testing.assert_allclose(whole, network(x, y).flatten().numpy(), rtol=1e-5)
        network.spatial = True
        maps = network(x, y)[:, 0].numpy()
    np.testing.assert_allclose(inside[:2], [maps[0].mean(), maps[1, :20, 5:30].mean()], rtol=1e-5)
    assert np.isnan(inside[2])
    assert distances(network, made, made, masks)[0].max() == 0


def test_what_the_catalogue_says_of_conventions_is_what_the_networks_do() -> None:
    """The metrics stage imports no torch, so the sentences stand there again."""
    first, second = i3d.CONVENTIONS["laughing_matters"], i3d.CONVENTIONS["stylegan_v"]
    assert (first.frames, first.stride) == (measured.CLIP, measured.CLIP_STRIDE)
    assert first.ddof == catalogue.BY_NAME["fvd"].distance.ddof
    assert (second.frames, second.stride) == (measured.CLIP, None)
    assert second.ddof == catalogue.BY_NAME["fvd_stylegan_v"].distance.ddof
    assert set(second.starts(99)) <= set(first.starts(99))
    assert measured.I3D_VALUES == i3d.FEATURES
    assert measured.SYNCNET_VALUES == EMBEDDING
    assert (folder.SYNCNET_FPS, folder.SYNCNET_HZ) == (lse.FPS, lse.FPS * lse.SAMPLES)
    for name, convention in (("fid", "pytorch_fid"), ("fid_torch_fidelity", "torch_fidelity")):
        title, _, words = inception.SAYS[convention].replace("'", "’").partition(": ")
        assert words in catalogue.BY_NAME[name].meaning
        assert f"{title}’s convention" in catalogue.BY_NAME[name].meaning
    assert "16 frames, one every 16;" in catalogue.BY_NAME["fvd"].meaning
