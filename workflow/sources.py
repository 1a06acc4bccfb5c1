"""Source files that a stage's output depends on, found by following the imports.

Neither Snakemake nor DVC sees the modules that a command imports. Each rule therefore lists them as its input ``code``, and
each stage of ``dvc.yaml`` as dependencies; a test holds the two lists equal, and this command brings ``dvc.yaml`` up to date::

    python -m workflow.sources --update
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stages",)

# Settings are depended on value by value, through `params:`. Messages and progress are in no output. A comment in one of these
# files should not train all networks again. What the C library does with freed memory changes no byte, nor does the way a public
# file comes here: it is known by its hash, and a test holds the hashes.
WITHOUT_EFFECT = (
    "stages/params.py",
    "stages/errors.py",
    "stages/progress.py",
    "stages/memory.py",
    "stages/weights.py",
    "stages/fetch.py",
    "stages/lfs.py",
)


KINDS = "stages/baselines"
ONE_KIND = ("train_baseline", "sample")  # a job needs one kind's module
ALL_KINDS = ("report",)


def code(stage: str, root: Path = ROOT) -> list[str]:
    """Files, relative to ``root``, of ``python -m stages.<stage>`` and of all project modules that it imports, sorted.

    A file that is no Python (a template, a table) counts where a module of its folder is imported. The modules of
    ``stages/baselines``, which are imported by the name of a row's kind, are in the list of :data:`ALL_KINDS` alone; that of
    :data:`ONE_KIND` has what they import, and a job depends on its own kind's module besides (:func:`kind`).
    """
    start = root / "stages" / stage
    first = start / "__main__.py" if start.is_dir() else start.with_suffix(".py")
    kinds = {path for path in (root / KINDS).glob("*.py") if path.stem != "__init__"}
    found: set[Path] = set()
    waiting = [first, *_packages_above(first, root)]
    if stage in (*ONE_KIND, *ALL_KINDS):
        waiting += sorted(kinds)
    while waiting:
        path = waiting.pop()
        if path in found or path.relative_to(root).as_posix() in WITHOUT_EFFECT:
            continue
        found.add(path)
        for imported in imports(path, root):
            waiting += [imported, *_packages_above(imported, root)]
    if stage in ONE_KIND:
        found -= kinds
    beside = {other for path in found if path.parent != root / "stages" for other in _data_beside(path.parent)}
    return sorted(path.relative_to(root).as_posix() for path in found | beside)


def kind(name: str) -> str:
    """The module of a row's kind."""
    return f"{KINDS}/{name}.py"


@cache
def imports(path: Path, root: Path = ROOT) -> tuple[Path, ...]:
    """Files of the project that a module imports, anywhere in it, those for type checkers excepted."""
    return tuple(file for name in _imported_names(ast.parse(path.read_text())) if (file := _file_of(name, root)))


def _imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names; for ``from a import b`` both ``a`` and ``a.b``, which may be a module too."""
    for node in _run_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "the project imports by full names"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without the bodies of ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _run_nodes(node)


def _file_of(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _packages_above(path: Path, root: Path) -> Iterator[Path]:
    """``__init__.py`` of each package that a module lies in: they run before it."""
    for folder in path.parents:
        if folder == root:
            return
        if (file := folder / "__init__.py").is_file():
            yield file


def _data_beside(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts:
            yield path


def update(dvc_yaml: Path, root: Path = ROOT) -> None:
    """Replace the source files among each stage's ``deps`` by those of :func:`code`; comments and order are kept."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(dvc_yaml.read_text())
    stages = document["stages"]
    lists = {name: code(name, root) for name in stages if name != "in_step"}
    lists["in_step"] = sorted({path for paths in lists.values() for path in paths})
    for name, stage in stages.items():
        deps = stage.get("do", stage)["deps"]
        others = [path for path in deps if not path.startswith(PACKAGES) or "${" in path]
        deps[:] = [*lists[name], *others]
    with open(dvc_yaml, "w") as file:
        yaml.dump(document, file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Source files that a stage's output depends on, one a line.")
    parser.add_argument("stage", nargs="?", help="such as mask")
    parser.add_argument("--update", action="store_true", help="write the lists of all stages into dvc.yaml instead")
    args = parser.parse_args()
    if args.update:
        update(ROOT / "dvc.yaml")
    elif args.stage:
        print("\n".join(code(args.stage)))
    else:
        parser.error("name a stage, or give --update")


if __name__ == "__main__":
    main()
