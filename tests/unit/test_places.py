"""Files below a folder: links are followed and never round in a circle; names are UTF-8 whatever the locale."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

from stages.base import places
from workflow.sources import ROOT


def lay(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def listed(root: Path) -> dict[str, list[str]]:
    found = places.below(root)
    return {
        kind: [path.relative_to(root).as_posix() for path in getattr(found, kind)]
        for kind in ("videos", "others", "again")
    }


def test_linked_folders_are_followed_and_each_is_listed_once(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    lay(root, "bela/two.MOV", "bela/deep/er/three.mts", "notes.txt", ".hidden/x.mp4", "bela/.x.mp4")
    lay(tmp_path / "elsewhere", "one.mp4", "more/four.webm")
    (root / "ada").symlink_to(tmp_path / "elsewhere")  # outside
    (root / "aaa").symlink_to("bela/deep")  # listed below bela, though its name comes later
    (root / "bela" / "up").symlink_to("..")  # round in a circle
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (tmp_path / "elsewhere" / "again").symlink_to("more")
    (root / "single.mp4").symlink_to(tmp_path / "elsewhere" / "one.mp4")
    (root / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(root / "pipe.mp4")
    assert listed(root) == {
        "videos": [
            "ada/more/four.webm", "ada/one.mp4", "bela/deep/er/three.mts", "bela/two.MOV", "broken.mp4", "single.mp4",
        ],
        "others": ["notes.txt", "pipe.mp4"],
        "again": ["aaa", "ada/again", "ada/back", "bela/up"],
    }  # fmt: skip


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    lay(tmp_path / "there", "a.mp4")
    (tmp_path / "here").symlink_to("there")
    assert listed(tmp_path / "here")["videos"] == ["a.mp4"]


def test_no_other_list_of_endings_stands_in_what_reads_folders() -> None:
    readers = [ROOT / "stages" / name for name in ("corpora/folder.py", "scoring/folder.py", "methods/kinds/videos.py")]
    for path in readers:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        endings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & places.VIDEO_SUFFIXES
        assert not endings, path


TEXT_CALLS = {"open", "read_text", "write_text"}


def test_every_text_file_is_read_and_written_as_utf8() -> None:
    """A call that opens a file as text, or a process's output, names its encoding; so does none that has it as bytes."""
    without = []
    for path in chain.from_iterable((ROOT / part).rglob("*.py") for part in ("benchmarks", "stages", "workflow")):
        for call in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(call, ast.Call):
                continue
            names = {keyword.arg for keyword in call.keywords}
            function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            owner = ast.unparse(call.func).rpartition(".")[0]
            modes = {a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
            as_text = function in TEXT_CALLS and not any("b" in mode for mode in modes if len(mode) < 4)
            if owner in ("av", "Image", "tarfile", "_OPENER", "gzip", "webbrowser") or "urlopen" in owner:
                as_text = False
            if (as_text and "encoding" not in names) or "text" in names & {"text", "universal_newlines"}:
                without.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert without == []


PRINTS = """
import sys
from stages.base.errors import run
from stages.base.places import place
run(lambda: print(sys.getfilesystemencoding(), sys.argv[1:], place(sys.argv[1]).read_text(encoding="utf-8")))
"""


def test_a_command_takes_names_for_utf8_where_the_locale_is_another(tmp_path: Path) -> None:
    (tmp_path / "é😀").write_text("ü", encoding="utf-8")
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ascii_alone = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, "é😀"],
        cwd=tmp_path, env=plain | ascii_alone, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "utf-8 ['é😀'] ü\n"), done.stderr


def test_a_path_of_the_settings_is_the_file_of_these_bytes() -> None:
    code = "import os; from stages.base.places import place; print(os.fsencode(place(b'\\xc3\\xa9'.decode())))"
    env = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "b'\\xc3\\xa9'\n"
