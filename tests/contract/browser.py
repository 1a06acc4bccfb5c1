"""Chromium without a window, driven over a pipe by the DevTools protocol; no library is needed for it."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Browser:
    """One page of a Chromium of its own. ``folder``: where its profile lies."""

    def __init__(self, folder: Path, limit_s: float = 300.0) -> None:
        assert PROGRAM is not None
        self.limit_s, self.faults, self._number, self._rest = limit_s, [], 0, b""
        theirs, self._to = os.pipe()
        self._from, back = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs, 103),  # beyond 3 and 4, which either pipe may have by itself
            (os.POSIX_SPAWN_DUP2, back, 104),
            (os.POSIX_SPAWN_DUP2, 103, 3),
            (os.POSIX_SPAWN_DUP2, 104, 4),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.fspath(folder / "chromium.log"), os.O_WRONLY | os.O_CREAT, 0o600),
        ]
        command = [PROGRAM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._process = os.posix_spawn(PROGRAM, command, os.environ, file_actions=actions, setpgroup=0)
        os.close(theirs)
        os.close(back)
        self._session: str | None = None
        (page,) = (t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        os.close(self._to)  # it ends with its pipe
        deadline = time.monotonic() + 10
        while os.waitpid(self._process, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(self._process, signal.SIGKILL)
            time.sleep(0.05)
        os.close(self._from)

    def call(self, method: str, **given: Any) -> Any:
        """The result of a method; what happens meanwhile is noted where it is a fault of the page."""
        self._number += 1
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(
            self._to, json.dumps({"id": self._number, "method": method, "params": given, **session}).encode() + b"\0"
        )
        deadline = time.monotonic() + self.limit_s
        while True:
            message = self._message(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._from, 2**20) if ready else b""
            assert part, "Chromium has ended, or does not answer"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.faults.append(str(message["params"]["entry"]))

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; it counts as the user's own doing."""
        how = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self.call("Runtime.evaluate", expression=script, **how)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """The expression's value once it is true."""
        deadline = time.monotonic() + self.limit_s
        while not (found := self.run(script)):
            assert time.monotonic() < deadline, (script, self.run("document.body.innerText"), self.faults)
            time.sleep(0.1)
        return found

    def give(self, selector: str, path: Path) -> None:
        """Choose a file in a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key of the keyboard, down and up."""
        how = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **how, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **how)

    def size(self, width: int, height: int, *, dark: bool) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def shot(self, path: Path) -> None:
        """A picture of the whole page."""
        made = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(made["data"]))
