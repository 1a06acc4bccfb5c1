"""Pages from the templates beside this module: the report's, and a model's card."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def environment() -> Environment:
    """Jinja2 as all templates take it: a name that is missing is an error, HTML is escaped."""
    made = Environment(
        loader=PackageLoader("stages.reporting"),
        autoescape=lambda name: bool(name) and ".html" in name,  # type: ignore[operator, return-value]
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["stacked"] = stacked
    return made


def stacked(cell: str) -> Markup:
    """A cell whose interval and n stand below its value, a line each."""
    value, bracket, rest = str(cell).partition(" [")
    if not bracket:
        return escape(cell)
    interval, comma, count = rest.partition(", n = ")
    lines = [f"[{interval}", *([f"n = {count}"] if comma else [])]
    return escape(value) + Markup("").join(Markup("<small>{}</small>").format(line) for line in lines)
