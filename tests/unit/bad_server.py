"""A server on this machine that misbehaves as told: for tests of what fetches files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Server:
    """The answer at each address, and the requests and bytes so far."""

    url: str = ""
    ways: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # address, Range
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer
    state: Server
    body: bytes = b""

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        self.state.asked.append((self.path, self.headers["Range"]))
        self.state.ways[self.path](self)

    def answer(
        self,
        content: bytes = CONTENT,
        *,
        ranges: bool = True,
        said: int | None = None,
        cut: int | None = None,
        kind: str = "application/octet-stream",
        where: int | None = None,
    ) -> None:
        """Send the file, or its rest: ``said`` as the length of the whole, ``cut`` after so many bytes."""
        wanted = self.headers["Range"]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        length = len(content) if said is None else said
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start if where is None else where}-{length - 1}/{length}")
        self.send_header("Content-Length", str(length - start))
        self.send_header("Content-Type", kind)
        self.end_headers()
        body = content[start:][:cut]
        self.state.sent += len(body)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served() -> Iterator[Server]:
    """The server's state, while it runs."""
    state = Server()
    own = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"state": state}))
    own.daemon_threads = True
    state.url = f"http://127.0.0.1:{own.server_address[1]}"
    thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        own.shutdown()
        own.server_close()
        thread.join()


def in_turn(*ways: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """The first way at the first request, and so on; the last for all others."""
    left = list(ways)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def wrong(content: bytes, place: int = 150_000) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
