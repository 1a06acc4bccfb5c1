"""Scores by networks with public weights on a made-up run: which columns, which names, and that they are what the libraries give.

The networks are small stand-ins with the public ones' calls: their layouts and files are tested in ``test_public``.
"""

from __future__ import annotations

import json
import sys
import weakref
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from test_public import TinyI3D
from torch import Tensor, nn

from stages import features, media, reference
from stages import metrics as scoring
from stages.base import params
from stages.base.errors import InputError, ParameterError
from stages.base.params import Params
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.faces import observed
from stages.measures import frechet, kernel, lse
from stages.measures import perceptual as lpips_measure
from stages.measures.networks import i3d, inception
from stages.measures.networks.judges import FrameEncoder, SyncJudge, VideoEncoder
from stages.networks import seeded
from stages.pretrained import public_judges
from stages.reporting import breakdown, pages, results
from stages.reporting import tables as report_tables
from stages.scoring import catalogue, columns
from stages.scoring.observer import Observer
from stages.store import tables, tars, weights_file

PUBLIC_SCORES = {metric.name for metric in catalogue.METRICS if metric.family == catalogue.PUBLIC}

ALL = ["inception", "i3d", "syncnet", "vgg16"]
CLIPS = ("ada_s09", "bela_s09", "kira_s01", "kira_s09")  # the made-up run's tests


class TinyInception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3 * 8 * 8, 2048)

    def forward(self, x_N3HW: Tensor) -> Tensor:
        return self.project(F.adaptive_avg_pool2d(x_N3HW, 8).flatten(1)).sin()


class TinySyncNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.video, self.audio = nn.Linear(3 * 5 * 16, 1024), nn.Linear(13 * 20, 1024)

    def embed_video(self, frames_B3FHW: Tensor) -> Tensor:
        return self.video(F.adaptive_avg_pool3d(frames_B3FHW / 255, (5, 4, 4)).flatten(1))

    def embed_audio(self, mfcc_B1KS: Tensor) -> Tensor:
        return self.audio(mfcc_B1KS.flatten(1) / 30)


class TinyLpips(nn.Module):
    """Two layers of features."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer, self.lins = nn.Identity(), nn.ModuleList([nn.Conv2d(3, 1, 1, bias=False) for _ in range(2)])

    def net(self, x: Tensor) -> list[Tensor]:
        return [x, F.avg_pool2d(x, 4)]


NETWORKS = {
    "inception": seeded(1, TinyInception).eval(),
    "i3d": i3d.I3D(torch.jit.script(TinyI3D())),
    "syncnet": seeded(2, TinySyncNet).eval(),
    "vgg16": seeded(3, TinyLpips).eval(),
}


@pytest.fixture(autouse=True)
def loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, network in NETWORKS.items():
        monkeypatch.setitem(public_judges.LOADERS, name, lambda folder, device, network=network: network)


def settings(names: list[str]) -> Params:
    base = fake_run.settings().model_dump()
    metrics = base["metrics"] | {"public": names, "upscale": 1, "bootstrap": 20}
    methods = {name: base["methods"][name] for name in ("truth", "full")}
    return params.validate(base | {"metrics": metrics, "methods": methods, "trained": ["full"]})


def judges(folder: Path) -> Path:
    how: dict[str, Any] = {"width": 4, "embedding": 8}
    heads = {"speaker": 2, "corruption": 2, "opening": 2}
    networks = {"sync": SyncJudge(**how), "frame": FrameEncoder(**how, heads=heads)}
    networks["video"] = VideoEncoder(**how, heads=heads)
    for judge, network in networks.items():
        config = {"judge": judge, **how, "size": 64} | ({} if judge == "sync" else {"heads": heads})
        weights_file.write(folder / f"{judge}.safetensors", network.state_dict(), config)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up run, measured by all networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.setattr(observed, "measure", lambda frames, upscale: _face(len(frames)))
        data = tmp_path_factory.mktemp("run") / "data" / "fake"
        given = settings(ALL)
        fake_run.make(data, given)
        judges(data / "judges")
        for shard in given.corpus.shards:
            tars.write(data / "raw" / f"{shard}.tar", [(tars.CLIPS, b"[]")])
        for name, network in NETWORKS.items():
            patch.setitem(public_judges.LOADERS, name, lambda folder, device, network=network: network)
        reference.measure(data, given, data / "reference.parquet")
        for method in given.methods:
            measure(data, method, given)
            scoring.of_run(data, method, given)
        return data


def measure(data: Path, method: str, given: Params) -> None:
    _, videos = features.read(data, method, given)
    observer = Observer.of(given, data / "judges", 1)
    with tables.writer(data / "features" / f"{method}.parquet", columns.FEATURES) as write:
        for video in videos:
            write(features.row(video, observer))


def document(data: Path, method: str = "full") -> dict[str, Any]:
    return json.loads((data / "metrics" / f"{method}.json").read_text())


def pictures(data: Path, clip: str) -> tuple[NDArray[np.uint8], Clip]:
    """The sampled frames, and the clip."""
    shard = clip.split("_")[0]
    made = media.decode(tars.read(data / "samples" / "full.tar", f"{clip}.mp4"), fps=25)
    return made, corpus.load(data, shard, clip, size=64, dilation=settings(ALL).mask.dilation)


def test_the_two_families_stand_apart_under_their_names(data: Path) -> None:
    for method in ("truth", "full"):
        found = document(data, method)
        assert set(found["families"]) == {catalogue.CORPUS, catalogue.PUBLIC}
        assert set(found["families"][catalogue.PUBLIC]) == PUBLIC_SCORES
        assert found["families"][catalogue.CORPUS]["fd_frame"] == "FD, corpus encoder (frame)"
        for name in sorted(PUBLIC_SCORES):
            assert found["scores"][name]["all"]["value"] is not None, name
        for name in ("fid", "fid_torch_fidelity", "fvd"):
            assert found["scores"][f"{name}_floor"]["all"]["value"] > 0
            assert found["scores"][f"{name}_speakers"]["all"]["value"] > 0
    for name in set(catalogue.BY_NAME) - PUBLIC_SCORES:
        assert not any(word in catalogue.kind(name).title for word in ("FID", "FVD", "KID", "LSE", "LPIPS"))


def test_the_distances_are_those_of_the_networks_features(data: Path) -> None:
    clips = [pictures(data, name) for name in CLIPS]
    scores = {name: splits["all"] for name, splits in document(data)["scores"].items()}
    for convention, name in (("pytorch_fid", "fid"), ("torch_fidelity", "fid_torch_fidelity")):
        made, true = (
            [inception.features(NETWORKS["inception"], np.asarray(f), convention=convention) for f in side]
            for side in ([made for made, _ in clips], [clip.frames_THWC for _, clip in clips])
        )
        expected = frechet.distance(np.concatenate(made), np.concatenate(true))
        assert scores[name]["value"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        expected = kernel.distance(np.concatenate(made), np.concatenate(true))
        assert scores[name.replace("fid", "kid", 1)]["value"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, ddof in (("laughing_matters", 1), ("stylegan_v", 0)):
        made, true = (
            [i3d.features(NETWORKS["i3d"], np.asarray(f), i3d.CONVENTIONS[name]) for f in side]
            for side in ([made for made, _ in clips], [clip.frames_THWC for _, clip in clips])
        )
        expected = frechet.distance(np.concatenate(made), np.concatenate(true), ddof=ddof)
        score = scores["fvd" if ddof else "fvd_stylegan_v"]
        assert score["value"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert score["n"] == len(clips) * (2 if ddof else 1)


def test_lse_and_lpips_are_the_clips_means(data: Path) -> None:
    heard, seen = [], []
    for name in CLIPS:
        made, clip = pictures(data, name)
        heard.append(lse.lse(NETWORKS["syncnet"], made, np.asarray(clip.audio)))
        pair = (made, np.asarray(clip.frames_THWC), np.asarray(clip.masks_THW))
        seen.append([values.mean() for values in lpips_measure.distances(NETWORKS["vgg16"], *pair)])
    scores = {name: splits["all"] for name, splits in document(data)["scores"].items()}
    assert scores["lse_c"]["value"] == pytest.approx(np.mean([s.confidence for s in heard]), rel=1e-4)
    assert scores["lse_d"]["value"] == pytest.approx(np.mean([s.distance for s in heard]), rel=1e-4)
    assert scores["lse_c"]["low"] < scores["lse_c"]["value"] < scores["lse_c"]["high"]
    np.testing.assert_allclose([scores[n]["value"] for n in ("lpips", "lpips_mask")], np.mean(seen, 0), rtol=1e-4)
    rows = tables.read(data / "metrics" / "full.parquet", columns.CLIPS).to_pandas()
    np.testing.assert_allclose(rows["lse_c"], [s.confidence for s in heard], rtol=1e-4)


def test_the_report_has_the_papers_columns(data: Path) -> None:
    found = results.read(data, settings(ALL))
    table = report_tables.in_papers_form(found)[0]
    assert table.scores == ("fvd", "fid_torch_fidelity", "blinks_per_s", "blink_duration_s", "lse_c")
    assert [h.replace("\u00a0", " ") for h in table.headings][:2] == [
        "FVD ↓",
        "FID, torch-fidelity (nearest to the paper’s) ↓",
    ]
    text = report_tables.to_csv(table)
    assert "fvd: FVD; fid_torch_fidelity: FID, torch-fidelity (nearest to the paper’s); lse_c: LSE-C" in text
    assert "corpus encoder" not in text
    assert "other features" not in table.apart
    names = {name for name, _, _ in report_tables.every_score(found)}
    assert {"fid", "fid_floor", "fid_extrapolated", "fid_torch_fidelity", "kid", "fd_frame", "lpips_mask"} <= names
    assert any("by the published weights" in line for line in pages.limits_of_features(found))
    assert "LSE-C" in " ".join(breakdown.headings(found))
    words = pages.columns_words(found)
    assert "clips of 16 frames, one every 16" in words
    assert "other names" not in words


def test_without_public_weights_none_of_their_names_is_used(data: Path, tmp_path: Path) -> None:
    """The same tables, which hold the features: the metrics stage was not asked for them."""
    for name in ("features", "reference.parquet", "index.parquet"):
        (tmp_path / "fake").mkdir(exist_ok=True)
        (tmp_path / "fake" / name).symlink_to(data / name)
    scoring.of_run(tmp_path / "fake", "full", settings([]))
    found = document(tmp_path / "fake")
    assert set(found["families"]) == {catalogue.CORPUS}
    assert not set(found["scores"]) & PUBLIC_SCORES


def test_features_that_were_not_measured_are_asked_for(data: Path, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    table = tables.read(data / "features" / "full.parquet", columns.FEATURES).to_pylist()
    rows = [row | {"syncnet_pictures": None} for row in table]
    tables.write(tmp_path / "features" / "full.parquet", columns.FEATURES, rows)
    (tmp_path / "reference.parquet").symlink_to(data / "reference.parquet")
    with pytest.raises(
        InputError, match=r"ada_s09 was measured without syncnet, which metrics\.public names; delete it"
    ):
        scoring.of_run(tmp_path, "full", settings(["syncnet"]))


def folders(data: Path, root: Path, audio: NDArray[np.int16] | None) -> tuple[Path, Path]:
    """Two pairs of videos, at 25 frames a second."""
    for name in CLIPS[:2]:
        made, clip = pictures(data, name)
        for where, pictured in (("made", made), ("truth", np.asarray(clip.frames_THWC))):
            path = root / where / f"{name}.mp4"
            path.parent.mkdir(exist_ok=True)
            media.write_video(path, pictured, fps=25, audio=audio, sample_rate=16000, crf=4)
    return root / "made", root / "truth"


def score_folder(made: Path, true: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(observed, "measure", lambda frames, upscale: _face(len(frames)))
    out = made.parent / "scores.json"
    arguments = ["--videos", made, "--truth", true, "--out", out, "--params", "presets/demo.yaml", "--public", *names]
    monkeypatch.setattr(sys, "argv", ["metrics", *map(str, arguments)])
    scoring.main()
    return json.loads(out.read_text())


def _face(count: int) -> observed.Faces:
    """dlib knows no cartoons: a face that is the same in all frames."""
    points = np.random.default_rng(0).uniform(0, 64, (68, 2))[None].repeat(count, 0)
    return observed.Faces(points, np.ones(count, bool), np.ones((-(-count // 10), 128)), [None] * count)


def test_a_folder_of_videos_is_scored_by_them(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).integers(-3000, 3000, 40 * 640).astype(np.int16)
    found = score_folder(*folders(data, tmp_path, sound), ALL, monkeypatch)
    assert set(found["families"]) == {catalogue.PUBLIC}
    assert set(found["families"][catalogue.PUBLIC]) == PUBLIC_SCORES - {"lpips_mask"}
    assert found["scores"]["lse_c_truth"]["all"]["value"] > 0
    assert "No face is tracked" in found["meanings"]["lse_c"]
    assert set(found["clips"]["ada_s09"]) >= {"lse_c", "lse_d", "lpips"}
    made = media.decode(tmp_path / "made" / "ada_s09.mp4", fps=25)
    heard = lse.lse(
        NETWORKS["syncnet"], made, media.to_int16(media.decode_audio(tmp_path / "made" / "ada_s09.mp4", 16000))
    )
    assert found["clips"]["ada_s09"]["lse_c"] == pytest.approx(heard.confidence)


def test_a_video_without_sound_has_no_lse(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, true = folders(data, tmp_path, None)
    with pytest.raises(
        InputError, match=r"made/ada_s09\.mp4: no audio stream; give a video with sound, or leave out syncnet"
    ):
        score_folder(made, true, ["syncnet"], monkeypatch)
    with pytest.raises(ParameterError, match=r"--public: metrics\.public.* 'i3d'.*'vgg16'"):
        score_folder(made, true, ["inceptoin"], monkeypatch)


def test_the_reference_holds_three_clips_at_most_at_a_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Clip] = weakref.WeakSet()
    most, loaded, load = 0, 0, corpus.load

    def counted(*args: Any, **kwargs: Any) -> Clip:
        nonlocal most, loaded
        clip = Held(load(*args, **kwargs))
        alive.add(clip)
        most, loaded = max(most, len(alive)), loaded + 1
        return clip

    class Held(Clip):  # a dataclass that compares by value can't stand in a set of weak references
        __hash__ = object.__hash__

        def __init__(self, clip: Clip) -> None:
            self.__dict__.update(clip.__dict__)

    monkeypatch.setattr(corpus, "load", counted)
    monkeypatch.setattr(observed, "measure", lambda frames, upscale: _face(len(frames)))
    reference.measure(data, settings([]), tmp_path / "reference.parquet")
    clips = len(tables.read(tmp_path / "reference.parquet", columns.REFERENCE))
    assert loaded > 3 * clips  # the training clips and the tests are walked through several times
    assert most <= 3 < clips
