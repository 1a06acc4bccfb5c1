"""Exceptions whose message names the file or key, the value and the fix; and the frame every stage's ``main`` runs in."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_USER_ERROR = 2
EXIT_UNREAD = 141  # of a program that SIGPIPE ends, by a shell's count
DISK = {  # by error number: what to do where a file can't be written
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EROFS: "take a folder that may be written to",
    errno.EACCES: "take a folder that may be written to",
}


class HifiDiffError(Exception):
    """A failure that the user can act on. Its message is shown alone, without a traceback."""


class ParameterError(HifiDiffError):
    """A value in ``params.yaml`` is missing, unknown, of the wrong type or out of range."""


class InputError(HifiDiffError):
    """A file that a stage reads is missing, damaged, or made by another version."""

    def __init__(self, path: object, problem: str, fix: str) -> None:
        super().__init__(f"{path}: {problem}; {fix}")
        self.path, self.problem, self.fix = str(path), problem, fix


class ClipError(HifiDiffError):
    """One clip can't be used. Stages catch it, record ``reason`` in the clip's row and go on with the next clip."""

    def __init__(self, clip: str, reason: str) -> None:
        super().__init__(f"clip {clip}: {reason}")
        self.clip, self.reason = clip, reason


class TrainingError(HifiDiffError):
    """Training can't go on: a loss that is not finite, a checkpoint that belongs to other parameters."""


def shown(text: str) -> str:
    """A text for a terminal: other people's names may hold characters that would move its cursor or change its colours."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _unread() -> bool:
    """Whether who read the standard output has gone, as ``head`` does; what is left of it is dropped then."""
    output = select.poll()
    output.register(sys.stdout, 0)  # asks for nothing: an error is told unasked
    if not output.poll(0):
        return False
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    return True


def run(main: Callable[[], None]) -> NoReturn:
    """Run a stage's ``main`` and exit: 0, or 2 with one line on stderr for a :class:`HifiDiffError`, and for a disk that is full
    or may not be written to. Where nobody reads the output any more, it ends in silence, as other programs do.

    Where the locale has another encoding, the interpreter starts once more in its UTF-8 mode: names of files are UTF-8 whatever
    the locale says, and a library asked for ``é`` would make another file of it.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts, too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _unread():
            raise
        sys.exit(EXIT_UNREAD)
    except HifiDiffError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr, flush=True)
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        problem = f"{where}{os.strerror(error.errno)}; {DISK[error.errno]}, and run the same command again"
        print(f"error: {shown(problem)}", file=sys.stderr, flush=True)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr, flush=True)
        sys.exit(130)
    sys.exit(0)
