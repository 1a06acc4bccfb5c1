"""Parameter files that hold only what differs from another: ``presets/smoke.yaml`` begins with ``base: demo``.

Files are merged as text, so that the whole one keeps the base's order and comments. A section of both is merged key by key; any
other value, and a section marked ``!replace``, takes the place of the base's, its comment too; what the base lacks comes last in
its section; ``key: !remove`` leaves one out. Comments at the top are the overlay's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import ParameterError

KEY = re.compile(r"^( *)([\w-]+):(?= |$)(.*)$")
REPLACE, REMOVE = "!replace", "!remove"


@dataclass
class Entry:
    """A key with all that belongs to it: comment lines above, its own line, what follows of the value, and keys inside."""

    key: str
    indent: int
    above: list[str]
    line: str
    rest: list[str] = field(default_factory=list)
    inside: list[Entry] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """``!replace``, ``!remove`` or nothing."""
        value = self.line.split(":", 1)[1].split(" #")[0].strip()
        return value if value in (REPLACE, REMOVE) else ""

    def lines(self) -> Iterator[str]:
        yield from self.above
        yield self.line.replace(f" {REPLACE}", "")
        yield from self.rest
        for entry in self.inside:
            yield from entry.lines()


def whole(path: Path) -> str:
    """The text of a parameter file, merged with its base's where it names one.

    Raises:
        FileNotFoundError: there is no such file.
        ParameterError: its base is missing, it removes what the base does not have, or a key of it stands twice.
    """
    return filled(read(path), path)


def filled(text: str, path: Path) -> str:
    """The same of a text that would stand at ``path``; raises ParameterError like :func:`whole`."""
    name = base_of(text)
    if name is None:
        return text
    top, entries = _read(text, path)
    base = path.with_name(f"{name}.yaml")
    if not base.exists():
        raise ParameterError(f"{path}: base is {name!r}; there is no {base}")
    _, under = _read(whole(base), base)
    merged = _merged(under, entries[1:], path)
    return "\n".join([*top, *(line for entry in merged for line in entry.lines())]) + "\n"


def read(path: Path) -> str:
    """The text of a parameter file as it stands.

    Raises:
        FileNotFoundError: there is no such file.
        ParameterError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


def base_of(text: str) -> str | None:
    """The name of a parameter file's base; None where it stands by itself."""
    first = next((match for line in text.split("\n") if (match := KEY.match(line))), None)
    return first[3].split("#")[0].strip() if first and first[2] == "base" else None


def _merged(base: list[Entry], over: list[Entry], path: Path) -> list[Entry]:
    found = {entry.key: entry for entry in base}
    for entry in over:
        below = found.get(entry.key)
        if entry.mark == REMOVE:
            if below is None:
                raise ParameterError(f"{path}: {entry.key} is {REMOVE}, and its base has none; take the line out")
            del found[entry.key]
        elif below is not None and below.inside and entry.inside and entry.mark != REPLACE:
            below.inside = _merged(below.inside, entry.inside, path)
        else:
            above = entry.above or (below.above if below else [])
            found[entry.key] = Entry(entry.key, entry.indent, above, entry.line, entry.rest, entry.inside)
    return list(found.values())


def _read(text: str, path: Path) -> tuple[list[str], list[Entry]]:
    """The comment lines at the top, and the keys of a file as our parameter files are written: blocks, a key a line."""
    top: list[str] = []
    entries: list[Entry] = []
    open_entries: list[Entry] = []
    above: list[str] = []
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        match = KEY.match(line)
        if match is None:
            if not line.strip() or line.lstrip().startswith("#"):
                above.append(line)
            else:
                open_entries[-1].rest += [*above, line]
                above = []
            continue
        if not entries:
            top, above = above, []
        indent = len(match[1])
        open_entries = [entry for entry in open_entries if entry.indent < indent]
        entry = Entry(match[2], indent, above, line)
        beside = open_entries[-1].inside if open_entries else entries
        if any(other.key == entry.key for other in beside):
            raise ParameterError(f"{path}: line {number}: {entry.key} stands twice; keep one of the two")
        beside.append(entry)
        open_entries.append(entry)
        above = []
    return top, entries
