"""The stages of the HifiDiff pipeline; each runs as ``python -m stages.<stage>`` and reads and writes files only."""
