"""The making of a row's videos, one module a kind: HifiDiff, the truth, videos from elsewhere, and the systems of Table 1.

What such a module defines stands in :mod:`stages.methods.systems`; docs/add-a-method.md shows a whole one.
"""
