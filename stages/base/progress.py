"""Progress as plain lines with rate and ETA: readable on a terminal where several jobs report at once, and in a log."""

from __future__ import annotations

import sys
import time

from stages.base.errors import shown


class Progress:
    """Print at most one line every ``interval_s`` seconds, and one at the end.

    ``label`` names the job (``train full``), ``unit`` what is counted. A job that resumes passes ``done``, the count already
    reached, so that the rate and the ETA speak of this process only.
    """

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0, interval_s: float = 5.0) -> None:
        self.label, self.total, self.unit, self.interval_s = label, total, unit, interval_s
        self.done = self._start_done = done
        self._start = self._last = time.monotonic()

    def update(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units; ``note`` (the loss, the clip) ends the line."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= self.interval_s or self.done >= self.total:
            self._last = now
            self._print(now, note)

    def _print(self, now: float, note: str) -> None:
        rate = (self.done - self._start_done) / max(now - self._start, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        percent = 100 * self.done // max(self.total, 1)
        eta = f"{int(left) // 60}:{int(left) % 60:02d}"
        line = f"{self.label}: {self.done}/{self.total} {self.unit} ({percent}%), {rate:.1f}/s, ETA {eta}"
        print(shown(f"{line}, {note}" if note else line), file=sys.stderr, flush=True)
