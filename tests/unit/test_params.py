"""The settings: presets are valid, the schema is current, and messages name key, value and what is allowed."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.base import params, presets
from stages.base.errors import ParameterError
from stages.corpora import cremad_facts
from workflow import schema
from workflow.sources import ROOT

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
DEMO = yaml.safe_load(presets.whole(ROOT / "presets" / "demo.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_named_by_their_run(path: Path) -> None:
    assert params.load(path).run == path.stem


def test_params_yaml_is_a_preset() -> None:
    assert (ROOT / "params.yaml").read_text() in [presets.whole(path) for path in PRESETS]


def test_schema_is_current() -> None:
    assert schema.SCHEMA.read_text() == schema.text(), "python -m workflow.schema"


def test_the_settings_know_cremads_speakers() -> None:
    assert set(cremad_facts.SPEAKERS) == params.CREMAD_SPEAKERS


STUDY = params.load(ROOT / "presets" / "demo-study.yaml")
NAMES = {"ddim": "ddim", "ancestral": "ancestral", "dpm": "dpm_solver++"}
NOISES = {"shared": (1.0, 0.0), "interpolated": (0.0, 0.9), "independent": (0.0, 0.0)}


def test_a_cell_of_50_steps_or_more_has_at_most_100_frames() -> None:
    counts = {}
    for name in STUDY.shown_in("samplers"):
        own = STUDY.sampling(name)
        assert own.frames is not None
        assert own.frames <= STUDY.index.min_frames, "every clip has them, so that all cells have equally many"
        counts[name] = len(STUDY.methods[name].splits) * STUDY.index.max_test_clips * own.frames
    assert {own for name, own in counts.items() if STUDY.sampling(name).steps >= 50} == {48}
    assert max(counts.values()) <= 200


def test_the_studys_rows_are_what_their_names_say_and_in_order() -> None:
    rows = STUDY.shown_in("samplers")
    large, small = rows[: rows.index("truth_8")], rows[rows.index("truth_8") :]
    noises = [("shared", 5), ("shared", 10), ("shared", 25), ("interpolated", 5), ("independent", 5)]
    most = [("interpolated", 25), ("independent", 25)]  # of one sampler: minutes
    cells = {f"{name}_{steps}_{noise}" for name in NAMES for noise, steps in noises}
    cells |= {f"ddim_{steps}_{noise}" for noise, steps in most}
    assert set(large) == {"truth_25", *cells, "ddim_10_shared_audio", "ddim_10_shared_blink"}
    assert small == ["truth_8", *(f"{name}_{steps}_shared_8" for name in NAMES for steps in (10, 50))]
    for name in rows:
        own = STUDY.sampling(name)
        assert own.frames == (8 if name in small else 25)
        if name.startswith("truth"):
            continue
        sampler, steps, noise = name.split("_")[:3]
        assert (own.sampler, own.steps) == (NAMES[sampler], int(steps))
        assert (own.shared_noise, own.interpolation) == NOISES[noise]
        assert (own.guidance_audio, own.guidance_blink) == (1 + name.endswith("audio"), 1 + name.endswith("blink"))
        assert STUDY.methods[name].made_from == "models/full"


def edited(**values: Any) -> dict[str, Any]:
    """The demo's settings with ``section__key=value`` changed; ``None`` removes the key."""
    raw = copy.deepcopy(DEMO)
    for name, value in values.items():
        *path, last = name.split("__")
        place = raw
        for part in path:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (edited(mask__fps=0), "mask.fps is 0; allowed: input should be greater than 0"),
        (edited(train__steps="few"), "train.steps is 'few'; allowed: input should be a valid integer"),
        (edited(train__steps=None), "train.steps is missing; add it"),
        (edited(train__step=3), "train.step is not a setting"),
        (
            edited(diffusion__schedule="sine"),
            "diffusion.schedule is 'sine'; allowed: input should be 'linear' or 'cosine'",
        ),
        (edited(run="My Run"), "run is 'My Run'; allowed: string should match pattern"),
        (edited(corpus__shards=["ada", "ada"]), "each shard must be listed once"),
        (
            edited(index__unseen_speakers=["nobody"]),
            "index.unseen_speakers names ['nobody'], which corpus.shards lacks",
        ),
        (
            edited(trained=["full"]),
            "the methods of kind hifidiff made from models/<their own name> are ['full', 'no_blink', 'no_mask']",
        ),
        (
            edited(methods__full__kind="wave2lip"),
            "methods.full.kind is 'wave2lip'; allowed: ",
        ),
        (
            edited(methods__full__settings={"steps": 5}),
            "methods.full.settings.steps is not a setting; allowed: values of network, loss, train",
        ),
        (edited(methods__truth__drop=["blink"]), "methods.truth.drop must be []"),
        (
            edited(methods__full__made_from="videos/full"),
            "methods.full.made_from is 'videos/full'; allowed: models/no_blink, models/no_mask",
        ),
        (edited(methods__truth__kind="videos"), "methods.truth.made_from is 'raw'; allowed: videos/"),
        (edited(baselines={"full": "hifidiff"}), "baselines.full is 'hifidiff'; it needs a method full of that kind"),
        (
            edited(corpus__rendered__long_s=9.0),
            "corpus.rendered.long_speakers must name speakers where long_s is above 0",
        ),
        (
            edited(corpus__rendered__long_s=9.0, corpus__rendered__long_speakers=["nobody"]),
            "corpus.rendered.long_speakers names ['nobody'], which corpus.shards lacks",
        ),
        (
            edited(
                corpus__rendered__long_s=9.0, corpus__rendered__long_speakers=["kira"], corpus__rendered__sentences=24
            ),
            "corpus.rendered.sentences must be below 24 where long_s is above 0",
        ),
        (
            edited(corpus__rendered__long_s=9.0, corpus__rendered__long_speakers=["kira"], index__long_min_s=10.0),
            "corpus.rendered.long_s must be 0, or index.long_min_s above 0 and no larger",
        ),
        (edited(methods__truth=None), "methods needs truth"),
        (
            edited(corpus__source="cremad", corpus__shards=["1001", "1092"], index__unseen_speakers=["1001"]),
            "corpus.shards names ['1092']; CREMA-D's speakers are '1001' to '1091', in quotes",
        ),
        (edited(corpus__shards=[1001]), "corpus.shards.0 is 1001, which YAML reads as a number; put it in quotes"),
        (edited(cremad__folder="data/demo/cremad"), "cremad.folder must lie outside data/demo, which is the run's"),
        (edited(cremad__sources=["file:///etc"]), "cremad.sources.0 is 'file:///etc'; allowed: string should match"),
        (edited(cremad__connections=17), "cremad.connections is 17; allowed: input should be less than or equal to 16"),
        (edited(index__test_fraction=1.0), "index.test_fraction is 1.0; allowed: input should be less than 1"),
        (edited(methods__full__made_from="raw"), "methods"),
        (edited(metrics__drift_s=0), "metrics.drift_s is 0; allowed: input should be greater than 0"),
        (
            edited(methods__full__tables=["table3"]),
            "methods.full.tables.0 is 'table3'; allowed: input should be 'table1'",
        ),
        (edited(train__learning_rate=float("nan")), "train.learning_rate"),
        ([], "the file"),
    ],
)
def test_messages_name_key_value_and_what_is_allowed(raw: Any, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        params.validate(raw)
    assert str(caught.value).startswith("params.yaml: ")
    assert message in str(caught.value)


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no such file; run from the project's root"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("run: demo\nmask:\n  fps: [25\n  size: 128\n")
    with pytest.raises(
        ParameterError, match=r"not valid YAML: line 4, column \d+: .*; correct that line or the one above"
    ):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"run: \x07\n")
    with pytest.raises(ParameterError, match=r"not valid YAML: .*; take that character out"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  hop: 200", "  hop: 160", "must be 3.2"),
        ("  n_mels: 80", "  n_mels: 64", "spectrogram.n_mels must be 80"),
        ("  attention: [8]", "  attention: [7]", "network.attention must name resolutions"),
        ("  guidance_audio: 1.0", "  guidance_audio: 2.0", "must be 1 where train.condition_dropout is 0"),
        ("  close_ratio: 0.75", "  close_ratio: 0.95", "blink.close_ratio must lie below"),
        ("  blink_frames: 1", "  blink_frames: 2", "network.blink_frames must be odd"),
        ("  head_channels: 32", "  head_channels: 48", "network.head_channels must divide"),
        ("  mouth_r: [0.82, 0.82]", "  mouth_r: [82, 0.82]", "report.mouth_r.0 is 82"),
        ("  mouth_amplitude: [0.9, 1.1]", "  mouth_amplitude: [1.1, 0.9]", "the smaller one first"),
        ("  prediction: x0", "  prediction: epsilon", "needs diffusion.prediction 'x0'"),
        ("  timesteps: 1000", "  timesteps: 1", "sample.steps must not exceed"),
        ("  crop: 48", "  crop: 44", "train.crop must not exceed network.size, and be divisible"),
        ("  crop: 48", "  crop: 128", "train.crop must not exceed network.size"),
        ("  batch: 0", "  batch: 1", "train.crop must be 0 where train.batch is above 0"),
        ("  singles: 8", "  singles: 0", "train.batch and train.singles must not both be 0"),
        ("  interpolation: 0.0", "  interpolation: 0.5", "sample.interpolation must be 0 where shared_noise is 1"),
        (
            "splits: [test_seen, test_unseen]",
            "splits: [held_out]",
            "must not name held_out where metrics.held_out is false",
        ),
        (
            "splits: [test_seen, test_unseen]",
            "splits: [test_long]",
            "must not name test_long where index.long_min_s is 0",
        ),
    ],
)
def test_values_that_do_not_agree_are_refused_before_a_stage_runs(tmp_path, old, new, message):
    text = (ROOT / "presets" / "demo.yaml").read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ParameterError, match=message):
        params.load(path)


def test_each_level_that_attends_has_whole_heads() -> None:
    """128 channels at the last level are two heads of 64; 32 at the first are not one."""
    assert params.validate(edited(network__head_channels=64)).network.head_channels == 64
    raw = edited(network__head_channels=64)
    raw["network"]["attention"] = [8, 32]
    with pytest.raises(ParameterError, match=r"whose resolution attends, and the last: \[1, 2, 4\]"):
        params.validate(raw)


def test_the_public_expert_asks_for_the_sound_that_it_was_trained_on() -> None:
    public = edited(expert__source="wav2lip")
    assert params.validate(public).expert.source == "wav2lip"
    public["spectrogram"]["f_max"] = 7000
    with pytest.raises(ParameterError, match=r"expert\.source 'wav2lip' needs the spectrogram"):
        params.validate(public)


def test_a_row_of_hifidiff_may_be_trained_otherwise() -> None:
    raw = copy.deepcopy(DEMO)
    raw["methods"]["another"] = raw["methods"]["full"] | {"made_from": "models/another", "title": "another seed"}
    raw["methods"]["another"]["settings"] = {"train": {"seed": 2, "steps": 7}, "loss": {"mouth_weight": 3.0}}
    raw["trained"].append("another")
    found = params.validate(raw)
    own = found.trained_as("another")
    assert (own.train.seed, own.train.steps, own.loss.mouth_weight) == (2, 7, 3.0)
    assert own.train.warmup == found.train.warmup
    assert found.trained_as("full") == found


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            "full",
            {"train": {"steps": 0}},
            "train.steps must be above 0 where train.start is null",
        ),
        (
            "full",
            {"sample": {"steps": 1}},
            "methods.full.settings.sample is not a setting; allowed: values of network, loss",
        ),
        ("full", {"train": 3}, "methods.full.settings.train is not a setting"),
        ("full", {"loss": {"sync": 0.1}}, "train.batch must be above 0 where loss.sync is"),
        (
            "other_audio",
            {"train": {"seed": 2}},
            "methods.other_audio.settings must be {}: its weights are those of full",
        ),
    ],
)
def test_what_a_row_of_hifidiff_cannot_have_is_refused(row: str, settings: Any, message: str) -> None:
    raw = copy.deepcopy(DEMO)
    raw["methods"][row]["settings"] = settings
    with pytest.raises(ParameterError) as caught:
        params.validate(raw)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("1001", "a number"),
        ("0x1f", "a number"),
        ("1_000", "a number"),
        ("12:30:45", "a number"),
        ("no", "true or false"),
        ("null", "nothing"),
        ("~", "nothing"),
        ("2024-01-01", "a date"),
    ],
)
def test_what_yaml_does_not_read_as_text_is_shown_as_written(tmp_path: Path, written: str, kind: str) -> None:
    text = (ROOT / "presets" / "demo.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("shards: [ada,", f"shards: [{written},", 1), encoding="utf-8")
    message = f"corpus.shards.0 is {written}, which YAML reads as {kind}; put it in quotes"
    with pytest.raises(ParameterError, match=re.escape(f"{path}: {message}")):
        params.load(path)
    path.write_text(text.replace("\nrun: demo ", f"\nrun: {written} ", 1), encoding="utf-8")
    with pytest.raises(
        ParameterError, match=re.escape(f"run is {written}, which YAML reads as {kind}; put it in quotes")
    ):
        params.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  hop: 200", "  hop: 200\n  hop: 201", r"line {1}: hop stands twice, first in line {0}; keep one of the two"),
        ("\nmask:\n", "\nmask:\n  fps: 1\nmask:\n", r"line {2}: mask stands twice, first in line {0}; keep one"),
        ("folder:\n    path: videos", "folder:\n    path: a\n    'path': videos", r"path stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (ROOT / "presets" / "demo.yaml").read_text(encoding="utf-8")
    assert old in text
    first = text[: text.index(old)].count("\n") + 1 + old.startswith("\n")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ParameterError, match=message.format(*range(first, first + 3))):
        params.load(path)
