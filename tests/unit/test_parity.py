"""The public packages beside ours: bounds that can fail, the missing package with its fix, the lock; and the blinks' table."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import blinks, parity
from benchmarks.networks import MissingPeer
from benchmarks.timing import Goal, Result


def test_a_relative_difference() -> None:
    assert parity.relative([1.0, 4.0], [1.0, 5.0]) == pytest.approx(0.2)
    assert parity.relative([3.0], [3.0]) == 0
    assert np.isnan(parity.relative([1.0], [1.0, 2.0]))
    assert np.isnan(parity.relative([float("nan")], [1.0]))


def test_a_difference_beyond_its_bound_and_one_that_is_no_number_are_errors() -> None:
    good = Result("a", "", 1e-9, Goal(most=1e-6))
    parity.check([good, Result("shown", "", 3.0)])
    with pytest.raises(parity.Unequal, match=r"1 of 2 differences are beyond their bounds: b 0\.002 \(≤ 0\.001\)"):
        parity.check([good, Result("b", "", 2e-3, Goal(most=1e-3))])
    with pytest.raises(parity.Unequal, match="1 of 1"):
        parity.check([Result("none", "", float("nan"), Goal(most=1.0))])


@pytest.mark.parametrize(
    ("module", "measure"),
    [
        ("pytorch_fid.fid_score", lambda inputs: parity.of_pytorch_fid(inputs, None)),  # type: ignore[arg-type]
        ("torch_fidelity.feature_extractor_inceptionv3", lambda inputs: parity.of_torch_fidelity(inputs, None)),  # type: ignore[arg-type]
        ("skimage.metrics", lambda inputs: parity.of_scikit_image(inputs)),
        ("diffusers", lambda inputs: parity.of_diffusers()),
    ],
)
def test_a_missing_package_is_named_with_the_fix(module: str, measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    with pytest.raises(MissingPeer, match=rf"{module.split('.')[0]} can't be imported .* run 'make parity'"):
        measure(parity.Inputs.random(1))


def test_random_inception_neither_vanishes_nor_explodes() -> None:
    """Else features would agree whatever the networks do."""
    network = parity.random_inception()
    with torch.inference_mode():
        x = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
        features = network(x)
    assert 1e-2 < float(features.std()) < 1e3
    assert float((features[0] - features[1]).abs().max() / features.abs().max()) > 1e-3


def test_the_lock_holds_what_the_environment_lacks() -> None:
    def names(file: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", Path(file).read_text(), re.MULTILINE))

    locked, environment = names("requirements-parity.lock"), names("requirements.lock")
    assert not locked.keys() & environment.keys()
    wanted = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]["parity"]
    assert {re.match(r"[\w-]+", line)[0] for line in wanted} <= locked.keys()  # type: ignore[index]
    assert set(parity.PACKAGES) <= locked.keys() | environment.keys()
    assert locked["torch-fidelity"] == "0.3.0"  # what Laughing-Matters pins
    assert all(
        "--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", Path("requirements-parity.lock").read_text())
    )


def test_the_blinks_table_of_made_up_traces() -> None:
    """Lids that shut on frames 20 to 23: our EAR follows them; DinoMan's falls a second time."""
    lids = np.ones(60)
    lids[20:24] = 0.2
    program = 0.3 * lids + 0.001 * (np.arange(60) % 2)  # a ripple, since a blink ends on a maximum
    program[40:42] = 0.1
    found = {r.key: r.number for r in blinks.results([blinks.Traces(lids, 0.3 * lids, program)])}
    assert (found["known"], found["known_s"]) == (1, 5 / 25)
    assert (found["found_ours"], found["precision_ours"], found["recall_ours"], found["noise_ours"]) == (1, 1, 1, 0)
    assert (found["found_program"], found["precision_program"], found["recall_program"]) == (2, 0.5, 1)
    assert found["noise_program"] > 0.03
