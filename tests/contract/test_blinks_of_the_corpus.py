"""Both blink detectors, on landmarks that dlib measured, against the blinks that the rendered corpus is known to have."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import call

from stages import blink, mask
from stages.base import params
from stages.corpora.rendered import speaker as rendered
from stages.measures.blinks import Blink, dinoman_blinks, find_blinks
from stages.store import tars

PARAMS = Path("presets/demo.yaml")
SETTINGS = params.load(PARAMS)
HOW = SETTINGS.blink.model_dump()
Matched = list[tuple[Blink, Blink]]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each clip of two speakers: the EAR by dlib, and the eyelids as they were rendered; (T,) each."""
    root = tmp_path_factory.mktemp("blinks")
    found = []
    for speaker in ("ada", "emil"):
        raw, faces, out = root / f"{speaker}.tar", root / f"{speaker}_faces.parquet", root / f"{speaker}.parquet"
        rendered.take(SETTINGS.corpus.rendered.model_copy(update={"sentences": 4}), speaker, raw)
        call(mask.main, "--raw", raw, "--out", faces, "--params", PARAMS)
        call(blink.main, "--faces", faces, "--out", out, "--params", PARAMS)
        table = pq.read_table(io.BytesIO(tars.read(raw, "truth.parquet"))).to_pylist()
        truth = {row["clip"]: row for row in table}
        for row in pq.read_table(out).to_pylist():
            ear, known = np.mean([row["ear_left"], row["ear_right"]], 0), truth[row["clip"]]
            lids = np.mean([known["eyelid_left"], known["eyelid_right"]], 0)
            found.append((ear, np.interp(np.arange(len(ear)) / SETTINGS.mask.fps, known["time_s"], lids)))
    return found


def matched(found: list[Blink], known: list[Blink]) -> Matched:
    """Pairs of a found and a known blink that overlap, give or take a frame; each known one once."""
    left, pairs = list(known), []
    for event in found:
        near = [k for k in left if event[0] <= k[1] + 1 and k[0] <= event[1] + 1]
        if near:
            left.remove(near[0])
            pairs.append((event, near[0]))
    return pairs


@pytest.mark.parametrize("detector", ["robust", "dinoman"])
def test_precision_and_recall(traces: list[tuple[np.ndarray, np.ndarray]], detector: str) -> None:
    """On all 120 clips of the demo (158 blinks): 1.00 and 1.00 by the robust detector, 0.99 and 0.99 by DinoMan's."""
    found = [find_blinks(ear, **HOW) if detector == "robust" else dinoman_blinks(ear) for ear, _ in traces]
    known = [find_blinks(lids, **HOW) for _, lids in traces]
    hits = sum(len(matched(f, k)) for f, k in zip(found, known, strict=True))
    assert sum(map(len, known)) >= 8
    assert hits / sum(map(len, found)) >= 0.95
    assert hits / sum(map(len, known)) >= 0.95


def test_the_robust_detector_s_durations_are_right_within_a_frame(
    traces: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """On all of the demo's clips 96 % of them."""
    pairs = [p for ear, lids in traces for p in matched(find_blinks(ear, **HOW), find_blinks(lids, **HOW))]
    errors = [abs((end - start) - (last - first)) for (start, end), (first, last) in pairs]
    assert np.mean(np.array(errors) <= 1) >= 0.95


def test_dinoman_s_median_duration_is_right_within_a_frame(traces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The score that the tables show is the median, of the lids' whole motion: it begins on the last frame before they leave
    95 % of their opening. On all of the demo's clips both medians are 8 frames, and the mean error is 0.96 frames; of the single
    durations 64 % are within a frame, since this detector goes from one maximum of a noisy trace to another."""
    found, known = [], []
    for ear, lids in traces:
        low = np.flatnonzero(np.diff(np.pad(lids < 0.95 * np.percentile(lids, 90), 1).astype(int)))
        whole = [(start - 1, end) for start, end in low.reshape(-1, 2).tolist()]
        for event, truth in matched(dinoman_blinks(ear), whole):
            found.append(event[1] - event[0])
            known.append(truth[1] - truth[0])
    assert len(found) >= 8
    assert abs(np.median(found) - np.median(known)) <= 1
    assert abs(np.mean(found) - np.mean(known)) <= 1.5
