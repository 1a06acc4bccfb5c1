"""Tars that nobody meant well: a member that claims more than the file holds."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from stages.base.errors import InputError
from stages.store import tars


def test_a_member_with_holes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """GNU's old format of sparse files: 512 bytes that claim to be 100 GB."""
    info = tarfile.TarInfo("clip.mp4")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"%011o " % (100 * 2**30) if 100 * 2**30 < 8**11 else (b"\x80" + (100 * 2**30).to_bytes(11, "big"))
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "raw.tar"
    path.write_bytes(bytes(block) + bytes(1024))
    with tarfile.open(path) as tar:
        assert tar.getmember("clip.mp4").size == 100 * 2**30
    with pytest.raises(InputError, match=r"member 'clip\.mp4' claims 107374182400 bytes that are not in the file"):
        tars.read(path, "clip.mp4")


def test_many_members_are_read_of_one_open_tar(tmp_path: Path) -> None:
    path = tmp_path / "samples.tar"
    tars.write(path, [("a.mp4", b"a"), ("b.mp4", b"bb")])
    with tars.reader(path) as member:
        assert [member(name) for name in ("b.mp4", "a.mp4", "b.mp4")] == [b"bb", b"a", b"bb"]
        with pytest.raises(InputError, match=r"samples\.tar.* has no member 'c\.mp4'"):
            member("c.mp4")
