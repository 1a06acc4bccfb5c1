"""A trained model, a face and a sound: a face becomes clips as test clips are, and what is made is put back into its picture.

``from stages.talking import HifiDiff`` gives the trained model that talks.
"""

from __future__ import annotations

from stages.talking.model import HifiDiff

__all__ = ["HifiDiff"]
