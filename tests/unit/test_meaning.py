"""Edits of a source that make data stale, and those that don't. Twenty of each kind, drawn from the real sources."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest

from stages.base import meaning
from workflow.sources import ROOT, WITHOUT_EFFECT

SOURCES = {
    path: path.read_text()
    for path in sorted((ROOT / "stages").rglob("*.py"))
    if path.relative_to(ROOT).as_posix() not in WITHOUT_EFFECT and path.stat().st_size > 500
}
EDITS = 20
Span = tuple[int, int]  # of characters


@cache
def lines_of(source: str) -> tuple[list[str], list[int]]:
    """A source's lines and where each begins."""
    lines = source.splitlines(keepends=True)
    return lines, [0, *accumulate(map(len, lines))]


def span(source: str, node: ast.AST) -> Span:
    """The place of a node; columns count bytes of UTF-8."""
    lines, starts = lines_of(source)

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def replaced(source: str, where: Span, text: str) -> str:
    return source[: where[0]] + text + source[where[1] :]


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            yield node.body[0].value  # type: ignore[attr-defined]


def annotations(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            args = node.args
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            yield from filter(None, [node.returns, *(arg.annotation for arg in every if arg)])


def edits(kind: str, source: str) -> Iterator[tuple[Span, str]]:
    """The replacements, each with its place, that make an edit of a kind in a source."""
    tree = ast.parse(source)
    apart = {id(part) for node in annotations(tree) for part in ast.walk(node)} | {
        id(node) for node in docstrings(tree)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.AnnAssign)):
            inner = node if isinstance(node, ast.JoinedStr) else node.annotation
            apart |= {id(part) for part in ast.walk(inner)}
    for node in ast.walk(tree):
        if id(node) in apart:
            continue
        constant = node.value if isinstance(node, ast.Constant) else None
        match kind, node:
            case "comment" | "blank line", ast.Assign() | ast.Return() | ast.AugAssign():
                start = span(source, node)[0]
                start = source.rfind("\n", 0, start) + 1
                yield (start, start), "# why this is so\n" if kind == "comment" else "\n"
            case "line broken elsewhere", ast.Return(value=ast.expr() as value):
                yield span(source, value), f"(\n{source[slice(*span(source, value))]}\n)"
            case "number", ast.Constant() if type(constant) in (int, float):
                yield span(source, node), repr(constant + 1)  # type: ignore[operator]
            case "text", ast.Constant() if isinstance(constant, str):
                yield span(source, node), repr(constant + "x")
            case "operator", ast.BinOp() if ast.dump(node.left) != ast.dump(node.right):  # x @ x swapped is x @ x
                yield span(source, node), f"({ast.unparse(ast.BinOp(node.right, node.op, node.left))})"
            case "statement less", ast.Assign() | ast.Return() | ast.AugAssign():
                yield span(source, node), "pass"
            case "default", ast.FunctionDef():
                yield from ((span(source, default), "'another'") for default in node.args.defaults)
            case "field", ast.AnnAssign(target=ast.Name() as target):
                yield span(source, target), "renamed_"
    if kind == "docstring":
        yield from ((span(source, node), '"""Other words."""') for node in docstrings(tree))
    if kind == "annotation":
        yield from ((span(source, node), "Other") for node in annotations(tree))


def edited(kind: str) -> Iterator[tuple[Path, str, str]]:
    """Sources before and after an edit, drawn at random, at most two of a file."""
    draw, count = random.Random(kind), 0
    for path, before in draw.sample(list(SOURCES.items()), len(SOURCES)):
        possible = list(edits(kind, before))
        for where, text in draw.sample(possible, min(2, len(possible))):
            after = replaced(before, where, text)
            same = ast.dump(ast.parse(before)) == ast.dump(ast.parse(after))
            assert same == (kind in HARMLESS and kind not in ("docstring", "annotation")), (path, where)
            count += 1
            yield path, before, after
            if count == EDITS:
                return
    raise AssertionError(f"only {count} edits of kind {kind!r} are possible")


HARMLESS = ("comment", "blank line", "docstring", "annotation", "line broken elsewhere")
CHANGING = ("number", "text", "operator", "statement less", "default", "field")


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_only_readers_see_changes_no_meaning(kind: str) -> None:
    for path, before, after in edited(kind):
        assert meaning.meaning(before) == meaning.meaning(after), path


@pytest.mark.parametrize("kind", CHANGING)
def test_a_change_of_code_changes_the_meaning(kind: str) -> None:
    for path, before, after in edited(kind):
        assert meaning.meaning(before) != meaning.meaning(after), path


SAME = {
    "an import for annotations alone": ("from typing import Any\ndef f(x: Any): return x", "def f(x): return x"),
    "an import of a class for annotations alone": (
        "from stages.clips.clip import Clip\ndef f(x: Clip) -> None: return x",
        "def f(x): return x",
    ),
    "a block for type checkers": ("if TYPE_CHECKING:\n    import a\nx = 1", "x = 1"),
    "a variable's type": ("x: int = 1", "x = 1"),
    "a field's type": ("class A(NamedTuple):\n    x: int", "class A(NamedTuple):\n    x: float"),
    "a string cut in two": ("x = f'{a} b c'", "x = f'{a} b ' 'c'"),
}
OTHER = {
    "an import that nothing uses, for others to find": ("from stages.a import b\nx = 1", "x = 1"),
    "an import for a field whose type counts": (
        "from a import B\nclass M(BaseModel):\n    x: list[B]",
        "from c import B\nclass M(BaseModel):\n    x: list[B]",
    ),
    "an import that is called": ("from typing import Any\ny = f(Any)", "y = f(Any)"),
    "a model's type": ("class A(BaseModel):\n    x: int", "class A(BaseModel):\n    x: float"),
    "a field that is one of the class": ("class A:\n    x: ClassVar[int] = 1", "class A:\n    x: int = 1"),
    "the order of fields": (
        "class A(NamedTuple):\n    x: int\n    y: int",
        "class A(NamedTuple):\n    y: int\n    x: int",
    ),
    "a field without a type": ("class A:\n    x: int = 1", "class A:\n    x = 1"),
    "what runs beside a block for type checkers": (
        "if TYPE_CHECKING:\n    import a\nelse:\n    a = 1",
        "if TYPE_CHECKING:\n    import a\nelse:\n    a = 2",
    ),
    "an f-string's width": ("x = f'{a:3}'", "x = f'{a:4}'"),
}


@pytest.mark.parametrize("name", SAME)
def test_these_two_mean_the_same(name: str) -> None:
    before, after = SAME[name]
    assert meaning.meaning(before) == meaning.meaning(after)


@pytest.mark.parametrize("name", OTHER)
def test_these_two_do_not(name: str) -> None:
    before, after = OTHER[name]
    assert meaning.meaning(before) != meaning.meaning(after)


def test_a_file_that_is_no_python_is_all_its_bytes(tmp_path: Path) -> None:
    page = tmp_path / "page.j2"
    page.write_bytes(b"# a \xff")
    assert meaning.of_file(page) == b"# a \xff"
