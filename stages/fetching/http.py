"""Download files whose size and sha256 are known: a broken download resumes, and only a verified file gets its name.

The file grows in a part beside its place (:func:`alone`), over as many connections as it takes (:func:`bring`). The caller says
how long a bad connection is retried (:class:`Patience`), and may report, throttle or abort it (:class:`Course`).
"""

from __future__ import annotations

import email.utils
import fcntl
import hashlib
import os
import re
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BufferedRandom
from pathlib import Path
from typing import IO, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

AGENT = "hifidiff"
LONGEST_PAUSE_S = 60.0  # of our own; a server that names its own is obeyed up to the next
LONGEST_ASKED_S = 600.0
GONE = (404, 410)  # the answers that will be the same tomorrow


class Known(Protocol):
    """The name, size and hash of a file."""

    @property
    def file(self) -> str:
        """Its name, for messages."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """Hexadecimal, lower case."""


@dataclass(frozen=True)
class Patience:
    """The limits for a bad connection."""

    stall_s: float = 60.0  # without a kilobyte a second for so long, a connection is given up
    attempts: int = 5  # connections to one address that bring less than a hundredth of the file
    pause_s: float = 2.0  # after the first of them; doubled each time, 60 s at most, or what the server asks


class NoUse(Exception):
    """An address doesn't give the file."""


class Later(NoUse):
    """It may give it at another time: no connection, cut off, busy, in trouble, not allowed now."""


class _Cut(Exception):
    """A connection ended too early; another may go on. ``busy``: the server said so, ``asked_s``: and asked for a pause."""

    def __init__(self, problem: str, *, busy: bool = False, asked_s: float = 0.0) -> None:
        super().__init__(problem)
        self.busy, self.asked_s = busy, asked_s


class _Unreachable(_Cut):
    """There was no connection."""


class Course:
    """Hooks of a download: subclass to report or throttle; raise to abort (the partial file is kept)."""

    @property
    def reached(self) -> bool:
        """True if the server has answered before: then one that can't be reached is asked again, else given up at once."""
        return False

    def connect(self) -> None:
        """Called before each connection."""

    def at(self, length: int) -> None:
        """Called with the part's length, whenever it changed."""

    def pause(self, seconds: float, busy: bool) -> None:
        """Wait before the next connection; ``busy``: the server is, and others that ask it should wait as well."""
        time.sleep(seconds)


def mismatch(path: Path, file: Known) -> str | None:
    """The fault of a file; None if size and hash are the published ones."""
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{size:,} bytes, not {file.size:,}"
        with open(path, "rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if found == file.sha256 else f"sha256 is {found}, not {file.sha256}"


@contextmanager
def alone(path: Path, doing: str = "fetching it") -> Iterator[BufferedRandom]:
    """A file to append to, for this process alone; it waits where another has it. An empty one is removed at the end.

    The lock is the kernel's and lies on the file itself: nothing else is left behind, and it ends with its process.
    """
    handle = open(path, "a+b")  # noqa: SIM115
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{path}: another process is {doing}; waiting", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(handle.fileno()), os.stat(path)):
                break
            handle.close()  # the other one was done with it, and has renamed or removed it
            handle = open(path, "a+b")  # noqa: SIM115
        try:
            yield handle
        finally:
            if os.fstat(handle.fileno()).st_size == 0:
                path.unlink(missing_ok=True)
    finally:
        handle.close()


def bring(
    file: Known,
    url: str,
    part: BufferedRandom,
    patience: Patience,
    course: Course | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Bring ``part`` to the whole file from one address, and check it.

    A wrong byte may have come from an earlier address or run: then the whole is fetched once more.

    Raises:
        NoUse: the address doesn't give the file; Later where it may at another time.
    """
    if not re.match(r"https?://[^/]", url):
        raise Later("no address of the web")
    course, headers = course or Course(), headers or {}
    start = _length(part)
    _grow(file, url, part, patience, course, headers)
    if (found := _digest(part)) != file.sha256 and start > 0:
        part.truncate(0)
        _grow(file, url, part, patience, course, headers)
        found = _digest(part)
    if found != file.sha256:
        part.truncate(0)
        raise NoUse(f"sha256 is {found}, not {file.sha256}")


def post(
    url: str, body: bytes, headers: Mapping[str, str], patience: Patience, course: Course | None = None, *, most: int
) -> bytes:
    """The answer to a POST, of at most ``most`` bytes.

    Raises:
        NoUse: there is none; Later where there may be one at another time.
    """
    course, failed = course or Course(), 0
    while True:
        try:
            course.connect()
            with _answer(url, headers, patience, body) as answer:
                found = answer.read(most + 1)
                if answer.length and len(found) <= most:
                    raise _Cut("cut off")
            break
        except _Cut as error:
            failed += 1
            if isinstance(error, _Unreachable) and not course.reached:
                raise Later(str(error)) from None
            pause = _pause(error, failed, patience)
            print(f"{shown(url)}: {error}; again in {pause:g} s", file=sys.stderr, flush=True)
            busy = error.busy
        course.pause(pause, busy)
    if len(found) > most:
        raise NoUse(f"answers with more than {most:,} bytes")
    return found


def shown(url: str) -> str:
    """An address without its query, which may hold a key."""
    return url.partition("?")[0]


def _pause(error: _Cut, failed: int, patience: Patience) -> float:
    """Seconds to wait after so many failed connections; raises Later where they are too many."""
    if failed >= patience.attempts:
        raise Later(f"{error}; given up after {failed} attempts") from None
    if error.asked_s > LONGEST_ASKED_S:
        raise Later(f"{error}; asks to come again in {error.asked_s:.0f} s") from None
    return max(min(patience.pause_s * 2 ** max(failed - 1, 0), LONGEST_PAUSE_S), error.asked_s)


def _grow(
    file: Known, url: str, part: BufferedRandom, patience: Patience, course: Course, headers: Mapping[str, str]
) -> None:
    """Append what lacks of the file's length, by as many connections as it takes."""
    if _length(part) > file.size:
        part.truncate(0)
    course.at(_length(part))
    failed, first = 0, _length(part)
    while (start := _length(part)) < file.size:
        try:
            course.connect()
            _connect(file, url, part, patience, course, headers)
            continue
        except _Cut as error:
            if isinstance(error, _Unreachable) and _length(part) == first and not course.reached:
                raise Later(str(error)) from None  # asking again would only lose time
            if _length(part) < start + file.size / 100:
                failed += 1
            pause, busy = _pause(error, failed, patience), error.busy
            line = f"{shown(url)}: {error} at {_length(part):,} of {file.size:,} bytes; again in {pause:g} s"
            print(line, file=sys.stderr, flush=True)
        course.pause(pause, busy)


def _connect(
    file: Known, url: str, part: BufferedRandom, patience: Patience, course: Course, headers: Mapping[str, str]
) -> None:
    """One connection: ask for the rest and append it."""
    start = _length(part)
    ask = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with _answer(url, ask, patience) as answer:
            _accept(answer, file, part)
            _append(answer, file, part, patience, course)
    except _NoSuchRest:  # the server's file ends before ours does: ours is no part of it
        part.truncate(0)
        raise


class _NoSuchRest(_Cut):
    """HTTP 416."""


@contextmanager
def _answer(
    url: str, headers: Mapping[str, str], patience: Patience, body: bytes | None = None
) -> Iterator[HTTPResponse]:
    """The answer to one request. What goes wrong, also while it is read, is raised as _Cut, NoUse or Later."""
    try:
        request = urllib.request.Request(url, body, {"User-Agent": AGENT, **headers})
        with _OPENER.open(request, timeout=patience.stall_s) as answer:
            yield answer
    except HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                raise _NoSuchRest("HTTP 416, there is no such rest") from None
            if error.code in (408, 425, 429) or error.code >= 500:
                asked = _asked(error.headers.get("Retry-After", ""))
                raise _Cut(f"HTTP {error.code}", busy=error.code in (429, 503), asked_s=asked) from None
            kind = NoUse if error.code in GONE else Later
            raise kind(f"HTTP {error.code} {error.reason}") from None
    except URLError as error:
        raise _Unreachable(f"no connection ({error.reason})") from None
    except TimeoutError:
        raise _Cut(f"nothing came for {patience.stall_s:g} s") from None
    except (HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _Cut(f"cut off ({type(error).__name__})") from None
    except ValueError as error:
        raise Later(f"its address or header can't be used ({error})") from None


def _asked(said: str) -> float:
    """Seconds of a header Retry-After, which gives them or a date; 0 where it says nothing."""
    if said.strip().isdecimal():
        return float(said)
    try:
        return max(email.utils.parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, and keeps what identifies us from another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            for name in [name for name in request.headers if name.lower() in ("authorization", "cookie")]:
                request.remove_header(name)
        return request


_OPENER = urllib.request.build_opener(_Redirects)


def _accept(answer: HTTPResponse, file: Known, part: BufferedRandom) -> None:
    """Compare what the server says of its answer with what was asked; a server that knows no ranges starts over.

    Raises:
        NoUse: it is another file.
    """
    if "text/html" in answer.headers.get("Content-Type", ""):
        raise Later("answers with a web page")
    said = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        place, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if place.partition("-")[0] != str(_length(part)):
            raise NoUse(f"was asked for the bytes from {_length(part)} on and gives {place or 'others'}")
        if total not in ("*", "", str(file.size)):
            raise NoUse(f"its file has {total} bytes, not {file.size}")
        return
    part.truncate(0)
    if said.isdigit() and int(said) != file.size:
        raise NoUse(f"its file has {said} bytes, not {file.size}")


def _append(answer: HTTPResponse, file: Known, part: BufferedRandom, patience: Patience, course: Course) -> None:
    mark, since = time.monotonic(), 0
    while chunk := answer.read1(1 << 20):
        part.write(chunk)
        part.flush()
        done = _length(part)
        if done > file.size:
            part.truncate(0)
            raise NoUse(f"its file has more than {file.size} bytes")
        course.at(done)
        since += len(chunk)
        if time.monotonic() - mark > patience.stall_s:
            if since < 1000 * patience.stall_s and done < file.size:
                raise _Cut(f"{since:,} bytes in {patience.stall_s:g} s")
            mark, since = time.monotonic(), 0
    if _length(part) < file.size:
        raise _Cut("cut off")


def _length(part: BufferedRandom) -> int:
    return os.fstat(part.fileno()).st_size


def _digest(part: BufferedRandom) -> str:
    part.seek(0)
    return hashlib.file_digest(part, "sha256").hexdigest()
