"""The page as a user has it: in Chromium, with a small network that is not trained; and the command behind it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from browser import PROGRAM, Browser
from PIL import Image
from tiny_talk import DEMO, model

from stages import media, page
from stages.base.errors import HifiDiffError
from stages.corpora.rendered import speaker
from stages.serving import files, site
from stages.serving.line import Line
from stages.serving.maker import Maker
from stages.store import tars
from stages.talking import HifiDiff
from stages.talking.options import Options

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: install the package chromium")
PAUSED_S = 0.3


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a portrait, a picture of nothing, a video with sound, and a model."""
    folder = tmp_path_factory.mktemp("given")
    settings = DEMO.corpus.rendered.model_copy(update={"sentences": 1})
    speaker.take(settings, "ada", folder / "ada.tar")
    (folder / "speech.mp4").write_bytes(tars.read(folder / "ada.tar", "ada_s01.mp4"))
    Image.fromarray(media.decode(folder / "speech.mp4", fps=25)[0]).save(folder / "it's ada.png")
    Image.new("RGB", (160, 120)).save(folder / "none.png")
    model().save_pretrained(folder / "model")
    return folder


class Paused:
    """Makes videos in earnest, once :attr:`go` is set."""

    def __init__(self, make: Maker) -> None:
        self.make, self.go = make, threading.Event()
        self.go.set()

    def __call__(self, face: Path, sound: Path, options: Options, out: Path, total: Any, more: Any) -> list[str]:
        assert self.go.wait(300)
        return self.make(face, sound, options, out, total, more)


@pytest.fixture(scope="module")
def made(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Paused, Path]]:
    """The page's address, what makes its videos, and the folder of its jobs."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("sent", "jobs"):
        (folder / name).mkdir()
    make = Paused(Maker(given / "model"))
    line = Line(folder / "jobs", make)
    pages = site.app("token", files.Files(folder / "sent", 2**20), line, given / "model", Options(), [])
    with page.listening(0) as door:
        server = uvicorn.Server(page.configuration(pages))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/token/", make, folder / "jobs"
        server.should_exit = True
        line.close(30)
        thread.join(30)


@pytest.fixture(scope="module")
def browser(made: tuple[str, Paused, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser"))
    found.size(1280, 900, dark=False)
    yield found
    found.close()


@pytest.fixture
def opened(made: tuple[str, Paused, Path], browser: Browser) -> Iterator[Browser]:
    """The page, loaded anew; it ends without a fault."""
    browser.open(made[0])
    browser.until("document.getElementById('model').textContent === 'model'")
    yield browser
    assert browser.faults == []


def choose(browser: Browser, face: Path, sound: Path, **asked: str) -> None:
    browser.give("#face-file", face)
    browser.give("#sound-file", sound)
    browser.until("document.querySelectorAll('.sending[hidden]').length === 2")
    browser.run("document.getElementById('consent').checked = true")
    for name, value in asked.items():
        browser.run(f"""{{const field = document.getElementById({name!r}); field.value = {value!r};
                        field.dispatchEvent(new Event('input', {{bubbles: true}}))}}""")


def press(browser: Browser, what: str = "button.main") -> None:
    browser.run(f"document.querySelector('{what}').click()")


def last(browser: Browser, state: str, number: int = 1) -> str:
    """The words of the newest card, once there are so many of this page's own and it is in a state."""
    ours = "[...document.querySelectorAll('article')].filter((card) => / says /.test(card.innerText))"
    browser.until(f"{ours}.length === {number} && {ours}[0].dataset.state === {state!r}")
    return str(browser.run(f"{ours}[0].innerText"))


@needs_chromium
def test_a_video_is_made_and_plays_beside_its_source(
    opened: Browser, made: tuple[str, Paused, Path], given: Path, tmp_path: Path
) -> None:
    choose(opened, given / "it's ada.png", given / "speech.mp4", motion="0.5", blink="0", seconds="0.8")
    press(opened)
    words = last(opened, "done")
    assert "it's ada.png says speech.mp4" in words
    assert re.search(r"20 frames in .+ s; the first after .+ s", words)
    assert "warning: the mouth hardly moves" in words  # of a network that is not trained
    opened.run("document.querySelector('.command').open = true")
    command = (
        f"python -m stages.talk {given / 'model'} 'it'\\''s ada.png' speech.mp4 --motion 0.5 --blink 0 --seconds 0.8"
    )
    assert opened.run("document.querySelector('article code').textContent") == command
    video = "[...document.querySelectorAll('.pair video')].at(-1)"
    opened.until(f"{video}.readyState >= 2")
    assert opened.run(f"[{video}.videoWidth, {video}.videoHeight]") == [480, 360]
    opened.run(f"{video}.muted = true, {video}.play()")
    opened.until(f"{video}.currentTime > 0.4 && !{video}.error")
    source = "document.querySelector('.source img')"
    assert opened.run(f"[{source}.complete, {source}.naturalWidth]") == [True, 480]
    boxes = opened.run(f"[{source}, {video}].map((one) => one.getBoundingClientRect().top)")
    assert abs(boxes[0] - boxes[1]) < 1
    assert opened.run("document.querySelector('.save').download") == "it's ada-speech.mp4"

    options = Options(motion=0.5, blink=0.0, seconds=0.8)
    own = HifiDiff.from_pretrained(given / "model").talk(given / "it's ada.png", given / "speech.mp4", options)
    own.save(tmp_path / "own.mp4")
    (job,) = made[2].iterdir()
    assert (job / "talk.mp4").read_bytes() == (tmp_path / "own.mp4").read_bytes()


@needs_chromium
def test_a_video_keeps_its_own_motion_and_blinks_unless_others_are_asked_for(opened: Browser, given: Path) -> None:
    choose(opened, given / "speech.mp4", given / "speech.mp4", seconds="0.4")
    assert (
        opened.run("[...document.querySelectorAll('.slider output')].map((one) => one.textContent)")
        == ["the video's own"] * 2
    )
    press(opened)
    last(opened, "done")
    opened.until("document.querySelector('.source video').readyState >= 2")
    opened.run("document.getElementById('blink-own').click()")
    opened.run("document.getElementById('label').checked = true")
    press(opened)
    last(opened, "done", 2)
    commands = opened.run("[...document.querySelectorAll('article code')].slice(0, 2).map((code) => code.textContent)")
    said = [command.rpartition("speech.mp4 ")[2] for command in commands]
    assert said == ["--blink 0.28 --seconds 0.4 --label", "--seconds 0.4"]
    opened.give("#face-file", given / "it's ada.png")
    opened.until("document.querySelector('.slider output').textContent === '1 (usual)'")


@needs_chromium
def test_an_error_has_the_commands_words_with_the_files_own_name(opened: Browser, given: Path) -> None:
    choose(opened, given / "none.png", given / "speech.mp4")
    press(opened)
    assert "error: none.png: no face found" in last(opened, "failed")
    opened.give("#sound-file", given / "none.png")
    opened.until("document.querySelectorAll('.sending[hidden]').length === 2")
    opened.give("#face-file", given / "it's ada.png")
    opened.until("document.querySelectorAll('.sending[hidden]').length === 2")
    press(opened)
    assert re.search(r"error: none\.png: .*; name a file with sound", last(opened, "failed", 2))


@needs_chromium
def test_what_is_missing_or_too_large_is_said_at_once(opened: Browser, given: Path, tmp_path: Path) -> None:
    opened.run("document.getElementById('consent').checked = true")
    press(opened)
    assert opened.until("document.getElementById('refused').innerText") == "Choose a face and a sound first."
    (tmp_path / "large.png").write_bytes(bytes(2 * 2**20))
    opened.give("#face-file", tmp_path / "large.png")
    words = opened.until("document.querySelector('#face-zone .error').innerText")
    assert words == "error: large.png: 2 MB, and 1 MB are the most; cut it"
    assert opened.run("document.querySelectorAll('article').length") == opened.run(
        "document.querySelectorAll('article[data-state]').length"
    )


@needs_chromium
def test_two_at_once_are_made_one_after_the_other_and_one_is_cancelled(
    opened: Browser, made: tuple[str, Paused, Path], given: Path
) -> None:
    made[1].go.clear()
    choose(opened, given / "it's ada.png", given / "speech.mp4", seconds="0.4")
    for number in (1, 2, 3):
        press(opened, "button[value=preview]" if number == 1 else "button.main")
        words = last(opened, "reading" if number == 1 else "waiting", number)
    assert "Waits; 2 videos are made before it" in words
    opened.run("document.querySelector('article .cancel').click()")
    assert "Cancelled" in last(opened, "cancelled", 3)
    made[1].go.set()
    opened.until("[...document.querySelectorAll('article')].slice(1, 3).every((card) => card.dataset.state === 'done')")
    commands = opened.run("[...document.querySelectorAll('article code')].slice(1, 3).map((code) => code.textContent)")
    assert [command.partition("speech.mp4 ")[2] for command in commands] == ["--seconds 0.4", "--seconds 0.4 --preview"]
    opened.call("Page.reload")
    opened.until("document.querySelectorAll('article[data-state=done]').length >= 2")
    assert "A video asked for before" in opened.run("document.querySelector('article').innerText")


@needs_chromium
def test_camera_and_microphone_give_a_face_and_a_sound(opened: Browser) -> None:
    opened.run("document.getElementById('camera').click()")
    opened.until("document.getElementById('viewfinder').videoWidth > 0")
    opened.run("document.getElementById('take').click()")
    opened.run("document.getElementById('microphone').click()")
    opened.until("document.getElementById('microphone').getAttribute('aria-pressed') === 'true'")
    time.sleep(1.2)  # of sound
    opened.run("document.getElementById('microphone').click()")
    opened.until("/microphone.webm/.test(document.querySelector('#sound-zone .chosen').innerText)")
    opened.until("document.querySelectorAll('.sending[hidden]').length === 2")
    opened.run("document.getElementById('consent').checked = true")
    press(opened)
    assert "error: camera.png: no face found" in last(opened, "failed")  # the browser's own picture shows none
    assert opened.run("document.getElementById('viewfinder').srcObject") is None


@needs_chromium
def test_a_recorded_sound_is_spoken(opened: Browser, given: Path) -> None:
    opened.run("document.getElementById('microphone').click()")
    opened.until("document.getElementById('microphone').getAttribute('aria-pressed') === 'true'")
    time.sleep(1.2)
    opened.run("document.getElementById('microphone').click()")
    opened.until("/microphone.webm/.test(document.querySelector('#sound-zone .chosen').innerText)")
    opened.give("#face-file", given / "it's ada.png")
    opened.until("document.querySelectorAll('.sending[hidden]').length === 2")
    opened.run("document.getElementById('consent').checked = true")
    press(opened)
    assert "it's ada.png says microphone.webm" in last(opened, "done")


@needs_chromium
def test_all_is_reached_by_the_keyboard(opened: Browser, given: Path) -> None:
    opened.give("#face-file", given / "it's ada.png")
    opened.give("#sound-file", given / "speech.mp4")
    opened.until("document.querySelectorAll('.sending[hidden]').length === 2")
    opened.run("document.getElementById('seconds').value = '0.4'")
    reached: list[str] = []
    for _ in range(40):
        opened.press("Tab", 9)
        reached.append(str(opened.run("document.activeElement.id || document.activeElement.value || ''")))
        if reached[-1] == "motion":
            opened.press("ArrowRight", 39)
        if reached[-1] == "consent":
            opened.press(" ", 32, " ")
        if reached[-1] == "whole":
            break
    order = [
        name
        for name in reached
        if name in ("face-file", "camera", "sound-file", "microphone", "motion", "blink", "consent", "whole")
    ]
    assert order == ["face-file", "camera", "sound-file", "microphone", "motion", "blink", "consent", "whole"]
    opened.press("Enter", 13, "\r")
    last(opened, "done")
    assert opened.run("document.querySelector('article code').textContent").endswith("--motion 1.1 --seconds 0.4")


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_either_scheme(opened: Browser, given: Path, dark: bool) -> None:
    opened.give("#face-file", given / "it's ada.png")
    opened.until("!document.querySelector('#face-zone .preview').hidden")
    opened.size(400, 800, dark=dark)
    assert opened.run("document.documentElement.scrollWidth") <= 400
    small = """[...document.querySelectorAll('button, label.button')].filter((one) => one.offsetParent)
               .filter((one) => one.getBoundingClientRect().height < 40).map((one) => one.innerText)"""
    assert opened.run(small) == []
    colours = opened.run("['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])")
    ink, ground = (np.mean([int(value) for value in re.findall(r"\d+", colour)[:3]]) for colour in colours)
    assert abs(ink - ground) > 150
    assert bool(ink > ground) is dark
    opened.size(1280, 900, dark=False)


def test_the_command_removes_all_at_its_end(given: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.page", given / "model", "--no-open"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        address = running.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/[\w-]{22,}/)\n", address)
        assert found, address

        def ask(method: str, path: str, body: bytes | str) -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=300)
            connection.request(method, found[2] + path, body)
            return json.loads(connection.getresponse().read())

        face, sound = (
            ask("POST", "files", (given / name).read_bytes())["key"] for name in ("it's ada.png", "speech.mp4")
        )
        for _ in range(2):
            ask("POST", "jobs", json.dumps({"face": face, "sound": sound, "asked": {"steps": 1000}}))
        deadline = time.monotonic() + 300
        while ask("GET", "jobs", b"")[0]["state"] != "making":
            assert time.monotonic() < deadline
            time.sleep(PAUSED_S)
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        running.send_signal(signal.SIGTERM)
        rest = running.stdout.read()
        assert running.wait(300) == 0
    assert "ended; all that was sent is removed" in rest
    assert list(tmp_path.iterdir()) == []


def test_it_refuses_in_one_line(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "ENDS", ())
    for folder, more, words in (
        (given / "model", ("--port", "70000"), "--port is 70000"),
        (tmp_path, (), "config.json: can't be read"),
    ):
        monkeypatch.setattr(sys, "argv", ["page", str(folder), "--no-open", *more])
        with pytest.raises(HifiDiffError, match=words):
            page.main()
