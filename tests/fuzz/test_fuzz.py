"""Thousands of damaged files: no crash, no hang, no memory filled, and never a result without a verdict.

make fuzz               200 cases, as in the normal test run
make fuzz CASES=5000    more; CASES=17:18 is one case, to look into
"""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest

from stages import mask, media, spectrogram
from stages.base.errors import InputError
from stages.store import schemas, tables, tars
from tests.fuzz import cases

ROOT = Path(__file__).parents[2]
CASES = os.environ.get("CASES", "200")
TIME_S = 20.0  # that a case may take
WORKERS = 2


def numbers() -> range:
    """The cases asked for: ``N`` are the first N, ``A:B`` those from A to B."""
    first, _, last = CASES.rpartition(":")
    return range(int(first or 0), int(last))


class Worker:
    """A process that judges cases; one that crashed or hung is replaced."""

    def __init__(self) -> None:
        self.answers: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        threading.Thread(target=self._listen, args=[self.process.stdout], daemon=True).start()
        assert self.answers.get(timeout=120) == "ready\n"

    def _listen(self, lines: Any) -> None:
        for line in lines:
            self.answers.put(line)
        self.answers.put("")

    def judge(self, number: int) -> dict[str, Any]:
        """The worker's answer, or how it failed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        try:
            line = self.answers.get(timeout=TIME_S)
        except queue.Empty:
            return {"case": number, "failure": f"no verdict within {TIME_S:.0f} s", "dead": True}
        if not line:
            return {"case": number, "failure": f"the process died ({self.process.wait()})", "dead": True}
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def judged(given: list[int], found: list[dict[str, Any]]) -> None:
    """Put the answers on these cases to ``found``."""
    worker = Worker()
    for number in given:
        answer = worker.judge(number)
        found.append(answer)
        if answer.get("dead"):
            worker.end()
            worker = Worker()
    worker.end()


def test_every_damaged_file_gets_a_verdict():
    asked, found = numbers(), list[dict[str, Any]]()
    threads = [threading.Thread(target=judged, args=[list(asked[n::WORKERS]), found]) for n in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = [answer for answer in found if "failure" in answer]
    for answer in failures[:20]:
        print(f"case {answer['case']} ({answer.get('kind')}: {answer.get('how')})\n{answer['failure']}")
    assert sorted(answer["case"] for answer in found) == list(asked)
    assert not failures, f"{len(failures)} of {len(asked)} cases, such as {failures[0]['case']}"
    assert all(verdict for answer in found for verdict in answer["verdicts"])
    if len(asked) >= 100:  # the cases are neither all harmless nor all beyond reading
        good = Counter(" frames" in answer["verdicts"][0] for answer in found if answer["kind"] in cases.KINDS)
        assert min(good.values()) > 0.05 * sum(good.values())


def test_a_case_is_the_same_each_time():
    assert all(cases.whole.__wrapped__(kind) == cases.whole(kind) for kind in cases.KINDS)
    assert [cases.case(number)[:2] for number in range(20)] == [cases.case(number)[:2] for number in range(20)]
    assert cases.damaged(cases.TABLE, b"x", cases.np.random.default_rng(1)) == cases.damaged(
        cases.TABLE, b"x", cases.np.random.default_rng(1)
    )


def test_whole_clips_are_of_the_kind_they_say():
    for kind, made in cases.KINDS.items():
        with av.open(io.BytesIO(cases.whole(kind))) as container:
            frame, layouts = next(container.decode(video=0)), [stream.layout for stream in container.streams.audio]
        width = round(64 * (made.aspect or 1))
        shape = (width, 48) if made.matrix else (48, width)
        assert media.decode(cases.whole(kind), fps=25).shape[1:] == (*shape, 3)
        assert frame.interlaced_frame == made.interlaced
        assert [layout.nb_channels for layout in layouts] == [av.AudioLayout(made.layout).nb_channels] * made.tracks


def test_the_stages_write_a_row_with_a_reason_for_each(tmp_path, monkeypatch):
    """A speaker whose clips are all damaged: every clip has its row, and the stages end."""
    made = [case for case in map(cases.case, range(90)) if case[0] in cases.KINDS][:40]
    clips = [{"clip": f"c{n}", "file": f"c{n}.{kind}"} for n, (kind, _, _) in enumerate(made)]
    members = [(clip["file"], content) for clip, (_, _, content) in zip(clips, made, strict=True)]
    tars.write(tmp_path / "raw.tar", [(tars.CLIPS, tars.json_bytes(clips)), *members])
    common = ["--params", str(ROOT / "presets/demo.yaml"), "--raw", str(tmp_path / "raw.tar")]
    faces, sounds = tmp_path / "faces.parquet", tmp_path / "sounds.parquet"
    monkeypatch.setattr(sys, "argv", ["mask", *common, "--out", str(faces)])
    mask.main()
    monkeypatch.setattr(sys, "argv", ["spectrogram", *common, "--faces", str(faces), "--out", str(sounds)])
    spectrogram.main()
    for path, schema in ((faces, schemas.FACES), (sounds, schemas.SPECTROGRAM)):
        rows = tables.read(path, schema, ["clip", "status"]).to_pylist()
        assert [row["clip"] for row in rows] == [clip["clip"] for clip in clips]
        assert all(row["status"] not in ("", "ok") for row in rows)


@pytest.mark.parametrize("name", ["../a.mp4", "/etc/passwd", "a/../../b.mp4", "..", "", "a\\b.mp4", "a\0b.mp4"])
@pytest.mark.parametrize("key", ["clip", "file"])
def test_no_name_in_an_archive_leads_out_of_it(tmp_path, name, key):
    clip = {"clip": "a", "file": "a.mp4"} | {key: name}
    tars.write(tmp_path / "raw.tar", [(tars.CLIPS, tars.json_bytes([clip]))])
    with pytest.raises(InputError, match=rf"raw\.tar: clips\.json has {key} .*; delete it"):
        tars.listing(tmp_path / "raw.tar")
