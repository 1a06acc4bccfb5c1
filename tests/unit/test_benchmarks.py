"""Benchmarks: the clockwork on a made-up clock, our side at tiny size, and the error where the peer is missing."""

from __future__ import annotations

import argparse
import builtins
import json
import sys

import cv2
import numpy as np
import pytest
import torch

from benchmarks import (
    growth,
    loader,
    losses,
    many_clips,
    metrics,
    mouths,
    networks,
    official,
    preprocessing,
    sampling,
    talk,
    timing,
    unet,
)
from benchmarks.networks import Inputs, Layout, MissingPeer
from benchmarks.timing import Goal, Report, Result, Setting, Spread, Turns, take_turns
from stages import features, index, media
from stages.base import params
from stages.base.errors import InputError
from stages.training import prepared

CPU = Setting(torch.device("cpu"), bf16=False, turns=1, warmup=0)
TINY = Layout(size=16, channels=16, head_channels=16)


def test_cases_take_turns_and_warm_ups_are_not_timed() -> None:
    now, order = 0.0, []

    def case(name: str, seconds: float):
        def run() -> None:
            nonlocal now
            now += seconds
            order.append(name)

        return run

    turns = take_turns({"a": case("a", 2.0), "b": case("b", 5.0)}, lambda: now, turns=3, warmup=1)
    assert "".join(order) == "ab" + "abbaab"
    assert turns.seconds == {"a": [2.0] * 3, "b": [5.0] * 3}
    with pytest.raises(ValueError, match="0 turns; allowed: 1 or more"):
        take_turns({}, lambda: now, turns=0, warmup=0)


def test_a_ratio_is_taken_turn_by_turn() -> None:
    """A machine three times as slow in one turn changes no ratio, though it changes every time."""
    turns = Turns({"slow": [3.0, 9.0, 3.0, 3.0], "fast": [2.0, 6.0, 2.0, 2.0]})
    assert turns.ratio("slow", "fast") == Spread(1.5, 1.5, 1.5)
    assert turns.median("slow") == 3.0
    assert turns.fastest(["slow", "fast"]) == "fast"
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


@pytest.mark.parametrize(
    ("goal", "text", "inside", "outside"),
    [
        (Goal(least=1.3), "≥ 1.3", 1.3, 1.29),
        (Goal(most=1.25), "≤ 1.25", 1.25, 1.26),
        (Goal(4.75, 5.25), "4.75 to 5.25", 5, 5.3),
    ],
)
def test_goals(goal: Goal, text: str, inside: float, outside: float) -> None:
    assert str(goal) == text
    assert goal.met(inside)
    assert not goal.met(outside)


def test_a_report_says_the_same_to_machines_and_to_people() -> None:
    results = [
        Result("ratio", "ours over theirs", Spread(1.2, 1.1, 1.3), Goal(least=1.3)),
        Result("rate", "images/s", 1226.0),
    ]
    report = Report(
        "unet", {"device": "CPU"}, results, ("A note.",), command="python -m benchmarks.unet", date="2026-01-02"
    )
    read = json.loads(report.to_json())
    assert read["results"]["ratio"] == {
        "value": 1.2,
        "meaning": "ours over theirs",
        "quartiles": [1.1, 1.3],
        "goal": "≥ 1.3",
        "met": False,
    }
    assert read["results"]["rate"] == {"value": 1226.0, "meaning": "images/s"}
    assert read["command"] == "python -m benchmarks.unet"
    table = report.to_markdown()
    assert "| ours over theirs | 1.20 [1.10, 1.30] | ≥ 1.3 | **no** |" in table
    assert "| images/s | 1,226 |  |  |" in table
    assert "`python -m benchmarks.unet`, 2026-01-02" in table
    assert table.endswith("A note.")


def test_numbers_have_three_figures() -> None:
    assert [timing.figures(x) for x in (0.0, 1.234e-9, 0.0123456, 1.0, 12.345, 1226.4)] == [
        "0",
        "1.23e-09",
        "0.0123",
        "1.00",
        "12.3",
        "1,226",
    ]


def test_the_command_is_shown_as_typed() -> None:
    assert timing.command_line(["/x/benchmarks/unet.py", "--size", "32"]) == "python -m benchmarks.unet --size 32"


def test_options_choose_device_precision_and_scale() -> None:
    parser = argparse.ArgumentParser()
    timing.add_options(parser, turns=5)
    networks.add_layout(parser, cpu_size=64, cpu_channels=64, cpu_batch=2, cuda_batch=32)
    args = parser.parse_args(
        ["--device", "cpu", "--dtype", "bf16", "--threads", str(torch.get_num_threads()), "--size", "32"]
    )
    setting = Setting.of(args)
    assert (setting.device.type, setting.bf16, setting.turns) == ("cpu", True, 5)
    assert networks.choose_layout(args, setting) == (Layout(32, 64), 2)
    assert setting.machine()["precision"] == "bf16 autocast"
    assert {"device", "threads", "torch", "clock"} <= setting.machine().keys()
    with pytest.raises(networks.HifiDiffError, match="--size 40 --channels 64: allowed are multiples of 16 and of 64"):
        Layout(40, 64)


def test_a_missing_peer_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name.split(".")[0] == "diffusers":
            raise ImportError("No module named 'diffusers'")
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "diffusers", None)  # what importlib looks at
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPeer, match=r"diffusers, can't be imported .* -r requirements-bench\.lock"):
        TINY.peer()


def test_the_papers_layout_is_the_default_and_its_limits_are_the_counted_ones() -> None:
    """At 790 TFLOP/s: 1,226 images/s in training and 74 frames/s at 50 steps."""
    flops = Layout().flops()
    assert 790e12 / (unet.FORWARDS * flops) == pytest.approx(1226, abs=1)
    assert 790e12 / (sampling.STEPS * flops) == pytest.approx(74, abs=0.5)


def test_both_of_our_networks_train() -> None:
    inputs = Inputs.random(TINY, 1, CPU.device)
    for name, case in networks.cases(networks.OURS, TINY, inputs, CPU).items():
        step = unet.training_step(case, inputs, CPU)
        before = [p.detach().clone() for p in case.net.parameters()]
        step()
        assert any(not torch.equal(a, b) for a, b in zip(before, case.net.parameters(), strict=True)), name


def test_the_lines_of_the_training_benchmark() -> None:
    turns = Turns({"hifidiff": [1.0], "unet": [0.8], "diffusers": [2.0], "diffusers_channels_last": [1.4]})
    peak = 2 * unet.FORWARDS * TINY.flops() * 4  # twice as much as 4 images a second need
    found = {
        line.key: line
        for line in unet.results(turns, {"hifidiff": 86.6}, TINY, batch=4, peak=peak, share=unet.SHARE_OF_LIMIT)
    }
    assert found["hifidiff_over_peer"].number == pytest.approx(1.4)
    assert "diffusers_channels_last" in found["hifidiff_over_peer"].meaning
    assert found["hifidiff_over_peer"].met
    assert found["unet_over_peer"].number == pytest.approx(1.75)
    assert found["share_of_limit"].number == pytest.approx(0.5)
    assert found["share_of_limit"].met is False
    assert found["rate_diffusers"].number == 2.0
    assert found["parameters_hifidiff"].number == 86.6


def test_sampling_runs_and_its_lines() -> None:
    inputs = Inputs.random(TINY, 2, CPU.device)
    case = networks.cases(("hifidiff",), TINY, inputs, CPU)["hifidiff"]
    assert sampling.sampler(case, inputs, CPU, steps=2)().shape == (2, 3, 16, 16)
    turns = Turns({"hifidiff": [5.0], "diffusers": [6.0], "diffusers_own_scheduler": [5.5], "few": [1.04]})
    found = {
        line.key: line
        for line in sampling.results(turns, TINY, batch=10, peak=sampling.STEPS * TINY.flops() * 4, share=None)
    }
    assert found["hifidiff_over_peer"].number == pytest.approx(1.1)
    assert found["few_over_many"].number == pytest.approx(5 / 1.04)
    assert found["few_over_many"].met
    assert found["share_of_limit"].number == pytest.approx(0.5)
    assert "rate_few" not in found


def test_the_measured_peak_is_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(timing, "clock", lambda device: lambda: float(next(ticks)))
    monkeypatch.setattr(torch, "mm", lambda a, b: None)
    assert timing.peak_flops(CPU) == 2 * 1536**3  # one product a second


def test_a_step_with_all_losses_and_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The auxiliary terms count: the same network has another loss with them than without."""
    monkeypatch.setattr(
        losses, "lpips_vgg", lambda device: lambda x, target: (x - target).abs().mean((1, 2, 3))
    )  # 138 million weights less
    batch, net = losses.random_batch(TINY, 1, CPU.device), TINY.whole()
    found = {name: losses.training_step(net, one, batch)() for name, one in losses.objectives(CPU).items()}
    assert all(torch.isfinite(loss) for loss in found.values())
    assert found["four"] > found["two"]
    lines = {line.key: line for line in losses.results(Turns({"four": [1.2], "two": [1.0]}), images=5)}
    assert lines["four_over_two"].number == pytest.approx(1.2)
    assert lines["four_over_two"].met
    assert lines["rate_two"].number == 5.0


def test_the_loaders_cases_and_lines() -> None:
    clips = [loader.made_up_clip(number, frames=8, size=32) for number in range(2)]
    jpegs = loader.jpegs_of(clips, 5)
    found = {name: case() for name, case in loader.cases(clips, jpegs, windows=2).items()}
    assert len(found["decode"]) == len(found["opencv"]) == 5
    assert max(abs(a.astype(int) - b).max() for a, b in zip(found["decode"], found["opencv"], strict=True)) <= 2
    (batch,) = found["batches"]
    assert batch.x_0.shape == (10, 3, 32, 32)
    assert 0 < batch.weight_N1HW.mean() < 1  # masks are drawn
    turns = Turns({"decode": [0.04], "opencv": [0.05], "batches": [0.1]})
    lines = {line.key: line for line in loader.results(turns, decoded=200, images=100, bytes_each=7e3)}
    assert lines["rate_decode"].number == pytest.approx(5000)
    assert lines["decode_over_opencv"].number == pytest.approx(1.25)
    assert lines["rate_batches"].number == pytest.approx(1000)


def test_the_solver_is_scipys_number_and_the_passes_run(tmp_path) -> None:
    found = {name: run() for name, run in metrics.solvers(24).items()}
    assert found["ours"] == pytest.approx(found["scipy"], rel=1e-9)
    made, video = metrics.clip(tmp_path, 9)
    for run in metrics.passes(made, video, metrics.judges(tmp_path), 4).values():
        run()


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    """One rendered clip by the mask stage and by the direct way: (media, shards, the peer, its landmarks)."""
    given = params.load("presets/demo.yaml")
    clips = given.corpus.rendered.model_copy(update={"sentences": 1})
    source = preprocessing.Media.render(tmp_path_factory.mktemp("clips"), clips, ["ada"])
    peer = preprocessing.Direct(given.mask)
    return source, preprocessing.ours(source, given.mask), peer, peer.shards(source)


def test_both_ways_of_preprocessing_take_the_same_frames_and_find_the_same_face(preprocessed) -> None:
    source, shards, peer, direct = preprocessed
    found = preprocessing.stored(shards)
    assert found.keys() == direct.keys() == {"ada_s01"}
    assert abs(len(found["ada_s01"]) - len(direct["ada_s01"])) <= 1
    assert preprocessing.Distance.between(found["ada_s01"], direct["ada_s01"]).rms < 2  # pixels
    lines = {line.key: line for line in preprocessing.accuracy(source, found, direct, peer)}
    assert lines["rms_ratio"].number == pytest.approx(lines["rms_px"].number / lines["noise_rms_px"].number)
    assert lines["recall"].met
    assert lines["lids_r"].number > 0.9


def test_a_distance_to_shifted_landmarks_is_the_shift() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (5, 68, 2))
    found = [*(points + [3, 4]), None]
    distance = preprocessing.Distance.between(found, [*points, points[0]])
    assert distance.rms == distance.p95 == pytest.approx(5)
    assert distance.ear == pytest.approx(0)
    image = np.arange(20, dtype=np.uint8).reshape(2, 10)
    assert preprocessing.shifted(image)[0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]


def test_random_windows_are_the_same_pictures_each_way(preprocessed, tmp_path) -> None:
    _, shards, _, _ = preprocessed
    found = {name: read() for name, read in preprocessing.windows(shards, tmp_path, 2).items()}
    for pictures in found.values():
        assert np.array_equal(pictures, found["shard"])


def test_the_written_out_recipe_gives_the_stages_spectrogram(preprocessed) -> None:
    given = params.load("presets/demo.yaml").spectrogram
    audio = [media.decode_audio(path, given.sample_rate) for path in preprocessed[0].files.values()]
    lines = {line.key: line for line in preprocessing.spectrograms(audio, given, CPU)}
    assert lines["mel_error"].met


def test_the_lines_of_the_preprocessing_benchmark() -> None:
    turns = Turns({"ours": [0.2], "direct": [1.0]})
    lines = {line.key: line for line in preprocessing.results(turns, frames=100, started=0.5)}
    assert lines["speedup"].number == pytest.approx(5)
    assert lines["ms_per_frame"].number == pytest.approx(2)
    assert lines["startup_frames"].number == pytest.approx(250)
    read = {line.key: line for line in preprocessing.reading(Turns({"shard": [0.1], "npz": [3.0], "tar": [0.4]}), 50)}
    assert read["windows_over_npz"].met
    assert read["windows_over_tar"].met is False
    assert read["rate_windows"].number == pytest.approx(500)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    return folder, talk.Scene.render(folder, 16)


def test_both_ways_of_a_talking_video_write_the_same_frames(scene) -> None:
    folder, given = scene
    for run in talk.cases(given, folder).values():
        run()
    for name in ("video", "still", "wav2lip"):
        assert media.decode(folder / f"{name}.mp4", fps=given.fps).shape == (16, 360, 480, 3)
    turns = Turns({"video": [0.4], "still": [0.2], "wav2lip": [1.6]})
    lines = {line.key: line for line in talk.results(turns, frames=16)}
    assert lines["over_peer"].number == pytest.approx(4)
    assert lines["over_peer"].met
    assert lines["ms_still"].number == pytest.approx(12.5)
    assert lines["ms_video"].met is False


def test_a_pasted_face_comes_nearer_to_the_truth_than_a_rectangle(scene) -> None:
    """Three times the network's side; the goals are those of the report's lines."""
    _, given = scene
    assert given.moving.crop[2] >= 3 * talk.SIZE
    for line in talk.quality(given):
        assert line.met in (True, None), line


AUTHORS = """
from src.models import parts

print("built with", parts.WIDTH)


class Audio2landmark_content(parts.nn.Module):
    def __init__(self, *, num_window_frames, in_size, use_prior_net, hidden_size, num_layers, drop_out):
        super().__init__()
        self.tell = parts.nn.Linear(in_size * num_window_frames, parts.WIDTH)

    def forward(self, au, face_id):
        return self.tell(au.flatten(1)), face_id
"""


def test_the_authors_networks_are_compared_and_forgotten(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "MakeItTalk" / "src" / "models"
    models.mkdir(parents=True)
    (models / "parts.py").write_text("import dill\nfrom torch import nn\n\nWIDTH = 204\n", encoding="utf-8")
    (models / "model_audio2landmark.py").write_text(AUTHORS, encoding="utf-8")
    before, path = set(sys.modules), list(sys.path)
    pair = official.makeittalk_content(tmp_path / "MakeItTalk", 1)
    assert capsys.readouterr().out == ""
    assert sys.path == path
    assert not {name for name in set(sys.modules) - before if name.startswith(("src", "dill"))}
    assert pair.ours.made().shape == pair.theirs.made().shape == pair.target.shape
    for side in (pair.ours, pair.theirs):
        still = [value.detach().clone() for value in side.parameters]
        official.training_step(side, pair.target)()
        assert any((value != old).any() for value, old in zip(side.parameters, still, strict=True))
    setting = Setting(torch.device("cpu"), bf16=False, turns=2, warmup=0)
    lines = {line.key: line for line in official.results({"makeittalk_content": pair}, setting)}
    assert lines["makeittalk_content"].goal == Goal(least=1.0)
    assert lines["makeittalk_content_seconds"].number > 0
    assert lines["makeittalk_content_parameters_theirs"].number == pytest.approx((18 * 80 + 1) * 204 / 1e6)


def test_a_folder_without_the_authors_repositories_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["official", str(tmp_path), "--part", "eamm"])
    with pytest.raises(InputError, match=r"holds none of EAMM; clone the authors' repositories there"):
        official.main()


def test_a_line_grows_no_steeper_and_a_square_does() -> None:
    sizes = [91, 300, 1000]
    assert growth.steeper(sizes, [2 + 0.01 * n for n in sizes]) == pytest.approx(1)
    assert growth.steeper(sizes, [2 + 1e-4 * n**2 for n in sizes]) == pytest.approx(1300 / 391)


def test_the_cost_of_a_command_is_its_own_and_its_childrens(tmp_path) -> None:
    waste = "import time; held = bytearray(200_000_000); end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waste!r}])"
    found = growth.cost([sys.executable, "-c", parent], tmp_path, {})
    assert 0.5 <= found.seconds < 5
    assert 200 < found.megabytes < 280
    with pytest.raises(growth.CommandError, match="this fails"):
        growth.cost([sys.executable, "-c", "raise SystemExit('this fails')"], tmp_path, {})


def test_made_up_tables_are_an_index_and_a_corpus(tmp_path) -> None:
    many_clips.bare(tmp_path / "bare", 300)
    (tmp_path / "linked").mkdir()
    many_clips.linked(tmp_path / "linked", 200)
    assert len(index.joined(tmp_path / "bare" / "data", "s00001", 25)) == many_clips.CLIPS_A_SHARD
    given = params.load(tmp_path / "linked" / "params.yaml")
    found = prepared.training_set(given, tmp_path / "linked" / "data", ())
    assert len(found.windows.at(0).clips) == 200
    assert found.step(0).x_0.shape[-1] == given.train.crop


def test_mouths_of_the_truth_are_as_sharp_as_they_are_and_blurred_ones_less(make_clip) -> None:
    clip = make_clip(size=64)
    true = np.asarray(clip.frames_THWC)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in true])
    same, less = (mouths.measure(features.Video(clip, clip.name, frames)) for frames in (true, blurred))
    assert same["sharpness"] == same["sharpness, wide open"] == 1
    assert less["sharpness"] < 0.5
    assert same["PSNR, dB"] == np.inf > less["PSNR, dB"]
    assert same["first frame's"] == less["first frame's"]
