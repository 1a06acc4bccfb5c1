"""The public packages beside ours on the same random weights and inputs: differences of the numbers, and their bounds.

    make parity                                # installs requirements-parity.lock into .venv/parity, beside the environment
    python -m benchmarks.parity [--json]       # where the packages are installed; half a minute on one core

FID by pytorch-fid and by torch-fidelity (its 0.3.0, which Laughing-Matters pins and so Diffused Heads' evaluation has), KID by
torch-fidelity, LPIPS by lpips, SSIM and PSNR by scikit-image; schedules, time embeddings and samplers by diffusers. No weights
are fetched: a random network of the published layout goes into both sides. A difference beyond its bound ends the command with
an error, after the table.

A relative difference is the largest absolute one over the largest absolute value of the package's. N frames, H, W; D values.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.networks import MissingPeer
from benchmarks.timing import Goal, Report, Result
from stages.base.errors import HifiDiffError, run
from stages.diffusion.samplers import sample_ancestral, sample_ddim, sample_dpm_solver
from stages.diffusion.schedule import Diffusion
from stages.measures import frechet, image, kernel, perceptual
from stages.measures.networks import inception
from stages.measures.networks.inception import Inception
from stages.methods.kinds.diffused_heads import time_features
from stages.networks import seeded
from stages.networks.perceptual import lpips_from_trunk
from stages.networks.unet import timestep_embedding

PACKAGES = ("pytorch-fid", "torch-fidelity", "lpips", "scikit-image", "diffusers")
VALUES, ROWS = (
    256,
    1024,
)  # of the features that distances are compared on: full rank, and SciPy's root of them takes a second
STEPS, CHANNELS = 10, 128  # of the samplers; of the time embeddings
BORDER = 5  # pixels of half a window of SSIM, which scikit-image leaves out of its mean

Frames = NDArray[np.uint8]
# Float32 networks and float32 sums differ in the order of their sums; what is float64 on both sides differs less.
SAME_FEATURES, SAME_FLOAT32, SAME_FLOAT64 = Goal(most=1e-5), Goal(most=1e-5), Goal(most=1e-9)


class Unequal(HifiDiffError):
    """A difference is beyond its bound."""


def peer(module: str) -> Any:
    """A package's module.

    Raises:
        MissingPeer: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeer(
            f"{module.split('.')[0]} can't be imported ({error}); run 'make parity', or install it beside the locked "
            "environment: python -m pip install --require-hashes -r requirements-parity.lock"
        ) from None


def relative(ours: ArrayLike, theirs: ArrayLike) -> float:
    """The largest absolute difference over the package's largest absolute value; NaN where a value is, or shapes differ."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not a.size:
        return float("nan")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))


@dataclass(frozen=True)
class Inputs:
    """Two videos, the second a damaged copy of the first, and features of full rank."""

    true_NHWC: Frames
    made_NHWC: Frames
    true_ND: NDArray[np.float64]
    made_ND: NDArray[np.float64]

    @classmethod
    def random(cls, frames: int, seed: int = 0) -> Inputs:
        rng = np.random.default_rng(seed)
        blobs = rng.integers(0, 256, (frames, 8, 10, 3), dtype=np.uint8)
        true = np.stack([cv2.resize(f, (160, 128), interpolation=cv2.INTER_CUBIC) for f in blobs])
        soft = np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in true]).astype(np.float64)
        made = np.clip(np.round(soft + rng.normal(0, 6, soft.shape)), 0, 255).astype(np.uint8)
        mix = rng.normal(size=(VALUES, VALUES)) / VALUES**0.5 + np.eye(VALUES)
        features = [rng.normal(size=(ROWS, VALUES)) @ mix * rng.uniform(0.3, 2, VALUES) for _ in range(2)]
        return cls(true.astype(np.uint8), made, features[0], features[1] + 0.1)


def random_inception() -> Inception:
    """The published layout with random weights, whose activations neither vanish nor explode from layer to layer."""

    def build() -> Inception:
        network = Inception()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
            elif isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.running_var):
                    nn.init.uniform_(values, 0.5, 1.5)  # type: ignore[arg-type]
                for values in (layer.bias, layer.running_mean):
                    nn.init.normal_(values, 0.0, 0.1)  # type: ignore[arg-type]
        return network

    return seeded(6, build).eval().requires_grad_(False)


# --- the packages ----------------------------------------------------------------------------------------------------


def of_pytorch_fid(inputs: Inputs, network: Inception) -> list[Result]:
    """Its network on PNG files, and its distance."""
    score, theirs = peer("pytorch_fid.fid_score"), peer("pytorch_fid.inception")
    with mock.patch.object(theirs, "load_state_dict_from_url", return_value=network.state_dict()):
        filled = theirs.InceptionV3([theirs.InceptionV3.BLOCK_INDEX_BY_DIM[inception.FEATURES]]).eval()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(len(inputs.true_NHWC))]
        for file, frame in zip(files, inputs.true_NHWC, strict=True):
            cv2.imwrite(str(file), frame[..., ::-1])
        expected = score.get_activations(files, filled, batch_size=8, num_workers=0)
    found = inception.features(network, inputs.true_NHWC, convention="pytorch_fid", batch=8)
    other = inception.features(network, inputs.true_NHWC, convention="torch_fidelity", batch=8)
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (inputs.made_ND, inputs.true_ND)]
    # SciPy 1.18 took the argument `disp` away that the package gives; the root is the same function's.
    with mock.patch.object(score, "linalg", SimpleNamespace(sqrtm=_sqrtm)):
        distance = score.calculate_frechet_distance(*moments[0], *moments[1])
    return [
        Result(
            "fid_features", "pytorch-fid: Inception's features of PNG files", relative(found, expected), SAME_FEATURES
        ),
        Result(
            "fid_other_input",
            "the same, ours by torch-fidelity's input: no bound would be of use if these agreed",
            relative(other, expected),
            Goal(least=1e-3),
        ),
        Result(
            "fid_distance",
            f"pytorch-fid: Fréchet distance, {VALUES} values of full rank",
            relative(frechet.distance(inputs.made_ND, inputs.true_ND), distance),
            Goal(most=1e-10),
        ),
    ]


def _sqrtm(matrix: NDArray[np.float64], disp: bool = True) -> Any:
    root = linalg.sqrtm(matrix)
    return root if disp else (root, None)


def of_torch_fidelity(inputs: Inputs, network: Inception) -> list[Result]:
    """Its extractor on uint8 frames, its FID and its KID of all features at once."""
    extractor, fid, kid = (
        peer(f"torch_fidelity.{name}") for name in ("feature_extractor_inceptionv3", "metric_fid", "metric_kid")
    )
    layer = str(inception.FEATURES)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(network.state_dict(), Path(folder) / "weights.pth")
        filled = extractor.FeatureExtractorInceptionV3(
            "random", [layer], feature_extractor_weights_path=str(Path(folder) / "weights.pth")
        ).eval()
    with torch.inference_mode():
        expected = filled(torch.from_numpy(inputs.true_NHWC).movedim(-1, 1).contiguous())[0]
    found = inception.features(network, inputs.true_NHWC, convention="torch_fidelity", batch=len(inputs.true_NHWC))
    tensors = [torch.from_numpy(x) for x in (inputs.made_ND, inputs.true_ND)]
    statistics = [fid.fid_features_to_statistics(x) for x in tensors]
    with mock.patch.object(fid, "scipy", SimpleNamespace(linalg=SimpleNamespace(sqrtm=_sqrtm))):
        distance = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    how = {"kid_subsets": 1, "kid_subset_size": ROWS, "kid_degree": 3, "kid_gamma": None, "kid_coef0": 1}
    kernels = kid.kid_features_to_metric(*tensors, **how, rng_seed=0, verbose=False)[kid.KEY_METRIC_KID_MEAN]
    return [
        Result("fidelity_features", "torch-fidelity: Inception's features", relative(found, expected), SAME_FEATURES),
        Result(
            "fidelity_distance",
            f"torch-fidelity: FID's distance, {VALUES} values of full rank",
            relative(frechet.distance(inputs.made_ND, inputs.true_ND), distance),
            Goal(most=1e-10),
        ),
        Result(
            "kid",
            f"torch-fidelity: KID of {ROWS} features, one subset of all",
            relative(kernel.distance(inputs.made_ND, inputs.true_ND), kernels),
            SAME_FLOAT64,
        ),
    ]


def of_lpips(inputs: Inputs) -> list[Result]:
    """The package's own call, on a random VGG-16 and its learnt linear weights."""
    trunk = seeded(1, lambda: torchvision.models.vgg16(weights=None)).state_dict()
    network = lpips_from_trunk(trunk)
    whole, _ = perceptual.distances(
        network, inputs.made_NHWC, inputs.true_NHWC, np.ones(inputs.true_NHWC.shape[:3], bool), batch=8
    )
    pictures = [torch.from_numpy(x).movedim(-1, 1).float() / 255 for x in (inputs.made_NHWC, inputs.true_NHWC)]
    with torch.inference_mode():
        expected = network(*pictures, normalize=True).flatten()
    return [Result("lpips", "lpips: LPIPS on VGG-16, whole frames", relative(whole, expected), SAME_FLOAT32)]


def of_scikit_image(inputs: Inputs) -> list[Result]:
    """SSIM of Wang et al.'s window on luma, and PSNR on RGB."""
    metrics = peer("skimage.metrics")
    whole = np.ones(inputs.true_NHWC.shape[:3], bool)
    inside = np.zeros_like(whole)
    inside[:, BORDER:-BORDER, BORDER:-BORDER] = True
    how = {"gaussian_weights": True, "sigma": image.SSIM_SIGMA, "use_sample_covariance": False}
    grey = zip(image.luma(inputs.made_NHWC), image.luma(inputs.true_NHWC), strict=True)
    expected = [metrics.structural_similarity(a, b, data_range=image.PEAK, **how) for a, b in grey]
    pairs = zip(inputs.made_NHWC, inputs.true_NHWC, strict=True)
    noise = [metrics.peak_signal_noise_ratio(b, a, data_range=image.PEAK) for a, b in pairs]
    found = {name: image.ssim(inputs.made_NHWC, inputs.true_NHWC, mask) for name, mask in
             (("inside", inside), ("whole", whole))}  # fmt: skip
    return [
        Result(
            "ssim",
            f"scikit-image: SSIM without {BORDER} pixels of border, which it leaves out",
            relative(found["inside"], expected),
            SAME_FLOAT64,
        ),
        Result(
            "ssim_border", "the same, ours with the border: our number's convention", relative(found["whole"], expected)
        ),
        Result(
            "psnr",
            "scikit-image: PSNR",
            relative(image.psnr(inputs.made_NHWC, inputs.true_NHWC, whole), noise),
            SAME_FLOAT64,
        ),
    ]


def of_diffusers() -> list[Result]:
    """Schedules, embeddings of time, the target of v prediction, and whole samplings with a random network."""
    theirs, embed = peer("diffusers"), peer("diffusers.models.embeddings").get_timestep_embedding
    found = []
    schedules = (("cosine", "squaredcos_cap_v2", 1e-5), ("linear", "linear", 1e-5))
    for name, beta_schedule, bound in schedules:
        scheduler = theirs.DDPMScheduler(num_train_timesteps=1000, beta_schedule=beta_schedule)
        ours = Diffusion(1000, name, "v").alphas_bar_T
        found.append(
            Result(f"schedule_{name}", f"diffusers: ᾱ of the {name} schedule, float32 there",
                   relative(ours, scheduler.alphas_cumprod), Goal(most=bound))
        )  # fmt: skip
    times = torch.arange(1000)
    usual = {"flip_sin_to_cos": True, "downscale_freq_shift": 0}
    heads = usual | {"downscale_freq_shift": CHANNELS // 2 - 2 * CHANNELS}  # it divides by half the channels less this
    found += [
        Result("time", "diffusers: embedding of time",
               relative(timestep_embedding(times, CHANNELS), embed(times, CHANNELS, **usual)), Goal(most=1e-4)),
        Result("time_heads", "diffusers: the same at Diffused Heads' frequencies",
               relative(time_features(times, CHANNELS), embed(times, CHANNELS, **heads)), Goal(most=1e-4)),
    ]  # fmt: skip
    diffusion, scheduler = Diffusion(1000, "cosine", "v"), _scheduler(theirs.DDPMScheduler)
    g = torch.Generator().manual_seed(3)
    x, noise = torch.randn(1000, 3, 2, 2, generator=g), torch.randn(1000, 3, 2, 2, generator=g)
    found += [
        Result("q_sample", "diffusers: x_t of x_0 and noise, all timesteps",
               relative(diffusion.q_sample(x, times, noise), scheduler.add_noise(x, noise, times)), SAME_FLOAT32),
        Result("velocity", "diffusers: target of v prediction, all timesteps",
               relative(diffusion.target(x, times, noise), scheduler.get_velocity(x, noise, times)), SAME_FLOAT32),
        *_samplings(theirs, diffusion),
    ]  # fmt: skip
    return found


def _scheduler(kind: Callable[..., Any], **more: Any) -> Any:
    return kind(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", **more)


def _samplings(theirs: Any, diffusion: Diffusion) -> list[Result]:
    """Whole samplings, from the same noise by the same random network."""
    g = torch.Generator().manual_seed(4)
    x_T, added = torch.randn(2, 3, 16, 16, generator=g), torch.randn(STEPS, 2, 3, 16, 16, generator=g)
    layers = (nn.Conv2d(3, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 3, 3, padding=1))
    network = seeded(5, lambda: nn.Sequential(*[_random(layer) for layer in layers])).requires_grad_(False)

    def v(x: Tensor, t: Tensor) -> Tensor:
        return network(x) * (0.5 + t.reshape(-1, 1, 1, 1) / 1000)

    def denoise(x: Tensor, t_N: Tensor) -> Tensor:
        return diffusion.x_0(x, t_N, v(x, t_N))

    def noise(step: int) -> Tensor:
        return added[step]

    trailing = {"timestep_spacing": "trailing"}
    ddim = _scheduler(theirs.DDIMScheduler, clip_sample=False, **trailing)
    solver = _scheduler(
        theirs.DPMSolverMultistepScheduler, solver_order=2, lower_order_final=True, final_sigmas_type="zero", **trailing
    )
    cases: dict[str, tuple[str, Callable[..., Tensor], Any, Callable[[int], dict[str, Any]]]] = {
        "ddim": ("DDIM", sample_ddim, ddim, lambda i: {"eta": 0.0}),
        "ancestral": ("ancestral, DDIM with η = 1", sample_ancestral, ddim,
                      lambda i: {"eta": 1.0, "variance_noise": added[i]}),
        "dpm_solver": ("DPM-Solver++(2M)", sample_dpm_solver, solver, lambda i: {}),
    }  # fmt: skip
    found = []
    for key, (title, ours, scheduler, more) in cases.items():
        scheduler.set_timesteps(STEPS)
        x = x_T
        for i, t in enumerate(scheduler.timesteps):
            x = scheduler.step(v(x, t), t, x, **more(i)).prev_sample
        sampled = ours(diffusion, denoise, x_T, STEPS, noise)
        found.append(
            Result(
                key, f"diffusers: {title}, {STEPS} steps with a random network", relative(sampled, x), Goal(most=1e-5)
            )
        )
    return found


def _random(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)
    return layer


# --- the table -------------------------------------------------------------------------------------------------------


def measure(frames: int) -> list[Result]:
    """The table's rows."""
    inputs, network = Inputs.random(frames), random_inception()
    return [
        *of_pytorch_fid(inputs, network),
        *of_torch_fidelity(inputs, network),
        *of_lpips(inputs),
        *of_scikit_image(inputs),
        *of_diffusers(),
    ]


def check(results: Sequence[Result]) -> None:
    """Raises Unequal where a result is beyond its bound, or no number."""
    wrong = [f"{r.key} {r.number:.3g} ({r.goal})" for r in results if r.met is False]
    if wrong:
        raise Unequal(f"{len(wrong)} of {len(results)} differences are beyond their bounds: {', '.join(wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--frames", type=int, default=4, help="of each of the two videos")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = measure(args.frames)
    versions = {name: importlib.metadata.version(name) for name in (*PACKAGES, "scipy", "torch")}
    timing.show(Report("parity", versions | {"python": platform.python_version()}, results), as_json=args.json)
    check(results)


if __name__ == "__main__":
    run(main)
