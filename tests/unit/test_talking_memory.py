"""A film of an hour takes no more memory than one of a minute: the sound lies in files, and a frame leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MOST = 100e6  # bytes that an hour takes beyond a minute
FRAMES = MOST * 5 / 59  # of five minutes more that are written


def test_an_hour_of_sound_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    script = Path(__file__).with_name("memory_of_talking.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["hour"] < MOST
    assert found["written"] < FRAMES
