"""Both blink detectors, on landmarks that dlib measured, against the blinks that the rendered corpus is known to have."""

from __future__ import annotations

import io
from collections.abc import Sequence
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


Traces = list[tuple[np.ndarray, np.ndarray]]
SHUT = 0.37  # of shut eyes, over that of open ones, by dlib: the median over five of the demo's speakers


def measured(root: Path, variety: float, sentences: int, speakers: Sequence[str] = ("ada", "kira")) -> Traces:
    """Of each clip of some speakers: the EAR by dlib, and the eyelids as they were rendered; (T,) each."""
    found = []
    how = SETTINGS.corpus.rendered.model_copy(update={"sentences": sentences, "blink_variety": variety})
    for speaker in speakers:
        raw, faces, out = root / f"{speaker}.tar", root / f"{speaker}_faces.parquet", root / f"{speaker}.parquet"
        rendered.take(how, speaker, raw)
        call(mask.main, "--raw", raw, "--out", faces, "--params", PARAMS)
        call(blink.main, "--faces", faces, "--out", out, "--params", PARAMS)
        table = pq.read_table(io.BytesIO(tars.read(raw, "truth.parquet"))).to_pylist()
        truth = {row["clip"]: row for row in table}
        for row in pq.read_table(out).to_pylist():
            ear, known = np.mean([row["ear_left"], row["ear_right"]], 0), truth[row["clip"]]
            lids = np.mean([known["eyelid_left"], known["eyelid_right"]], 0)
            found.append((ear, np.interp(np.arange(len(ear)) / SETTINGS.mask.fps, known["time_s"], lids)))
    return found


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Single blinks alone."""
    return measured(tmp_path_factory.mktemp("single"), 0.0, 4)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Pairs, slow reopenings and half blinks alone."""
    return measured(tmp_path_factory.mktemp("varied"), 1.0, 6)


def matched(found: list[Blink], known: list[Blink]) -> Matched:
    """Pairs of a found and a known blink that overlap, give or take a frame; each known one once."""
    left, pairs = list(known), []
    for event in found:
        near = [k for k in left if event[0] <= k[1] + 1 and k[0] <= event[1] + 1]
        if near:
            left.remove(near[0])
            pairs.append((event, near[0]))
    return pairs


def agreement(found: list[list[Blink]], known: list[list[Blink]]) -> tuple[float, float]:
    """Precision and recall."""
    hits = sum(len(matched(f, k)) for f, k in zip(found, known, strict=True))
    return hits / sum(map(len, found)), hits / sum(map(len, known))


@pytest.mark.parametrize("detector", ["robust", "dinoman"])
def test_precision_and_recall(traces: Traces, detector: str) -> None:
    """On fifty clips of five of the demo's speakers, with 64 single blinks: 0.97 and 1.00 by ours, 1.00 and 1.00 by DinoMan's."""
    found = [find_blinks(ear, **HOW) if detector == "robust" else dinoman_blinks(ear) for ear, _ in traces]
    known = [find_blinks(lids, **HOW) for _, lids in traces]
    assert sum(map(len, known)) >= 8
    assert min(agreement(found, known)) >= 0.95


def test_lids_that_dlib_sees_open_for_a_frame_make_two_blinks_of_one(tmp_path: Path) -> None:
    """Emil's shut eyes are read as nearly open in single frames: none of his blinks is missed, some are counted twice."""
    traces = measured(tmp_path, 0.0, 4, ("emil",))
    found, known = ([find_blinks(trace[i], **HOW) for trace in traces] for i in (0, 1))
    precision, recall = agreement(found, known)
    assert recall == 1
    assert precision >= 0.6


def test_pairs_slow_reopenings_and_half_blinks_are_found(varied: Traces) -> None:
    """On fifty clips of the demo, three in ten of whose blinks are such: recall 1.00, precision 0.97."""
    found = [find_blinks(ear, **HOW) for ear, _ in varied]
    known = [find_blinks(SHUT + (1 - SHUT) * lids / np.percentile(lids, 90), **HOW) for _, lids in varied]
    assert sum(map(len, known)) >= 15
    assert min(agreement(found, known)) >= 0.9


def test_the_robust_detector_s_durations_are_right_within_a_frame(
    traces: Traces,
) -> None:
    """On the same fifty clips 92 % of them; the errors are emil's and levi's."""
    pairs = [p for ear, lids in traces for p in matched(find_blinks(ear, **HOW), find_blinks(lids, **HOW))]
    errors = [abs((end - start) - (last - first)) for (start, end), (first, last) in pairs]
    assert np.mean(np.array(errors) <= 1) >= 0.95


def test_dinoman_s_median_duration_is_right_within_a_frame(traces: Traces) -> None:
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
