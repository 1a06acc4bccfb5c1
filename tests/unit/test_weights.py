"""Fetching public files from a server that cuts connections, lies, stalls and serves a wrong byte."""

from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bad_server import CONTENT, Handler, Server, in_turn, served, wrong

from stages.base.errors import InputError
from stages.fetching import public_files
from stages.fetching.public_files import Patience, PublicFile
from workflow.sources import ROOT

QUICK = Patience(stall_s=0.5, attempts=3, pause_s=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with served() as state:
        yield state


def public(server: Server, *paths: str) -> PublicFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return PublicFile("x", "x.bin", tuple(server.url + path for path in paths), len(CONTENT), digest, "free", "tests")


def whole(folder: Path) -> bool:
    """The file is right, and nothing is left beside it."""
    return [path.name for path in folder.iterdir()] == ["x.bin"] and (folder / "x.bin").read_bytes() == CONTENT


def test_a_plain_answer(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.ways["/a"] = Handler.answer
    folder = tmp_path / "new" / "folder"
    assert public_files.ensure(public(server, "/a"), folder) == folder / "x.bin"
    assert whole(folder)
    assert server.asked == [("/a", None)]


def test_a_file_that_is_there_asks_nobody_and_writes_nothing(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.bin").write_bytes(CONTENT)
    folder.chmod(0o555)
    assert public_files.ensure(public(server, "/a"), folder) == folder / "x.bin"
    assert whole(folder)
    assert server.asked == []
    folder.chmod(0o755)


def test_torchs_cache_is_looked_in_too(server: Server, tmp_path: Path) -> None:
    assert public_files.torch_cache() == Path(torch.hub.get_dir()) / "checkpoints"
    public_files.torch_cache().mkdir(parents=True)
    (public_files.torch_cache() / "x.bin").write_bytes(CONTENT)
    folder = tmp_path / "folder"
    assert public_files.ensure(public(server), folder) == public_files.torch_cache() / "x.bin"
    assert not folder.exists()
    assert public_files.find(public(server), folder) == public_files.torch_cache() / "x.bin"
    assert "in the cache of torch, sha256 agrees" in public_files.table(folder, [public(server)])


def test_cuts_are_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = lambda handler: handler.answer(cut=70_000)
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK).parent)
    assert server.asked == [
        ("/a", r) for r in (None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-")
    ]
    assert server.sent == len(CONTENT), "no byte was sent twice"


def test_a_part_of_an_earlier_run_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = Handler.answer
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.bin.part").write_bytes(CONTENT[:200_000])
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f").parent)
    assert server.asked == [("/a", "bytes=200000-")]
    assert server.sent == 100_000


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more"], ids=["whole", "too long"])
def test_a_finished_or_too_long_part(server: Server, tmp_path: Path, part: bytes) -> None:
    server.ways["/a"] = Handler.answer
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.bin.part").write_bytes(part)
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f").parent)
    assert len(server.asked) == (part != CONTENT)


def test_a_damaged_part_is_fetched_anew_from_the_same_address(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = Handler.answer
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.bin.part").write_bytes(b"?" * 1000)
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f").parent)
    assert server.asked == [("/a", "bytes=1000-"), ("/a", None)]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = in_turn(lambda h: h.answer(cut=70_000), lambda h: h.answer(ranges=False))
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK).parent)
    assert server.asked == [("/a", None), ("/a", "bytes=70000-")]


def test_a_server_that_says_416_is_asked_for_the_whole(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = in_turn(lambda h: h.answer(cut=70_000), lambda h: h.send_error(416), Handler.answer)
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK).parent)
    assert server.asked == [("/a", None), ("/a", "bytes=70000-"), ("/a", None)]


def neither_rest_nor_whole(handler: Handler) -> None:
    """Cuts the whole, and says of the rest that there is none."""
    if handler.headers["Range"]:
        handler.send_error(416)
    else:
        handler.answer(cut=70_000)


def test_a_wrong_byte_is_refused_and_the_mirror_asked(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ways = {"/a": lambda handler: handler.answer(wrong(CONTENT)), "/b": Handler.answer}
    assert whole(public_files.ensure(public(server, "/a", "/b"), tmp_path / "f").parent)
    assert server.asked == [("/a", None), ("/b", None)]
    assert f"{server.url}/a: sha256 is " in capsys.readouterr().err


def test_a_wrong_byte_everywhere_names_address_place_and_both_hashes(server: Server, tmp_path: Path) -> None:
    server.ways["/a"] = lambda handler: handler.answer(wrong(CONTENT))
    file, folder = public(server, "/a"), tmp_path / "f"
    with pytest.raises(InputError) as caught:
        public_files.ensure(file, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder}/x.bin: ")
    for part in (file.urls[0], file.sha256, hashlib.sha256(wrong(CONTENT)).hexdigest(), "300,000 bytes"):
        assert part in message
    assert "\n" not in message
    assert list(folder.iterdir()) == []


def test_a_wrong_file_in_the_folder_is_replaced_once_the_right_one_is_here(server: Server, tmp_path: Path) -> None:
    server.ways = {"/gone": lambda handler: handler.send_error(404), "/a": Handler.answer}
    (tmp_path / "x.bin").write_bytes(wrong(CONTENT))
    with pytest.raises(InputError, match=r"x\.bin: sha256 is .*; http.*HTTP 404"):
        public_files.ensure(public(server, "/gone"), tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == wrong(CONTENT)
    assert "sha256 is" in public_files.table(tmp_path, [public(server)])
    assert public_files.find(public(server), tmp_path) is None
    public_files.ensure(public(server, "/a"), tmp_path)
    assert whole(tmp_path)
    assert "here, sha256 agrees" in public_files.table(tmp_path, [public(server)])


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        (lambda h: h.answer(said=299_000), "its file has 299000 bytes, not 300000"),
        (lambda h: h.answer(said=301_000), "its file has 301000 bytes, not 300000"),
        (lambda h: h.answer(CONTENT + b"more", said=None), "its file has 300004 bytes, not 300000"),
        (lambda h: h.answer(kind="text/html; charset=utf-8"), "answers with a web page"),
        (lambda h: h.send_error(404), "HTTP 404 Not Found"),
        (lambda h: h.send_error(403), "HTTP 403 Forbidden"),
        (lambda h: h.send_error(503), "HTTP 503; given up after 3 attempts"),
        (lambda h: h.answer(cut=0), r"cut off; given up after 3 attempts"),
        (lambda h: h.answer(cut=70_000, ranges=False), r"cut off; given up after 3 attempts"),
        (neither_rest_nor_whole, "HTTP 416, there is no such rest; given up after 3 attempts"),
        (in_turn(lambda h: h.answer(cut=70_000), lambda h: h.answer(where=5)), "asked for the bytes from 70000 on"),
        (in_turn(lambda h: h.answer(cut=70_000), lambda h: h.answer(said=400_000)), "its file has 400000 bytes"),
    ],
    ids=["shorter", "longer", "more", "page", "404", "403", "503", "cut", "restart", "416", "elsewhere", "206"],
)
def test_an_address_that_is_no_use_and_its_mirror(
    server: Server, tmp_path: Path, way: Callable[[Handler], None], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ways = {"/a": way, "/b": Handler.answer}
    assert whole(public_files.ensure(public(server, "/a", "/b"), tmp_path / "f", patience=QUICK).parent)
    assert problem in capsys.readouterr().err


def test_a_server_that_gives_more_than_it_says_and_no_length(server: Server, tmp_path: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT + b"more")

    server.ways["/a"] = endless
    with pytest.raises(InputError, match="more than 300000 bytes"):
        public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK)
    server.ways["/a"] = lambda handler: handler.answer(CONTENT + b"more", said=len(CONTENT))
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f").parent)  # what was asked is all that is read


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    trouble: Callable[[Handler], None] = lambda handler: handler.send_error(code)  # noqa: E731
    server.ways["/a"] = in_turn(trouble, trouble, Handler.answer)
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK).parent)
    assert len(server.asked) == 3


def test_a_stall_is_given_up_and_gone_on_from(server: Server, tmp_path: Path) -> None:
    released = threading.Event()

    def stall(handler: Handler) -> None:
        handler.answer(cut=70_000)
        released.wait(10)

    server.ways["/a"] = in_turn(stall, Handler.answer)
    begun = time.monotonic()
    assert whole(public_files.ensure(public(server, "/a"), tmp_path / "f", patience=QUICK).parent)
    assert time.monotonic() - begun < 5
    assert server.asked == [("/a", None), ("/a", "bytes=70000-")]
    released.set()


def test_a_trickle_is_a_stall(server: Server, tmp_path: Path) -> None:
    def trickle(handler: Handler) -> None:
        handler.answer(cut=0)
        try:
            for _ in range(100):
                handler.wfile.write(b"?")
                time.sleep(0.05)
        except OSError:
            pass

    server.ways = {"/a": trickle, "/b": Handler.answer}
    assert whole(
        public_files.ensure(public(server, "/a", "/b"), tmp_path / "f", patience=replace(QUICK, attempts=1)).parent
    )


def test_no_network_is_one_line_at_once(tmp_path: Path, server: Server) -> None:
    closed = replace(public(server), urls=("http://127.0.0.1:9/x.bin", "http://nowhere.invalid/x.bin"))
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"no connection .*; http://nowhere\.invalid/x\.bin: no connection") as caught:
        public_files.ensure(closed, tmp_path / "f")
    assert time.monotonic() - begun < 10
    message = str(caught.value)
    for part in (f"{tmp_path}/f/x.bin: ", closed.sha256, "put it there yourself", "weights.folder"):
        assert part in message
    assert list((tmp_path / "f").iterdir()) == []


def _ensure(file: PublicFile, folder: Path) -> None:
    assert public_files.ensure(file, folder, patience=QUICK).read_bytes() == CONTENT


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        handler.answer()

    server.ways["/a"] = slow
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_ensure, args=(public(server, "/a"), tmp_path / "f")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert server.asked == [("/a", None)]
    assert whole(tmp_path / "f")


def test_a_folder_that_cant_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a file")
    with pytest.raises(InputError, match=r"f: can't be written"):
        public_files.ensure(public(server, "/a"), tmp_path / "f")


# As published; the networks' outputs follow from them. An edit of the registry alone trains nothing again.
PUBLISHED = {
    "inception": (95_628_359, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"),
    "i3d": (51_235_320, "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"),
    "syncnet": (54_573_114, "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442"),
    "wav2lip_expert": (197_357_631, "9b9936c721696446eeed353032cab242a8cf0eed8c46cde540366f6ae5493be5"),
    "vgg16": (553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    "vgg19": (574_673_361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
}


def test_the_registry() -> None:
    assert {name: (file.size, file.sha256) for name, file in public_files.FILES.items()} == PUBLISHED
    assert len({file.file for file in public_files.FILES.values()}) == len(PUBLISHED)
    assert all(url.startswith("https://") for file in public_files.FILES.values() for url in file.urls)


def test_the_command(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "stages.weights", *arguments, "--folder", str(tmp_path)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    listed = command()
    assert listed.returncode == 0
    assert listed.stdout.splitlines()[0] == f"in {tmp_path}:"
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == list(public_files.FILES)
    refused = command("incepton")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: NAME is 'incepton'; allowed: all, inception, i3d, ")
