"""A line of jobs: one is made at a time, the others wait, each can be cancelled."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.base.errors import HifiDiffError, InputError
from stages.talking.options import Options

WAITING, KEPT = 8, 20  # jobs that may wait, and results that are kept
State = Literal["waiting", "reading", "making", "done", "failed", "cancelled"]
ACTIVE = ("waiting", "reading", "making")


class Full(HifiDiffError):
    """Too many jobs wait."""


class Cancelled(Exception):
    """The job that is being made was cancelled."""


class Make(Protocol):
    """Makes a video: tells how many frames there will be, then each time how many more there are; gives warnings.

    Either call may raise :class:`Cancelled`, which passes through.
    """

    def __call__(
        self,
        face: Path,
        sound: Path,
        options: Options,
        out: Path,
        total: Callable[[int], None],
        more: Callable[[int], None],
    ) -> list[str]: ...


@dataclass
class Job:
    """A video that was asked for. Times are of the monotonic clock, in seconds."""

    key: str
    folder: Path
    options: Options
    command: list[str | None]  # that makes the same; None: the face, then the sound
    state: State = "waiting"
    frames: int = 0
    total: int = 0
    begun: float = 0.0
    first: float | None = None  # when its first frames were there
    first_frames: int = 0
    ended: float | None = None
    about: Literal["face", "sound"] | None = None  # what the error speaks of
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    cancelled: bool = False

    @property
    def face(self) -> Path:
        return self.folder / "face"

    @property
    def sound(self) -> Path:
        return self.folder / "sound"

    @property
    def out(self) -> Path:
        return self.folder / "talk.mp4"


class Line:
    """Jobs in the order in which they came, and a thread that makes them. ``first`` runs there before any job."""

    def __init__(self, folder: Path, make: Make, first: Callable[[], None] = lambda: None) -> None:
        self.folder, self.make, self.first = folder, make, first
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def add(self, face: Path, sound: Path, options: Options, command: list[str | None]) -> str:
        """Put a job at the end of the line; it keeps its own hold on both files. Gives its key.

        Raises:
            Full: too many wait.
        """
        with self._changed:
            if sum(job.state == "waiting" for job in self._jobs.values()) >= WAITING:
                raise Full(f"{WAITING} videos wait already; cancel one, or wait")
            key = secrets.token_urlsafe(16)
            job = Job(key, self.folder / key, options, command)
            job.folder.mkdir()
            os.link(face, job.face)
            os.link(sound, job.sound)
            self._jobs[key] = job
            self._forget()
            self._changed.notify_all()
        return key

    def cancel(self, key: str) -> bool:
        """Stop a job, or take it out of the line; whether there was one that could be."""
        with self._changed:
            job = self._jobs.get(key)
            if job is None or job.state not in ACTIVE:
                return False
            job.cancelled = True
            if job.state == "waiting":
                self._end(job, "cancelled")
            return True

    def result(self, key: str) -> Path | None:
        """The video of a job that is done."""
        with self._changed:
            job = self._jobs.get(key)
            return job.out if job is not None and job.state == "done" else None

    def shown(self) -> list[dict[str, Any]]:
        """All jobs, in order, as the page shows them."""
        with self._changed:
            ahead, found = 0, []
            for job in self._jobs.values():
                found.append(_shown(job, ahead))
                ahead += job.state in ACTIVE
            return found

    def close(self, wait_s: float) -> bool:
        """Cancel everything, and wait for the thread to end; whether it has."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify_all()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _forget(self) -> None:
        """Remove the oldest results beyond those that are kept."""
        ended = [job for job in self._jobs.values() if job.state not in ACTIVE]
        for job in ended[: max(len(ended) - KEPT, 0)]:
            shutil.rmtree(job.folder, ignore_errors=True)
            del self._jobs[job.key]

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _work(self) -> None:
        self.first()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next())
                job = self._next()
                if self._closed or job is None:
                    return
                job.state, job.begun = "reading", time.monotonic()
            self._make(job)

    def _make(self, job: Job) -> None:
        def told(total: int, frames: int) -> None:
            with self._changed:
                if job.cancelled:
                    raise Cancelled
                job.state, job.total, job.frames = "making", job.total or total, job.frames + frames
                if frames and job.first is None:
                    job.first, job.first_frames = time.monotonic(), frames

        state: State = "done"
        try:
            warnings = self.make(
                job.face, job.sound, job.options, job.out, lambda total: told(total, 0), lambda frames: told(0, frames)
            )
            job.warnings = [_without(job, warning) for warning in warnings]
        except Cancelled:
            state = "cancelled"
        except HifiDiffError as error:
            state = "failed"
            job.about, job.error = _words(job, error)
        except Exception as error:
            state = "failed"
            traceback.print_exc()
            job.error = _without(job, f"{type(error).__name__}: {error}; the page's terminal says more")
        with self._changed:
            self._end(job, "cancelled" if job.cancelled else state)

    def _end(self, job: Job, state: State) -> None:
        job.state, job.ended = state, time.monotonic()
        for path in (job.face, job.sound, *(() if state == "done" else (job.out,))):
            path.unlink(missing_ok=True)


def _words(job: Job, error: HifiDiffError) -> tuple[Literal["face", "sound"] | None, str]:
    """The subject of an error, and its words without the file's name, which the browser alone knows."""
    if isinstance(error, InputError):
        for name in ("face", "sound"):
            if error.path == str(job.folder / name):
                return name, f"{error.problem}; {error.fix}"  # type: ignore[return-value]
    return None, _without(job, str(error))


def _without(job: Job, text: str) -> str:
    return text.replace(f"{job.folder}/", "")


def _shown(job: Job, ahead: int) -> dict[str, Any]:
    rate = left = None
    now = job.ended or time.monotonic()
    if job.first is not None and job.frames > job.first_frames and now > job.first:
        rate = (job.frames - job.first_frames) / (now - job.first)
        left = (job.total - job.frames) / rate
    return {
        "key": job.key,
        "state": job.state,
        "stopping": job.cancelled and job.state in ACTIVE,
        "ahead": ahead,
        "frames": job.frames,
        "total": job.total,
        "first_s": None if job.first is None else job.first - job.begun,
        "took_s": None if job.ended is None or not job.begun else job.ended - job.begun,
        "rate": rate,
        "left_s": left,
        "about": job.about,
        "error": job.error,
        "warnings": job.warnings,
        "command": job.command,
    }
