"""The page's server without a browser: who is let in, what is kept of uploads, the line of jobs. Nothing is made in earnest."""

from __future__ import annotations

import http.client
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from stages import page, talk
from stages.base.errors import InputError, ParameterError
from stages.serving import line, site
from stages.serving.asked import Asked
from stages.serving.files import HELD, Files
from stages.serving.line import Line
from stages.talking.options import Options

TOKEN = "the-token"
MOST = 1000
VIDEO = bytes(range(256)) * 40


@dataclass
class Fake:
    """Makes a file of ten frames; waits before it for :attr:`go`, and fails as told."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    fault: Callable[[Path, Path], Exception] | None = None
    seen: list[tuple[bytes, bytes, Options]] = field(default_factory=list)

    def __call__(
        self,
        face: Path,
        sound: Path,
        options: Options,
        out: Path,
        total: Callable[[int], None],
        more: Callable[[int], None],
    ) -> list[str]:
        self.seen.append((face.read_bytes(), sound.read_bytes(), options))
        self.begun.release()
        total(10)
        assert self.go.wait(30)
        if self.fault is not None:
            raise self.fault(face, sound)
        for _ in range(5):
            more(2)
        out.write_bytes(VIDEO)
        return [f"{face}: expect blur"]


@dataclass
class Served:
    port: int
    folder: Path
    make: Fake
    line: Line

    def ask(
        self, method: str, path: str, body: Any = None, token: str = f"/{TOKEN}", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, token + path, body, named)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        found = self.ask(method, path, body)
        assert found[0] == status, found
        return json.loads(found[2])

    def send(self, content: bytes) -> str:
        return self.json("POST", "/files", content, 201)["key"]

    def job(self, **asked: Any) -> str:
        wanted = {"face": self.send(b"a face"), "sound": self.send(b"a sound"), "asked": asked}
        return self.json("POST", "/jobs", json.dumps(wanted), 201)["key"]

    def state(self, key: str) -> dict[str, Any]:
        return next(job for job in self.json("GET", "/jobs") if job["key"] == key)

    def ended(self, key: str) -> dict[str, Any]:
        for _ in range(300):
            if self.state(key)["state"] not in line.ACTIVE:
                return self.state(key)
            time.sleep(0.1)
        raise AssertionError(self.state(key))

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "sent").iterdir())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    make = Fake()
    for name in ("sent", "jobs"):
        (tmp_path / name).mkdir()
    jobs = Line(tmp_path / "jobs", make)
    pages = site.app(
        TOKEN, Files(tmp_path / "sent", MOST), jobs, Path("models/full"), Options(device="cpu"), ["--device", "cpu"]
    )
    with page.listening(0) as door:
        server = uvicorn.Server(page.configuration(pages))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield Served(door.getsockname()[1], tmp_path, make, jobs)
        server.should_exit = True
        make.go.set()
        assert jobs.close(30)
        thread.join(30)


def test_it_listens_on_this_machine_alone() -> None:
    with page.listening(0) as door:
        host, port = door.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(ParameterError, match=f"--port is {port}: .*; leave it out"):
            page.listening(port)
    with pytest.raises(ParameterError, match="--port is 70000"):
        page.listening(70_000)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 400),  # a name that its owner made to lead here
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another program of this machine
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
    ],
)
def test_who_is_let_in(served: Served, headers: dict[str, str], status: int) -> None:
    assert served.ask("GET", "/", **headers)[0] == status
    assert served.ask("GET", "/", token="/another", **headers)[0] == (403 if status == 200 else status)
    if headers.get("Sec_Fetch_Mode") == "navigate":
        assert served.ask("POST", "/files", b"x", **headers)[0] == 403


def test_without_the_token_nothing_is_told(served: Served) -> None:
    for path in ("/", "/page.js", "/about", "/jobs", f"/x/{TOKEN}/jobs", f"/{TOKEN}x/", f"//{TOKEN}/"):
        assert served.ask("GET", path, token="")[0] == 403
    status, _, words = served.ask("GET", "/", token="")
    assert (status, words) == (403, b"open the whole address that the command printed\n")
    assert served.ask("GET", "/favicon.ico", token="")[0] == 204
    assert served.ask("POST", "/files", b"x", token="")[0] == 403
    assert served.files() == []


def test_the_page_comes_with_what_it_may_do(served: Served) -> None:
    for path, kind, first in (
        ("/", "text/html", b"<!doctype"),
        ("/page.css", "text/css", b":root"),
        ("/page.js", "text/javascript", b"//"),
    ):
        status, headers, body = served.ask("GET", path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert body.startswith(first)
        assert {name.lower(): value for name, value in site.HEADERS.items()}.items() <= headers.items()
        assert "server" not in headers
        for other in (b"http://", b"https://", b"<style", b" style=", b" onclick"):
            assert other not in body.replace(b"http://127.0.0.1", b""), (
                "the page is of this machine alone, and its policy is kept"
            )
    assert "default-src 'none'" in site.HEADERS["Content-Security-Policy"]
    told = served.json("GET", "/about")
    assert told == {"model": "full", "most": MOST, "max_side": 1920, "usual": {"motion": 1.0, "blink": 0.28, "seed": 5}}


def test_nothing_else_is_served(served: Served) -> None:
    key = served.send(b"a face")
    for path in (
        "/files", f"/files/{key}", "/files/", "/jobs/", "/site.py", "/page.html", "/../site.py", "/%2e%2e/site.py",
        "/..%2fsite.py", "/jobs/..%2f..%2fsent/video", f"/jobs/{key}/video", "/jobs/x/talk.mp4", "/docs", "/openapi.json",
    ):  # fmt: skip
        assert served.ask("GET", path)[0] in (403, 404, 405), path
    for path in (f"/files/..%2fsent%2f{key}", "/files/%2e%2e", "/files/another", f"/jobs/{key}", "/files/"):
        assert served.ask("DELETE", path)[0] in (403, 404, 405), path
    assert served.files() == [key]


def test_what_is_sent_is_bounded_and_goes_when_told(served: Served) -> None:
    key = served.send(b"x" * MOST)
    assert (served.folder / "sent" / key).read_bytes() == b"x" * MOST
    assert len(key) >= 20
    for body in (b"x" * (MOST + 1), iter([b"x" * 600, b"x" * 600])):  # announced, and not
        status, _, words = served.ask("POST", "/files", body)
        assert status == 413
        assert json.loads(words) == {
            "error": f"more than {MOST / 2**20:g} MB; cut it, or start the page with a larger --most"
        }
    assert served.files() == [key]
    others = [served.send(b"x" * MOST) for _ in range(HELD - 1)]
    status, _, words = served.ask("POST", "/files", b"x")
    assert status == 413
    assert b"start the page again" in words
    for one in (key, *others):
        assert served.ask("DELETE", f"/files/{one}")[0] == 204
    assert served.ask("DELETE", f"/files/{key}")[0] == 404
    assert served.files() == []
    assert served.send(b"x")


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest("POST", f"/{TOKEN}/files")
    connection.putheader("Content-Length", "900")
    connection.endheaders(b"x" * 300)
    for _ in range(100):
        if served.files():
            break
        time.sleep(0.05)
    assert len(served.files()) == 1
    connection.close()
    for _ in range(100):
        if not served.files():
            break
        time.sleep(0.05)
    assert served.files() == []


def test_a_full_disk_is_said(served: Served) -> None:
    (served.folder / "sent").rmdir()
    status, _, words = served.ask("POST", "/files", b"x")
    assert status == 413
    assert "No such file or directory; make room there, or set TMPDIR" in json.loads(words)["error"]
    (served.folder / "sent").mkdir()


def test_a_video_is_made_told_of_and_served_in_parts(served: Served) -> None:
    key = served.job(motion=0.5)
    assert served.make.begun.acquire(timeout=30)
    told = served.state(key)
    assert (told["state"], told["frames"], told["total"], told["ahead"]) == ("making", 0, 10, 0)
    assert served.ask("GET", f"/jobs/{key}/video")[0] == 404
    served.make.go.set()
    told = served.ended(key)
    assert (told["state"], told["frames"], told["error"]) == ("done", 10, "")
    assert told["warnings"] == ["face: expect blur"]
    assert 0 <= told["first_s"] <= told["took_s"]
    assert served.make.seen == [(b"a face", b"a sound", Options(device="cpu", motion=0.5))]
    assert [path.name for path in (served.folder / "jobs" / key).iterdir()] == ["talk.mp4"]
    status, headers, body = served.ask("GET", f"/jobs/{key}/video")
    assert (status, headers["content-type"], headers["accept-ranges"], body) == (200, "video/mp4", "bytes", VIDEO)
    status, headers, body = served.ask("GET", f"/jobs/{key}/video", Range="bytes=100-199")
    assert (status, headers["content-range"], body) == (206, f"bytes 100-199/{len(VIDEO)}", VIDEO[100:200])
    assert served.ask("GET", f"/jobs/{key}/video", Range="bytes=-50")[2] == VIDEO[-50:]
    assert served.ask("GET", f"/jobs/{key}/video", Range=f"bytes={len(VIDEO)}-")[0] == 416


def test_jobs_wait_for_each_other_and_each_can_be_cancelled(served: Served) -> None:
    one, two, three = served.job(), served.job(seed=2), served.job(seed=3)
    assert served.make.begun.acquire(timeout=30)
    assert [(job["key"], job["state"], job["ahead"]) for job in served.json("GET", "/jobs")] == [
        (one, "making", 0), (two, "waiting", 1), (three, "waiting", 2),
    ]  # fmt: skip
    assert served.ask("DELETE", f"/jobs/{two}")[0] == 202
    assert served.state(two)["state"] == "cancelled"
    assert served.state(three)["ahead"] == 1
    assert served.ask("DELETE", f"/jobs/{one}")[0] == 202
    assert served.state(one)["stopping"]
    served.make.go.set()
    assert [served.ended(key)["state"] for key in (one, two, three)] == ["cancelled", "cancelled", "done"]
    assert [options.seed for _, _, options in served.make.seen] == [5, 3]
    assert [list((served.folder / "jobs" / key).iterdir()) for key in (one, two)] == [[], []]
    for key in (one, two, three, "another"):
        assert served.ask("DELETE", f"/jobs/{key}")[0] == 404


def test_a_removed_file_stays_for_its_job(served: Served) -> None:
    face, sound = served.send(b"a face"), served.send(b"a sound")
    body = json.dumps({"face": face, "sound": sound, "asked": {}})
    first, second = (served.json("POST", "/jobs", body, 201)["key"] for _ in range(2))
    for key in (face, sound):
        assert served.ask("DELETE", f"/files/{key}")[0] == 204
    status, _, words = served.ask("POST", "/jobs", body)
    assert (status, json.loads(words)) == (404, {"error": "the file is not here any more; choose it again"})
    served.make.go.set()
    assert served.ended(first)["state"] == served.ended(second)["state"] == "done"
    assert [seen[:2] for seen in served.make.seen] == [(b"a face", b"a sound")] * 2


@pytest.mark.parametrize(
    ("fault", "about", "words"),
    [
        (lambda face, sound: InputError(face, "no face found", "take another"), "face", "no face found; take another"),
        (lambda face, sound: InputError(sound, "is silent", "take another"), "sound", "is silent; take another"),
        (lambda face, sound: ParameterError("--blink: leave it out"), None, "--blink: leave it out"),
        (
            lambda face, sound: ValueError(f"{face} is odd"),
            None,
            "ValueError: face is odd; the page's terminal says more",
        ),
    ],
)
def test_an_error_has_the_commands_words_and_stops_no_other_job(
    served: Served, fault: Callable[[Path, Path], Exception], about: str | None, words: str
) -> None:
    served.make.fault = fault
    served.make.go.set()
    told = served.ended(served.job())
    assert (told["state"], told["about"], told["error"]) == ("failed", about, words)
    assert str(served.folder) not in json.dumps(told)
    assert list((served.folder / "jobs" / told["key"]).iterdir()) == []
    served.make.fault = None
    assert served.ended(served.job())["state"] == "done"


def test_the_line_is_not_endless_and_old_results_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "KEPT", 2)
    face, sound = served.send(b"a face"), served.send(b"a sound")
    body = json.dumps({"face": face, "sound": sound, "asked": {}})
    keys = [served.json("POST", "/jobs", body, 201)["key"]]
    assert served.make.begun.acquire(timeout=30)
    keys += [served.json("POST", "/jobs", body, 201)["key"] for _ in range(line.WAITING)]
    status, _, words = served.ask("POST", "/jobs", body)
    assert status == 429
    assert json.loads(words) == {"error": f"{line.WAITING} videos wait already; cancel one, or wait"}
    served.make.go.set()
    assert served.ended(keys[-1])["state"] == "done"
    last = served.json("POST", "/jobs", body, 201)["key"]
    assert [job["key"] for job in served.json("GET", "/jobs")] == [*keys[-2:], last]
    assert sorted(path.name for path in (served.folder / "jobs").iterdir()) == sorted([*keys[-2:], last])
    assert served.ask("GET", f"/jobs/{keys[0]}/video")[0] == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"motion": -1}, {"motion": "face.mp4"}, {"motion": "1e999"}, {"blink": "x"}, {"blink": 6}, {"label": "x"},
        {"preview": False}, {"which": "../x"}, {"which": "x,y"}, {"seconds": 0},
        {"steps": 0}, {"steps": 1.5}, {"seed": -1}, {"device": "cuda"}, {"out": "/tmp/x"},
    ],
)  # fmt: skip
def test_what_is_asked_is_bounded(served: Served, asked: dict[str, Any]) -> None:
    body = json.dumps({"face": served.send(b"x"), "sound": served.send(b"x"), "asked": asked})
    status, _, words = served.ask("POST", "/jobs", body)
    assert status == 422
    assert next(iter(asked)) in json.loads(words)["error"]
    assert served.json("GET", "/jobs") == []


def test_a_jobs_description_is_small_and_json(served: Served) -> None:
    assert served.ask("POST", "/jobs", b" " * (site.LONGEST + 1))[0] == 413
    for body in (b"", b"{", b"[]", b'{"face": "a"}', b'{"face": 1, "sound": 2, "asked": {}}'):
        assert served.ask("POST", "/jobs", body)[0] == 422


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"motion": 0.0, "blink": 0.0}, {"motion": "own", "blink": "own", "label": "synthetic"}, {"preview": True},
        {"motion": 0.1 + 0.2, "blink": 0.3}, {"which": "left", "steps": 1},
        {"which": "12,345", "start": 1.0, "seconds": 12.3456789}, {"seed": 2**31 - 1},
    ],
)  # fmt: skip
def test_the_command_makes_the_same(asked: dict[str, Any]) -> None:
    wanted = Asked(**asked)
    given = page.parser().parse_args(["models/my model", "--device", "cpu", "--threads", "2"])
    words = wanted.command(given.model, page.flags(given))
    assert words[:6] == ["python", "-m", "stages.talk", "models/my model", None, None]
    files = iter(["a face.png", "b.wav"])
    command = shlex.split(shlex.join(next(files) if word is None else word for word in words))
    args = talk.parser().parse_args(command[3:])
    assert (args.model, args.face, args.sound) == (Path("models/my model"), Path("a face.png"), Path("b.wav"))
    assert talk.options(args) == wanted.options(Options(device="cpu"))
    assert args.threads == 2
    assert page.flags(page.parser().parse_args(["m"])) == []
