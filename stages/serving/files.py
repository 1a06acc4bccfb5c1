"""Files that a browser sends: bounded in size, named by chance, and gone with the server.

Neither a file's name nor its declared kind comes here: what it is, is found by decoding it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from stages.base.errors import HifiDiffError

MOST = 512 * 2**20  # bytes of a file
HELD = 4  # times a file's most: bytes of all files


class TooMuch(HifiDiffError):
    """A file is larger than allowed, or there is no room for it beside the others."""


class Files:
    """The files sent and not removed since. The maker of ``folder`` empties it."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self.most = folder, most
        self._size: dict[str, int] = {}

    async def receive(self, chunks: AsyncIterator[bytes], said: int | None) -> str:
        """Write what arrives; gives its key. ``said``: the length that was announced, None where none was.

        Raises:
            TooMuch: it is, or says to be, larger than allowed, or the disk is full; nothing of it is kept.
        """
        self._allow(said or 0)
        key = secrets.token_urlsafe(16)
        path, size = self.folder / key, 0
        try:
            with path.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    self._allow(size)
                    file.write(chunk)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise TooMuch(f"{self.folder}: {error.strerror}; make room there, or set TMPDIR to another disk") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._size[key] = size
        return key

    def _allow(self, size: int) -> None:
        if size > self.most:
            raise TooMuch(f"more than {self.most / 2**20:g} MB; cut it, or start the page with a larger --most")
        if sum(self._size.values()) + size > HELD * self.most:
            raise TooMuch(f"all files have more than {HELD * self.most / 2**20:g} MB; start the page again")

    def path(self, key: str) -> Path | None:
        """The path of a file; None if there is none of this key."""
        return self.folder / key if key in self._size else None

    def remove(self, key: str) -> bool:
        """Removes a file; True if there was one of this key."""
        if self._size.pop(key, None) is None:
            return False
        (self.folder / key).unlink(missing_ok=True)
        return True
