"""Fetching CREMA-D from a server that speaks Git LFS's batch protocol and misbehaves; the manifest, the tar, the split."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import URLError

import av
import numpy as np
import pytest
import yaml
from bad_server import Handler, Server, in_turn, served
from conftest import write_clip

from stages import index
from stages.base import params
from stages.base.errors import InputError
from stages.base.params import Cremad
from stages.clips.mel import Mel
from stages.corpora import cremad
from stages.corpora import cremad_facts as facts
from stages.corpora.cremad import Object
from stages.fetching import http
from stages.spectrogram import Span, hear, usable_row
from stages.store import tars
from workflow import checks
from workflow.sources import ROOT

Way = Callable[[Handler], None]
HELD_OUT = ["1015", "1020", "1021", "1030", "1033", "1052", "1062", "1081", "1082", "1089"]
PAPER = params.load(ROOT / "presets" / "paper.yaml")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with served() as state:
        yield state


def noise(name: str, size: int = 50_000) -> bytes:
    return np.random.default_rng(list(name.encode())).bytes(size)


def listed(contents: dict[str, bytes]) -> dict[str, Object]:
    return {path: Object(path, hashlib.sha256(c).hexdigest(), len(c)) for path, c in contents.items()}


CLIPS = [f"1001_{sentence}_NEU_XX" for sentence in ("DFA", "IOM", "IWL", "TSI")]
VIDEOS = {f"VideoFlash/{clip}.flv": noise(clip) for clip in CLIPS}
LISTED = listed(VIDEOS)
FIRST = LISTED[f"VideoFlash/{CLIPS[0]}.flv"]


def giving(content: bytes) -> Way:
    return lambda handler: handler.answer(content)


def repository(
    server: Server,
    name: str,
    contents: dict[str, bytes],
    ways: dict[str, Way] | None = None,
    errors: dict[str, dict[str, Any]] | None = None,
    header: dict[str, str] | None = None,
) -> str:
    """Serve a repository; ``ways``: how the content at a path is answered otherwise, ``errors``: what the batch says of it."""
    objects = {hashlib.sha256(content).hexdigest(): (path, content) for path, content in contents.items()}

    def batch(handler: Handler) -> None:
        asked = json.loads(handler.body)
        assert (asked["operation"], asked["transfers"], asked["hash_algo"]) == ("download", ["basic"], "sha256")
        assert handler.headers["Accept"] == handler.headers["Content-Type"] == "application/vnd.git-lfs+json"
        said = []
        for entry in asked["objects"]:
            found = objects.get(entry["oid"])
            if found is None or found[0] in (errors or {}):
                error = (errors or {}).get(found[0] if found else "", {"code": 404, "message": "Not found"})
                said.append({**entry, "error": error})
            else:
                link = {"href": f"{server.url}/{name}/{entry['oid']}?key=secret", "header": header or {}}
                said.append({**entry, "actions": {"download": link}})
        content = json.dumps({"transfer": "basic", "objects": said}).encode()
        handler.answer(content, kind="application/vnd.git-lfs+json")

    server.ways[f"/{name}.git/info/lfs/objects/batch"] = batch
    for oid, (path, content) in objects.items():
        server.ways[f"/{name}/{oid}?key=secret"] = (ways or {}).get(path, giving(content))
    return f"{server.url}/{name}"


def settings(folder: Path, *sources: str, **changes: Any) -> Cremad:
    quick = {"connections": 2, "stall_s": 3.0, "attempts": 3, "pause_s": 0.01}
    return Cremad(**{"folder": str(folder), "sources": list(sources), **quick, **changes})


def bring(given: Cremad, objects: dict[str, Object] = LISTED) -> dict[str, str]:
    return cremad.fetch_all(given, list(objects.values()), list(objects.values()))


def whole(folder: Path, contents: dict[str, bytes] = VIDEOS) -> bool:
    """The objects are right, and nothing but the terms lies beside them."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop(cremad.TERMS_FILE)
    return files == contents


def address(name: str, item: Object = FIRST) -> str:
    return f"/{name}/{item.sha256}?key=secret"


# --- fetching ----------------------------------------------------------------------------------------------------------


def test_all_objects_come_by_one_batch_and_the_terms_are_shown_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path / "new" / "cremad", repository(server, "a", VIDEOS))
    assert bring(given) == {}
    assert whole(Path(given.folder))
    assert Counter(path for path, _ in server.asked) == {
        "/a.git/info/lfs/objects/batch": 1,
        **{address("a", item): 1 for item in LISTED.values()},
    }
    first = capsys.readouterr()
    assert facts.LICENCE in first.out
    assert "doi:10.1109/TAFFC.2014.2336244" in first.out
    (Path(given.folder) / FIRST.file).unlink()
    assert bring(given) == {}
    assert capsys.readouterr().out == ""
    assert facts.CITATION in (Path(given.folder) / cremad.TERMS_FILE).read_text()


def test_what_is_there_asks_nobody_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "VideoFlash").mkdir()
    for path, content in VIDEOS.items():
        (tmp_path / path).write_bytes(content)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert bring(settings(tmp_path, "http://nowhere.invalid/a")) == {}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_damaged_object_and_the_pointer_of_a_clone_are_replaced(server: Server, tmp_path: Path) -> None:
    given = settings(tmp_path, repository(server, "a", VIDEOS))
    bring(given)
    (tmp_path / FIRST.file).write_bytes(b"?" * FIRST.size)
    second = LISTED[f"VideoFlash/{CLIPS[1]}.flv"]
    (tmp_path / second.file).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{second.sha256}\n")
    server.asked.clear()
    bring(given)
    assert whole(tmp_path)
    assert {path for path, _ in server.asked[1:]} == {address("a"), address("a", second)}


CONTENT = VIDEOS[FIRST.file]
stalled = threading.Event()


def stall(handler: Handler) -> None:
    handler.answer(CONTENT, cut=20_000)
    stalled.wait(1.5)


def gone(handler: Handler) -> None:
    handler.send_error(404)


def busy(code: int, **headers: str) -> Way:
    def way(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return way


good = giving(CONTENT)


@pytest.mark.parametrize(
    ("way", "ranges"),
    [
        (in_turn(lambda h: h.answer(CONTENT, cut=20_000), good), [None, "bytes=20000-"]),
        (in_turn(stall, good), [None, "bytes=20000-"]),
        (in_turn(busy(429), busy(429), good), [None] * 3),
        (in_turn(busy(500), good), [None] * 2),
        (in_turn(busy(503, Retry_After="0"), good), [None] * 2),
        (in_turn(lambda h: h.answer(CONTENT, cut=20_000), busy(502), good), [None, "bytes=20000-", "bytes=20000-"]),
    ],
    ids=["cut", "stall", "429", "500", "503", "cut and 502"],
)
def test_trouble_that_passes(server: Server, tmp_path: Path, way: Way, ranges: list[str | None]) -> None:
    given = settings(tmp_path, repository(server, "a", VIDEOS, {FIRST.file: way}), stall_s=0.7)
    assert bring(given) == {}
    assert whole(tmp_path)
    assert [asked for path, asked in server.asked if path == address("a")] == ranges


BAD_WAYS: dict[str, tuple[Way, str]] = {
    "wrong bytes": (lambda h: h.answer(bytes(50_000)), "sha256 is "),
    "shorter": (lambda h: h.answer(CONTENT[:-1]), "its file has 49999 bytes, not 50000"),
    "longer": (lambda h: h.answer(CONTENT + b"more"), "its file has 50004 bytes, not 50000"),
    "404": (lambda h: h.send_error(404), "HTTP 404 Not Found"),
}
PASSING_WAYS: dict[str, tuple[Way, str]] = {
    "403": (lambda h: h.send_error(403), "HTTP 403 Forbidden"),
    "500": (lambda h: h.send_error(500), "HTTP 500; given up after 3 attempts"),
    "429": (busy(429), "HTTP 429; given up after 3 attempts"),
    "asks for too much": (busy(429, Retry_After="3600"), "HTTP 429; asks to come again in 3600 s"),
    "page": (lambda h: h.answer(CONTENT, kind="text/html"), "answers with a web page"),
    "cut": (lambda h: h.answer(CONTENT, cut=0), "cut off; given up after 3 attempts"),
}


@pytest.mark.parametrize("kind", [*BAD_WAYS, *PASSING_WAYS])
def test_the_next_source_gives_what_one_does_not(
    server: Server, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way, problem = (BAD_WAYS | PASSING_WAYS)[kind]
    given = settings(tmp_path, repository(server, "mirror", VIDEOS, {FIRST.file: way}), repository(server, "b", VIDEOS))
    assert bring(given) == {}
    assert whole(tmp_path)
    assert [path for path, _ in server.asked if path.startswith("/b/")] == [address("b")], "the others came before"
    said = capsys.readouterr().err
    assert f"{FIRST.file}: {problem}" in said
    assert "secret" not in said


@pytest.mark.parametrize("kind", BAD_WAYS)
def test_an_object_that_no_source_has_is_named_with_each_reason(server: Server, tmp_path: Path, kind: str) -> None:
    way, problem = BAD_WAYS[kind]
    sources = [repository(server, name, VIDEOS, {FIRST.file: way}) for name in ("a", "b")]
    lost = bring(settings(tmp_path, *sources))
    assert list(lost) == [FIRST.file]
    assert lost[FIRST.file].count(problem) == 2
    assert server.url.removeprefix("http://") in lost[FIRST.file]
    assert whole(tmp_path, {path: content for path, content in VIDEOS.items() if path != FIRST.file})


@pytest.mark.parametrize("kind", PASSING_WAYS)
def test_what_may_come_later_stops_the_stage_and_the_next_run_fetches_that_alone(
    server: Server, tmp_path: Path, kind: str
) -> None:
    way, problem = PASSING_WAYS[kind]
    given = settings(tmp_path, repository(server, "a", VIDEOS, {FIRST.file: way}))
    with pytest.raises(InputError) as caught:
        bring(given)
    message = str(caught.value)
    for part in ("1 of 4 objects are not there yet", FIRST.file, problem, "run the same command again"):
        assert part in message
    assert "\n" not in message
    server.ways[address("a")] = good
    server.asked.clear()
    assert bring(given) == {}
    assert whole(tmp_path)
    assert [path for path, _ in server.asked] == ["/a.git/info/lfs/objects/batch", address("a")]


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        (busy(429), "HTTP 429; given up after 3 attempts"),
        (busy(500), "HTTP 500; given up after 3 attempts"),
        (lambda h: h.send_error(404), "HTTP 404 Not Found"),
        (lambda h: h.answer(b"<html>", kind="text/html"), "answers no batch of Git LFS"),
        (lambda h: h.answer(b'{"objects": [{}]}'), "answers no batch of Git LFS"),
        (lambda h: h.answer(b'{"objects": []}'), "the batch's answer lacks it"),
        (lambda h: h.answer(b'{"transfer": "tus", "objects": []}'), "offers the transfer 'tus' alone"),
        (lambda h: h.answer(b"{}", cut=1), "cut off"),
        (lambda h: h.answer(bytes(5_000_000)), "answers with more than"),
    ],
    ids=["429", "500", "404", "page", "damaged", "lacks", "transfer", "cut", "endless"],
)
def test_a_batch_that_is_no_use_and_another_source(server: Server, tmp_path: Path, way: Way, problem: str) -> None:
    server.ways["/mirror.git/info/lfs/objects/batch"] = way
    given = settings(tmp_path, f"{server.url}/mirror", repository(server, "b", VIDEOS))
    assert bring(given) == {}
    assert whole(tmp_path)
    alone = settings(tmp_path / "alone", f"{server.url}/mirror")
    try:
        assert problem in str(bring(alone))
    except InputError as error:
        assert problem in str(error)  # noqa: PT017 - either way the reason is told


def test_errors_of_single_objects_in_a_batch(server: Server, tmp_path: Path) -> None:
    errors = {FIRST.file: {"code": 410, "message": "removed\nby its owner"}}
    lost = bring(settings(tmp_path, repository(server, "a", VIDEOS, errors=errors)))
    assert list(lost) == [FIRST.file]
    assert lost[FIRST.file].endswith("LFS error 410 removed by its owner")
    errors = {FIRST.file: {"code": 503, "message": "over its quota"}}
    with pytest.raises(InputError, match="LFS error 503 over its quota"):
        bring(settings(tmp_path, repository(server, "a", VIDEOS, errors=errors)))


def test_a_batch_of_more_than_a_hundred(server: Server, tmp_path: Path) -> None:
    contents = {f"VideoFlash/{n}_DFA_NEU_XX.flv": noise(str(n), 40) for n in range(1001, 1002 + 100)}
    given = settings(tmp_path, repository(server, "a", contents), connections=4)
    assert bring(given, listed(contents)) == {}
    assert whole(tmp_path, contents)
    assert [path for path, _ in server.asked].count("/a.git/info/lfs/objects/batch") == 2


def test_addresses_by_a_pattern(server: Server, tmp_path: Path) -> None:
    for path, content in VIDEOS.items():
        server.ways[f"/media/{path}"] = giving(content)
    assert bring(settings(tmp_path, f"{server.url}/media/{{path}}")) == {}
    assert whole(tmp_path)


def test_a_key_is_sent_to_its_own_host_alone(server: Server, tmp_path: Path) -> None:
    keys = []

    def elsewhere(handler: Handler) -> None:
        keys.append(handler.headers["Authorization"])
        handler.send_response(302)
        handler.send_header("Location", server.url.replace("127.0.0.1", "localhost") + "/store")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def store(handler: Handler) -> None:
        keys.append(handler.headers["Authorization"])
        good(handler)

    server.ways["/store"] = store
    header = {"Authorization": "Basic abc"}
    source = repository(server, "a", {FIRST.file: CONTENT}, {FIRST.file: elsewhere}, header=header)
    assert bring(settings(tmp_path, source), {FIRST.file: FIRST}) == {}
    assert keys == ["Basic abc", None]


def test_an_address_or_header_that_cant_be_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    urls = [(tmp_path / "secret").as_uri(), "a/relative", "http:///a", "http://[a/b", f"{server.url}/a"]
    with http.alone(tmp_path / "part") as part:
        for url in urls:
            with pytest.raises(http.Later, match=r"no address of the web|can't be used"):
                http.bring(FIRST, url, part, http.Patience(), headers={"A": "b\nc"})
    assert server.asked == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7), (" 7 ", 7), ("", 0), ("soon", 0), ("²", 0), ("-3", 0), (formatdate(0), 0), (formatdate(2e9), 2e9)],
)
def test_what_a_server_says_of_when_to_come_again(said: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert http._asked(said) == seconds


def test_a_busy_server_is_left_in_peace_by_all_connections(server: Server, tmp_path: Path) -> None:
    asked: list[float] = []

    def note(content: bytes) -> Way:
        def way(handler: Handler) -> None:
            asked.append(time.monotonic())
            if len(asked) == 1:
                busy(429, Retry_After="1")(handler)
            else:
                time.sleep(0.1)
                handler.answer(content)

        return way

    given = settings(tmp_path, repository(server, "a", VIDEOS, {path: note(c) for path, c in VIDEOS.items()}))
    assert bring(given) == {}
    begun = [at - asked[0] for at in asked]
    assert len(begun) == 5
    assert [at for at in begun if 0.4 < at < 0.95] == [], "but what had begun by then, nothing is asked for a second"


def test_connections_are_never_more_than_allowed_also_of_two_jobs(server: Server, tmp_path: Path) -> None:
    open_now, most, lock = 0, 0, threading.Lock()

    def slow(content: bytes) -> Way:
        def way(handler: Handler) -> None:
            nonlocal open_now, most
            with lock:
                open_now += 1
                most = max(most, open_now)
            time.sleep(0.05)
            with lock:
                open_now -= 1
            handler.answer(content)

        return way

    contents = {f"VideoFlash/{n}_{s}_NEU_XX.flv": noise(f"{n}{s}", 50) for n in (1001, 1002) for s in facts.SENTENCES}
    source = repository(server, "a", contents, {path: slow(content) for path, content in contents.items()})
    given, everything = settings(tmp_path, source, connections=3), listed(contents)
    jobs = [
        threading.Thread(target=cremad.fetch_all, args=(given, cremad.videos(everything, speaker), everything.values()))
        for speaker in ("1001", "1002")
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert whole(tmp_path, contents)
    assert most == 3


def test_a_server_that_answered_before_and_cant_be_reached_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, opener, times = settings(tmp_path, repository(server, "a", VIDEOS), connections=1), http._OPENER.open, []

    def flaky(request: Any, **how: Any) -> Any:
        times.append(request.full_url)
        if len(times) in (2, 3):
            raise URLError(ConnectionRefusedError(111, "Connection refused"))
        return opener(request, **how)

    monkeypatch.setattr(http._OPENER, "open", flaky)
    assert bring(given) == {}
    assert whole(tmp_path)
    assert len(times) == 1 + 2 + 4
    times[:] = ["counts from the second on"]
    with pytest.raises(InputError, match=r"no connection .*Connection refused"):
        bring(settings(tmp_path / "other", given.sources[0]))
    assert len(times) == 2


def test_a_source_that_fails_again_and_again_is_asked_no_more(server: Server, tmp_path: Path) -> None:
    contents = {f"VideoFlash/1001_{sentence}_NEU_XX.flv": noise(sentence, 50) for sentence in facts.SENTENCES}
    source = repository(server, "a", contents, dict.fromkeys(contents, busy(500)))
    with pytest.raises(InputError, match="12 of 12 objects are not there yet"):
        bring(settings(tmp_path, source, connections=1), listed(contents))
    assert len(server.asked) == 1 + 3 * cremad.FAILURES


def _bring(given: Cremad) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    bring(given)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_after_an_interruption_only_what_lacks_is_fetched(server: Server, tmp_path: Path, sign: signal.Signals) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def half(handler: Handler) -> None:
        if not halfway.is_set():
            handler.answer(CONTENT, cut=20_000)
            halfway.set()
        go_on.wait(10)  # and no answer

    given = settings(tmp_path, repository(server, "a", VIDEOS, {FIRST.file: half}), stall_s=30)
    process = multiprocessing.get_context("fork").Process(target=_bring, args=(given,))
    process.start()
    assert halfway.wait(10)
    others = [tmp_path / path for path in VIDEOS if path != FIRST.file]
    end = time.monotonic() + 10

    def there() -> bool:
        sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
        return all(path.exists() for path in others) and 20_000 in sizes

    while not there() and time.monotonic() < end:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, sign)
    go_on.set()  # a thread that waits for the server sees that it is to stop when the server answers, or stalls for too long
    process.join(10)
    assert process.exitcode not in (None, 0)
    assert not (tmp_path / FIRST.file).exists()
    server.ways[address("a")] = good
    server.asked.clear()
    server.sent = 0
    bring(given)
    assert whole(tmp_path)
    assert server.asked[1:] == [(address("a"), "bytes=20000-")]


def test_a_full_or_closed_disk_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "raw" / "1001.tar"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 399_999, 399_999))
        with pytest.raises(
            InputError, match=r"need 0\.00 GB more, and 0\.00 GB are free; free some, or let cremad\.folder"
        ):
            cremad.check_space(tmp_path / "cremad", {"1001": list(LISTED.values())}, out)
        (tmp_path / "raw").mkdir()
        out.touch()
        cremad.check_space(tmp_path / "cremad", {"1001": list(LISTED.values())}, out)  # the tar is there already
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: can't be written"):
        bring(settings(tmp_path / "file", repository(server, "a", VIDEOS)))


def test_space_counts_what_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "VideoFlash").mkdir()
    (tmp_path / FIRST.file).write_bytes(CONTENT)
    second = LISTED[f"VideoFlash/{CLIPS[1]}.flv"]
    (tmp_path / f"{second.file}.part").write_bytes(bytes(20_000))
    needed = 200_000 + (200_000 - 50_000 - 20_000)
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(free, 0, free))
        try:
            cremad.check_space(tmp_path, {"1001": list(LISTED.values())}, tmp_path / "1001.tar")
        except InputError:
            assert not fits
        else:
            assert fits


def test_rate_and_time_left_speak_of_the_whole_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [Object(f"VideoFlash/{clip}.flv", "0" * 64, 2_000_000) for clip in CLIPS]
    (tmp_path / "VideoFlash").mkdir()
    (tmp_path / items[0].file).write_bytes(bytes(2_000_000))
    tally = cremad.Tally(tmp_path, items, "1001")
    tally._progress.interval_s = 0.0
    tally.at(items[1], 1_500_000)
    tally.at(items[1], 0)  # it starts over
    tally.at(items[1], 1_500_000)
    assert len(lines := capsys.readouterr().err.splitlines()) == 1
    assert lines[0].startswith("fetching CREMA-D: 3/8 MB (37%), ")
    assert "/s, ETA " in lines[0]


# --- the manifest ------------------------------------------------------------------------------------------------------


def test_the_manifest_is_upstreams() -> None:
    found = cremad.manifest()
    text = gzip.decompress(cremad.MANIFEST.read_bytes())
    assert hashlib.sha256(text).hexdigest() == MANIFEST_SHA256
    assert Counter(path.split("/")[0] for path in found) == {"VideoFlash": 7442, "AudioWAV": 7442}
    assert {item.clip for item in found.values()} >= cremad.DEFECTS.keys()
    counts = {speaker: len(cremad.videos(found, speaker)) for speaker in facts.SPEAKERS}
    assert sum(counts.values()) == 7442
    assert {counts[speaker] for speaker in HELD_OUT} == {82}
    assert sum(item.size for path, item in found.items() if path.endswith(".flv")) == 2_443_021_141
    assert cremad.MANIFEST.stat().st_size < 1_000_000


MANIFEST_SHA256 = "fb1dfa15a8f2cf149b5713b67a7f9b833c94086c9e269fc303af9e8ae228357a"
LINE = {"path": FIRST.file, "sha256": FIRST.sha256, "size": "50000"}


def written(path: Path, *rows: dict[str, str]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", "sha256", "size"])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../1001_DFA_NEU_XX.flv"},
        {"path": "VideoFlash/../../1001_DFA_NEU_XX.flv"},
        {"path": "/etc/1001_DFA_NEU_XX.flv"},
        {"path": "VideoFlash//1001_DFA_NEU_XX.flv"},
        {"path": "VideoFlash/1001_DFA_NEU_XX.flv/../../../x"},
        {"path": "VideoFlash\\1001_DFA_NEU_XX.flv"},
        {"path": "VideoFlash/1001_DFA_NEU_XX.flv\n"},
        {"path": "VideoFlash/1001_DFA_NEU_XX.wav"},
        {"path": "AudioWAV/1001_DFA_NEU_XX.flv"},
        {"path": "VideoFlash/1001_XYZ_NEU_XX.flv"},
        {"path": "VideoFlash/١٠٠١_DFA_NEU_XX.flv"},
        {"path": ""},
        {"sha256": FIRST.sha256[:-1]},
        {"sha256": FIRST.sha256.upper()},
        {"size": "0"},
        {"size": "-5"},
        {"size": "5e4"},
    ],
    ids=str,
)
def test_a_line_of_the_manifest_that_is_wrong_or_leads_out_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    path = written(tmp_path / "m.csv.gz", LINE | changes)
    with pytest.raises(InputError, match=r"m\.csv\.gz: (line 2, .* is no path|can't be read).*take the project's own"):
        cremad.manifest(path)


def test_a_manifest_that_is_right_twice_or_damaged(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv.gz", LINE)
    assert cremad.manifest(path) == {FIRST.file: FIRST}
    with pytest.raises(InputError, match=r"line 3, .* stands twice"):
        cremad.manifest(written(path, LINE, LINE))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="can't be read"):
        cremad.manifest(path)
    with pytest.raises(InputError, match="can't be read"):
        cremad.manifest(tmp_path / "none.csv.gz")


# --- a shard -----------------------------------------------------------------------------------------------------------


def video(path: Path, *, sound: bool) -> bytes:
    """A short FLV of flv1 and mp3, as CREMA-D's."""
    with av.open(str(path), "w", format="flv") as out:
        stream: Any = out.add_stream("flv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        track: Any = out.add_stream("libmp3lame", rate=44100, layout="mono") if sound else None
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 8, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            wave = np.sin(np.arange(44100) / 20).astype(np.float32)[None]
            part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            part.sample_rate, part.pts = 44100, 0
            out.mux(track.encode(part))
            out.mux(track.encode(None))
    return path.read_bytes()


def wav(path: Path) -> bytes:
    with av.open(str(path), "w", format="wav") as out:
        track: Any = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        wave = (9000 * np.sin(np.arange(16000) / 10)).astype(np.int16)[None]
        part = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        part.sample_rate, part.pts = 16000, 0
        out.mux(track.encode(part))
        out.mux(track.encode(None))
    return path.read_bytes()


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, bytes]:
    """A speaker's clips: one with sound, one without; each has its WAV."""
    speaking, mute, sound = video(tmp_path / "a", sound=True), video(tmp_path / "b", sound=False), wav(tmp_path / "c")
    return {
        "VideoFlash/1076_DFA_ANG_XX.flv": speaking,
        "VideoFlash/1076_MTI_NEU_XX.flv": mute,
        "AudioWAV/1076_DFA_ANG_XX.wav": sound + b"other",
        "AudioWAV/1076_MTI_NEU_XX.wav": sound,
    }


def test_the_sound_is_the_videos_own_and_the_wav_only_where_there_is_none(
    server: Server, tmp_path: Path, corpus: dict[str, bytes]
) -> None:
    out, given = tmp_path / "raw" / "1076.tar", settings(tmp_path / "cremad", repository(server, "a", corpus))
    cremad.take(given, ["1076"], "1076", out, listed=listed(corpus))
    speaking, mute = tars.listing(out)
    assert speaking == {
        "clip": "1076_DFA_ANG_XX", "file": "1076_DFA_ANG_XX.flv", "speaker": "1076", "sentence": "DFA", "emotion": "ANG",
        "level": "XX", "source": "VideoFlash/1076_DFA_ANG_XX.flv", "text": "Don't forget a jacket",
        "sha256": hashlib.sha256(corpus["VideoFlash/1076_DFA_ANG_XX.flv"]).hexdigest(),
    }  # fmt: skip
    assert mute["sound"] == "1076_MTI_NEU_XX.wav"
    assert mute["source"] == (
        "VideoFlash/1076_MTI_NEU_XX.flv; sound from AudioWAV/1076_MTI_NEU_XX.wav; "
        "known defect: very short, no audio in the video"
    )
    assert "left_out" not in mute
    assert tars.read(out, mute["file"]) == corpus["VideoFlash/1076_MTI_NEU_XX.flv"]
    assert address("a", listed(corpus)["AudioWAV/1076_DFA_ANG_XX.wav"]) not in dict(server.asked)
    mel = Mel(PAPER.spectrogram)
    for clip in (speaking, mute):
        sound = hear(out, clip.get("sound", clip["file"]), clip["clip"], 16000)
        row = usable_row(sound, Span(clip["clip"], 0.0, 1.0), mel, PAPER.spectrogram)
        assert len(row["audio"]) == 2 * 16000
    before = out.read_bytes()
    server.asked.clear()
    cremad.take(given, ["1076"], "1076", out, listed=listed(corpus))
    assert out.read_bytes() == before, "the same bytes"
    assert server.asked == [], "no byte was fetched twice"


def test_known_defects_and_clips_that_no_source_has_are_left_out_with_their_reasons(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("1076_DFA_ANG_XX", "1076_IEO_ANG_LO", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX")
    contents = {f"VideoFlash/{name}.flv": noise(name) for name in names}
    given = settings(tmp_path / "c", repository(server, "a", contents, {"VideoFlash/1076_IEO_ANG_LO.flv": gone}))
    out = tmp_path / "1076.tar"
    cremad.take(given, ["1076"], "1076", out, listed=listed(contents))
    reasons = {entry["clip"]: entry.get("left_out") for entry in tars.listing(out)}
    host = server.url.removeprefix("http://")
    assert reasons == {
        "1076_DFA_ANG_XX": None,
        "1076_IEO_ANG_LO": f"not to be fetched ({host}: HTTP 404 Not Found)",
        "1076_MTI_NEU_XX": None,
        "1076_MTI_SAD_XX": "known defect: an error picture, no audio, very short",
    }
    assert tars.read(out, "1076_IEO_ANG_LO.flv") == b""
    assert "clip 1076_MTI_SAD_XX: known defect: an error picture" in capsys.readouterr().out


def test_nothing_is_written_where_a_speaker_has_no_clip_at_all(server: Server, tmp_path: Path) -> None:
    given = settings(tmp_path / "c", repository(server, "a", VIDEOS, dict.fromkeys(VIDEOS, gone)))
    with pytest.raises(InputError, match=r"no source has a clip of 1001 \(.*HTTP 404.*correct cremad\.sources"):
        cremad.take(given, ["1001"], "1001", tmp_path / "1001.tar", listed=LISTED)
    with pytest.raises(InputError, match=r"no clip of the speaker '1002'; correct corpus\.shards"):
        cremad.take(given, ["1002"], "1002", tmp_path / "1002.tar", listed=LISTED)
    assert list(tmp_path.glob("*.tar")) == []


def test_the_index_has_the_downloads_reason_before_any_other(tmp_path: Path) -> None:
    write_clip(tmp_path, "1076_x", 40, side=64, segment=40)
    entry = dict.fromkeys(index.COPIED, "") | {"clip": "1076_x", "speaker": "1076", "file": "x.flv"}
    for more, status in (({}, "100 frames; index.min"), ({"left_out": "known defect: noise"}, "known defect: noise")):
        content = tars.json_bytes([entry | more])
        tars.write(tmp_path / "raw" / "1076.tar", [(tars.CLIPS, content), ("x.flv", b"")])
        (row,) = index.joined(tmp_path, "1076", 100)
        assert row["status"].startswith(status.replace("100 frames", "40 frames"))


# --- the split ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Every clip of CREMA-D, as if all were usable but those that the download leaves out."""
    found = []
    for path, item in cremad.manifest().items():
        if path.startswith("VideoFlash/"):
            entry = cremad.listing(item, None, {})
            found.append({**entry, "status": entry.get("left_out", "ok"), "seconds": 2.5})
    return found


def test_by_default_no_speaker_is_on_both_sides(rows: list[dict[str, Any]]) -> None:
    assert PAPER.index.unseen_speakers == HELD_OUT
    assert set(PAPER.corpus.shards) == set(facts.SPEAKERS)
    splits = index.split(rows, PAPER.index)
    speakers = {
        name: {row["speaker"] for row in rows if splits[row["clip"]] == name} for name in set(splits.values()) - {"out"}
    }
    assert speakers["test_unseen"] == set(HELD_OUT)
    assert speakers["train"] == set(facts.SPEAKERS) - set(HELD_OUT)
    assert speakers["validation"] <= speakers["train"]
    counts = Counter(splits.values())
    assert counts == {"train": 6488, "validation": 132, "test_unseen": 820, "out": 2}


def test_a_random_tenth_by_clip_is_an_option(rows: list[dict[str, Any]]) -> None:
    changed = PAPER.index.model_copy(update={"unseen_speakers": [], "test_fraction": 0.1, "validation_fraction": 0.0})
    splits = index.split(rows, changed)
    counts = Counter(splits.values())
    assert counts == {"train": 6696, "test_seen": 744, "out": 2}
    tested = {row["speaker"] for row in rows if splits[row["clip"]] == "test_seen"}
    assert len(tested) == 91, "by clip, not by speaker"
    assert splits == index.split(rows[::-1], changed)
    assert splits != index.split(rows, changed.model_copy(update={"seed": 8}))
    kept = [{**row, "split": splits[row["clip"]]} for row in rows]
    index.check(kept, changed, Path("data/paper"))
    few = changed.model_copy(update={"max_test_clips": 100})
    assert Counter(index.split(rows, few).values()) == {"train": 6696, "test_seen": 100, "held_out": 644, "out": 2}


# --- the workflow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_one_job_at_a_time_asks_the_servers(profile: str) -> None:
    assert checks.server(PAPER) == 1
    assert checks.server(params.load(ROOT / "presets" / "demo.yaml")) == 0
    assert yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())["resources"] == {"server": 1}
