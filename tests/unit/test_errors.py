"""The frame of every command: one line and exit 2 for what the user can act on, a full disk among it; no control characters."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base import errors
from stages.base.errors import HifiDiffError, InputError
from stages.base.progress import Progress


def ended(main: object) -> int:
    with pytest.raises(SystemExit) as found:
        errors.run(main)  # type: ignore[arg-type]
    return int(found.value.code or 0)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "error: data/x.parquet: No space left on device; make room, and run the same command again"),
        (errno.EROFS, "Read-only file system; take a folder that may be written to, and run the same command again"),
        (errno.EACCES, "Permission denied; take a folder that may be written to"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_line(number: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise OSError(number, os.strerror(number), "data/x.parquet")

    assert ended(main) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_other_faults_keep_their_traceback() -> None:
    def main() -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with pytest.raises(OSError, match="Bad file descriptor"):
        errors.run(main)


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[31mred\x07\u202e\r.mp4"

    def main() -> None:
        raise InputError(name, "no video", "give another")

    assert ended(main) == 2
    Progress("mask", 1, "clips").update(note=name)
    printed = capsys.readouterr().err
    assert printed.count("\ufffd[31mred\ufffd\ufffd\ufffd.mp4") == 2
    assert not set("\x1b\x07\u202e\r") & set(printed)
    assert errors.shown("Zoë’s 😀 clips\n\t李雷") == "Zoë’s 😀 clips\n\t李雷"


def test_a_full_disk_leaves_nothing_behind_and_the_command_goes_on_after(tmp_path: Path) -> None:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    code = (
        "import numpy as np, sys; from stages.base.errors import run; from stages.store import tables, schemas\n"
        "audio = np.random.default_rng(1).bytes(int(sys.argv[2]))\n"
        "row = {'clip': 'a', 'status': 'ok', 'mel': [], 'audio': audio}\n"
        "run(lambda: tables.write(sys.argv[1], schemas.SPECTROGRAM, [row]))"
    )
    try:
        command = [sys.executable, "-c", code, str(disk / "out" / "a.parquet")]
        full = subprocess.run([*command, "3000000"], capture_output=True, text=True)
        assert full.returncode == 2, full.stderr
        assert "No space left on device; make room, and run the same command again" in full.stderr
        assert full.stderr.count("\n") == 1
        assert [path for path in disk.rglob("*") if path.is_file()] == []
        assert subprocess.run([*command, "3000"]).returncode == 0
        assert (disk / "out" / "a.parquet").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_line_of_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise HifiDiffError("so it is")

    assert ended(main) == 2
    assert capsys.readouterr().err == "error: so it is\n"
    assert ended(lambda: None) == 0


def test_output_that_nobody_reads_ends_in_silence() -> None:
    """``python -m stages.x | head``."""
    for lines in (1, 100_000):  # what fits into a buffer, and what does not
        code = f"from stages.base.errors import run; run(lambda: [print('line') for _ in range({lines})])"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdout.close()
            assert program.stderr.read() == b""
        assert program.returncode == errors.EXIT_UNREAD


def test_another_broken_pipe_keeps_its_traceback() -> None:
    def main() -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(BrokenPipeError):
        errors.run(main)
