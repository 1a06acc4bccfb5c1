"""The meaning of a source file: its syntax tree without the parts that only readers and type checkers see.

Comments, docstrings, blank lines, the way lines are broken, type annotations and imports that serve them may change without
making data stale. Anything else may not: a module is judged by its code, not by what the code is thought to do.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
# What is imported for annotations more often than not: a name of these that nothing uses is no part of the meaning. Of other
# modules' names those are none that annotations alone use; what nothing uses at all may be there to be found by others.
TYPING = ("typing", "collections.abc", "numpy.typing", "types")
# In a class, an annotation makes a field. Its type matters to none of these, and to others (pydantic's models) it may.
PLAIN_BASES = {"NamedTuple", "Protocol", "Module", "Dataset", "ABC", "Generic", "Exception"}
MARKED = {"ClassVar", "InitVar", "KW_ONLY"}  # which dataclasses read


def of_file(path: Path) -> bytes:
    """The meaning of a Python module; of any other file all its bytes."""
    return meaning(path.read_text(encoding="utf-8")).encode() if path.suffix == ".py" else path.read_bytes()


def meaning(source: str) -> str:
    """A text that two sources have in common where they mean the same; equal in all versions of Python from 3.11 on.

    Raises:
        SyntaxError: it is not Python.
    """
    return _text(stripped(source))


def stripped(source: str) -> ast.Module:
    """The syntax tree without what only readers and type checkers see; raises like :func:`meaning`."""
    whole, stripper = ast.parse(source), _Stripped()
    before = _used(whole)
    tree: ast.Module = stripper.visit(whole)
    used = _used(tree) | stripper.kept
    tree.body = [kept for statement in tree.body if (kept := _import(statement, used, before - used)) is not None]
    return tree


def _used(tree: ast.AST) -> set[str]:
    """Names that stand in a tree, and its texts, which may be annotations."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _for_type_checkers(node: ast.AST) -> bool:
    """True for a node ``if TYPE_CHECKING``, whose body never runs; its ``else`` does."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


class _Stripped(ast.NodeTransformer):
    """A tree without docstrings and other strings that stand alone, annotations, and blocks for type checkers.

    ``kept`` has the names in annotations that stay, those of fields whose type may matter.
    """

    def __init__(self) -> None:
        self.kept: set[str] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if _for_type_checkers(node) else node

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None:
            return ast.Assign(targets=[node.target], value=node.value)
        node.annotation = ast.Constant(value=...)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
        typed = any(_name(base) not in PLAIN_BASES for base in node.bases)
        staying = [field for field in fields if typed or _names(field) & MARKED]
        kept = {id(field): ast.unparse(field.annotation) for field in staying}
        self.kept |= {name for field in staying for name in _names(field)}
        body: list[ast.stmt] = []
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):  # a field, in their order, be it with a value or without
                value = None if statement.value is None else self.visit(statement.value)
                annotation = ast.Constant(value=kept.get(id(statement), ...))
                body.append(ast.AnnAssign(target=statement.target, annotation=annotation, value=value, simple=1))
            elif (visited := self.visit(statement)) is not None:
                body.append(visited)
        node.body = body
        node.bases = [self.visit(base) for base in node.bases]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        return node


def _name(node: ast.expr) -> str:
    """The last part of a base's name: ``Module`` of ``nn.Module``, ``Generic`` of ``Generic[T]``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _names(field: ast.AnnAssign) -> set[str]:
    parts = list(ast.walk(field.annotation))
    return {p.id for p in parts if isinstance(p, ast.Name)} | {p.attr for p in parts if isinstance(p, ast.Attribute)}


def _import(statement: ast.stmt, used: Collection[str], annotated: Collection[str]) -> ast.stmt | None:
    """A statement as it is, but for imports of what only annotations named; these names are ``annotated``."""
    if not isinstance(statement, ast.ImportFrom):
        return statement

    def serves(name: str) -> bool:
        return name in used if statement.module in TYPING else name not in annotated

    names = [] if statement.module == "__future__" else [a for a in statement.names if serves(a.asname or a.name)]
    return ast.ImportFrom(module=statement.module, names=names, level=statement.level) if names else None


def _text(node: object) -> str:
    """A node, its fields by name; what is empty or None is left out, since versions of Python differ in it."""
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr[{', '.join(map(_text, _joined(node.values)))}]"
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")]
        shown = [f"{name}={_text(value)}" for name, value in fields if value is not None and value != []]
        return f"{type(node).__name__}({', '.join(shown)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return repr(node)


def _joined(values: Iterable[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: versions of Python cut them differently."""
    parts: list[ast.expr] = []
    for value in values:
        last = parts[-1] if parts else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            parts[-1] = ast.Constant(value=str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            parts.append(value)
    return parts
