"""A row's own settings, laid over those of the run.

Apart from :mod:`stages.base.params`: an edit there makes no data stale, as each value is depended on by itself. What is done here
with the values reaches every output, so an edit here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]


def over(section: Mapping[str, Any], own: Mapping[str, Any]) -> Values:
    """A section's values, those of ``own`` in place of its."""
    return {**section, **own}


def over_sections(sections: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> Values:
    """All sections, with the values that ``own`` has of some of them."""
    return {**sections, **{name: over(sections[name], values) for name, values in own.items()}}
