"""A row's own values of section ``sample`` reach its videos and its process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages import sample
from stages.base import params
from stages.base.errors import InputError


def settings(own: dict[str, object]) -> params.Params:
    given = params.load("presets/smoke.yaml")
    full = given.methods["full"].model_copy(update={"sample": own})
    return given.model_copy(update={"methods": given.methods | {"full": full}})


def test_a_rows_own_rate_factor_and_chroma_are_written(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    sizes = {}
    for crf in (10, 40):
        given, path = settings({"crf": crf, "chroma": "yuv420"}), tmp_path / f"{crf}.mp4"
        sample.write(path, iter([frames]), len(frames), np.zeros(6400, np.int16), given, given.sampling("full"))
        sizes[crf] = path.stat().st_size
    assert sizes[40] < sizes[10] / 2


def test_a_rows_own_threads_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given, taken = settings({"threads": 3}), list[int]()
    monkeypatch.setattr(sample.params, "load", lambda path: given)
    monkeypatch.setattr(sample.torch, "set_num_threads", taken.append)
    monkeypatch.setattr(
        "sys.argv", ["sample", "--data", str(tmp_path), "--method", "full", "--out", str(tmp_path / "full.tar")]
    )
    with pytest.raises(InputError, match=r"index\.parquet"):
        sample.main()
    assert taken == [3]
