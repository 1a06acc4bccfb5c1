"""The code that a stage's output depends on: one small file a stage, ``workflow/code/<stage>.json``.

Neither Snakemake nor DVC sees the modules that a command imports. This file lists them, found by following the imports, each
with a digest of what it means (:mod:`stages.base.meaning`): no comment, docstring or annotation changes it, any change of code
does.
Each rule has its stage's file as its input ``code``, each stage of ``dvc.yaml`` has it as a dependency. Snakemake writes them
when it starts, ``dvc repro`` by its stage ``code``, and anybody by::

    python -m workflow.sources            # those that changed are named
    python -m workflow.sources mask       # the source files that python -m stages.mask depends on
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from stages.base import meaning
from workflow.registry import STAGES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stages",)
RECORDS = Path("workflow/code")
KNOWN = Path(".snakemake/sources.json")  # of each file that was read before, by its bytes: what it means and imports

# Settings are depended on value by value, through `params:`. Messages and progress are in no output. An edit of one of these
# files should not train all networks again; what they import counts unless it stands here too. What the C library does with
# freed memory changes no byte, nor does the way a public file comes here: it is known by its hash, and a test holds the hashes.
WITHOUT_EFFECT = (
    "stages/base/params.py",
    "stages/base/presets.py",
    "stages/base/errors.py",
    "stages/base/progress.py",
    "stages/base/memory.py",
    "stages/base/meaning.py",
    "stages/fetching/public_files.py",
    "stages/fetching/http.py",
    "stages/fetching/git_lfs.py",
)

NAMES = tuple(stage.name for stage in STAGES)
KINDS = "stages/methods/kinds"
ONE_KIND = ("train_baseline", "sample")  # a job needs one kind's module
ALL_KINDS = ("report",)


def code(stage: str) -> str:
    """The file that a stage depends on for its code, relative to the root."""
    return (RECORDS / f"{stage}.json").as_posix()


def code_of_kind(kind: str) -> str:
    """The same of the module of a row's kind."""
    return (RECORDS / f"kind_{kind}.json").as_posix()


def records(root: Path = ROOT) -> list[str]:
    """The files of all stages and kinds."""
    return [*map(code, NAMES), *map(code_of_kind, _kinds(root))]


def modules(stage: str, root: Path = ROOT, seen: Seen | None = None) -> list[str]:
    """Files, relative to ``root``, of ``python -m stages.<stage>`` and of all project modules that it imports, sorted.

    A file that is no Python (a template, a table) counts where a module of its folder is imported. The modules of
    ``stages/methods/kinds``, which are imported by the name of a row's kind, are in the list of :data:`ALL_KINDS` alone; that of
    :data:`ONE_KIND` has what they import, and a job depends on its own kind's module besides (:func:`code_of_kind`).
    ``seen``: what was read at this moment for another stage.
    """
    seen = seen or Seen(root)
    first = f"stages/{stage}/__main__.py" if (root / "stages" / stage).is_dir() else f"stages/{stage}.py"
    kinds = {name for files in _kinds(root).values() for name in files}
    found: set[str] = set()
    waiting = [first, *(kinds if stage in (*ONE_KIND, *ALL_KINDS) else ())]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += seen.leads_to(name)
    found.difference_update(WITHOUT_EFFECT, kinds if stage in ONE_KIND else ())
    folders = {name.rpartition("/")[0] for name in found} - {"stages"}
    return sorted(found.union(*map(seen.beside, folders)))


class Seen:
    """The sources at one moment, each looked at once."""

    def __init__(self, root: Path) -> None:
        self.leads_to = cache(lambda name: [*_known(root / name, root)["imports"], *_packages_above(name, root)])
        self.beside = cache(lambda folder: list(_data_beside(folder, root)))


def write(root: Path = ROOT) -> list[str]:
    """Bring the records up to date; gives those that changed, as paths relative to ``root``."""
    seen = Seen(root)
    wanted = {code(stage): modules(stage, root, seen) for stage in NAMES}
    wanted |= {code_of_kind(kind): files for kind, files in _kinds(root).items()}
    digests = {name: _known(root / name, root)["means"] for names in wanted.values() for name in names}
    changed = []
    for name, files in wanted.items():
        text = json.dumps({file: digests[file] for file in files}, indent=1) + "\n"
        path = root / name
        if _put(path, text):
            changed.append(name)
    for path in (root / RECORDS).glob("*.json"):
        if (name := path.relative_to(root).as_posix()) not in wanted:
            path.unlink()
            changed.append(name)
    _remember(root)
    return changed


def imports(path: Path, root: Path = ROOT) -> tuple[Path, ...]:
    """Files of the project that a module imports, anywhere in it, those for annotations and type checkers alone excepted."""
    return tuple(root / name for name in _known(path, root)["imports"])


def _known(path: Path, root: Path) -> dict[str, Any]:
    """The facts about a file: a digest of its meaning, and the files that it imports."""
    stat = path.stat()
    return _looked_up(path, root, (stat.st_mtime_ns, stat.st_size))


@cache
def _looked_up(path: Path, root: Path, _as_of: tuple[int, int]) -> dict[str, Any]:
    known, raw = _remembered(root), path.read_bytes()
    key = f"{path.relative_to(root).as_posix()} {hashlib.sha256(raw).hexdigest()}"
    if key not in known:
        means = hashlib.sha256(meaning.of_file(path)).hexdigest()[:16]
        names = _imported_names(meaning.stripped(raw.decode("utf-8"))) if path.suffix == ".py" else ()
        found = [file.relative_to(root).as_posix() for name in names if (file := _file_of(name, root))]
        known[key] = {"means": means, "imports": sorted(set(found))}
    return known[key]


@cache
def _remembered(root: Path) -> dict[str, dict[str, Any]]:
    """By a file's path and the digest of its bytes. Of this module and the names of all files, too: imports depend on them."""
    try:
        read = json.loads((root / KNOWN).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return read["files"] if read["of"] == _state(root) else {}


def _remember(root: Path) -> None:
    """Keep what was read for the next start, which would take a second more without."""
    with_it = json.dumps({"of": _state(root), "files": _remembered(root)})
    _put(root / KNOWN, with_it)


def _put(path: Path, text: str) -> bool:
    """Write a file whole, if it is not so already; whether it was not."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return True


@cache
def _state(root: Path) -> str:
    names = sorted(path.relative_to(root).as_posix() for path in (root / "stages").rglob("*.py"))
    own = [Path(module).read_bytes() for module in (__file__, meaning.__file__)]
    return hashlib.sha256(b"\0".join([*own, *(name.encode() for name in names)])).hexdigest()


def _kinds(root: Path) -> dict[str, list[str]]:
    """The files of each kind, relative to ``root``: one module, or all of a folder."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / KINDS).rglob("*.py")):
        name = path.relative_to(root / KINDS)
        if len(name.parts) > 1 or name.stem != "__init__":
            found.setdefault(name.parts[0].removesuffix(".py"), []).append(path.relative_to(root).as_posix())
    return found


def _imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names; for ``from a import b`` both ``a`` and ``a.b``, which may be a module too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "the project imports by full names"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _packages_above(name: str, root: Path) -> Iterator[str]:
    """``__init__.py`` of each package that a module lies in: they run before it."""
    folder = name.rpartition("/")[0]
    while folder:
        if (root / (file := f"{folder}/__init__.py")).is_file():
            yield file
        folder = folder.rpartition("/")[0]


def _data_beside(folder: str, root: Path) -> Iterator[str]:
    for path in (root / folder).rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=NAMES, help="list its source files, and write nothing")
    args = parser.parse_args()
    print("\n".join(modules(args.stage) if args.stage else write()))


if __name__ == "__main__":
    main()
