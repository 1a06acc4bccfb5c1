"""Faces that talk: what is paired, what is measured on them, and their rows in the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import fake_run
import numpy as np
import pandas as pd
import pytest

from stages import portraits
from stages.measures import pauses
from stages.reporting import claims, stills
from stages.reporting.results import Results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    yield from fake_run.finished(tmp_path_factory, fake_run.settings())


def index(**speakers: str) -> pd.DataFrame:
    rows = [{"clip": f"{s}_{n}", "speaker": s, "split": split} for s, split in speakers.items() for n in range(4)]
    return pd.DataFrame(rows)


def test_a_still_never_says_its_own_speakers_sound() -> None:
    given = index(ada="test_seen", bela="test_seen", kira="test_unseen")
    found = portraits.pairs(given, stills=3, sounds=2, videos=2)
    assert [(p.face["split"], p.input, p.number) for p in found] == [
        (split, given, n)
        for split in ("test_seen", "test_unseen")
        for given, count in (("still", 6), ("video", 2))
        for n in range(count)
    ]
    assert all(p.face["speaker"] != p.sound["speaker"] for p in found)
    assert {p.face["speaker"] for p in found} == {"ada", "bela", "kira"}
    assert len({(p.face["clip"], p.sound["clip"], p.input) for p in found}) == 16
    assert {p.input for p in portraits.pairs(given, 3, 2, 0)} == {"still"}


def test_one_speaker_alone_says_other_clips_sounds() -> None:
    alone = index(ada="test_seen")
    found = portraits.pairs(alone, 2, 2, 2)
    assert len(found) == 6
    assert all(p.sound["clip"] != p.face["clip"] for p in found)
    one = portraits.pairs(alone.iloc[:1], 2, 2, 2)
    assert {(p.face["clip"], p.sound["clip"]) for p in one} == {(alone["clip"].iloc[0],) * 2}
    assert portraits.pairs(alone.iloc[:0], 2, 2, 2) == []


def test_blinks_are_matched_within_two_frames() -> None:
    asked = [(10, 15), (40, 45), (70, 75)]
    assert portraits.matched(asked, [(16, 20), (40, 44), (90, 95)]) == (2, 1)
    assert portraits.matched(asked, []) == (0, 0)
    assert portraits.matched([], [(1, 4)]) == (0, 1)


def test_pauses_are_where_nothing_is_heard_for_a_while() -> None:
    sound = np.zeros(100 * 640, np.float32)
    sound[20 * 640 : 60 * 640] = 0.3
    sound[40 * 640 : 41 * 640] = 0.0  # one faint frame is no pause
    silent = pauses.silent(sound, 100)
    assert silent.nonzero()[0].tolist() == [*range(18), *range(62, 100)]
    opening = np.where(silent, 0.02, 0.02 + 0.1 * np.abs(np.sin(np.arange(100))))
    total, count = pauses.opening(opening, silent)
    assert count == 56
    assert total / count == pytest.approx(0, abs=1e-6)
    speech = opening[~silent]
    total, count = pauses.opening(np.where(silent, 0.07, opening), silent)
    low, high = np.percentile(np.where(silent, 0.07, opening), pauses.RANGE)
    assert low == pytest.approx(speech.min(), abs=0.02)
    assert total / count == pytest.approx((0.07 - low) / (high - low))
    assert np.isnan(pauses.opening(opening, np.zeros(100, bool))).all()


def test_where_the_sound_fits_is_told_between_frames() -> None:
    shifts = np.arange(-15, 16)
    assert stills.late((shifts - 0.25) ** 2) == pytest.approx(0.25)
    assert stills.late(np.stack([(shifts + 3.4) ** 2, (shifts - 15.0) ** 2])) == pytest.approx([-3.4, 15.0], abs=1e-9)


def test_rows_and_claims(run: Results) -> None:
    table = stills.table(run)
    assert [row[:2] for row in table] == [
        [f"{given} of {who} speaker", "2"] for given in ("still", "video") for who in ("an unseen", "a seen")
    ]
    assert all(len(row) == len(stills.headings()) for row in table)
    unseen = dict(zip(stills.headings(), table[0], strict=True))
    assert unseen["mouth r ↑"].startswith("0.80")
    assert dict(zip(stills.headings(), table[2], strict=True))["mouth r ↑"].startswith("0.90")
    assert unseen["blinks as asked ↑"].startswith("1.00")
    assert unseen["open in pauses ↓"].startswith("0.050")
    found = {c.claim: c for c in claims.evaluate(run) if c.rule == "portraits"}
    assert len(found) == len(stills.COLUMNS)
    assert all(c.holds for c in found.values())
    fewer = {"full": run.portraits["full"].assign(blinks_found=3)}
    failed = [c.claim for c in claims.evaluate(replace(run, portraits=fewer)) if c.rule == "portraits" and not c.holds]
    assert failed == ["A still of an unseen speaker blinks as asked: found, of those asked for and others"]


def test_a_run_without_stills_says_nothing_of_them(run: Results) -> None:
    without = replace(run, portraits={})
    assert stills.table(without) == []
    assert not [c for c in claims.evaluate(without) if c.rule == "portraits"]
