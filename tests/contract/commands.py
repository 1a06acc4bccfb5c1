"""Stages called as commands, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable


def call(main: Callable[[], None], *arguments: object) -> None:
    """Run a stage's ``main`` with these arguments."""
    before = sys.argv
    sys.argv = ["stage", *map(str, arguments)]
    try:
        main()
    finally:
        sys.argv = before
