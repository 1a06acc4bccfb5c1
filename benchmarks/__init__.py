"""Speed, as ratios against a named peer in one run: ``python -m benchmarks.<name> [--json]``; see ``benchmarks/README.md``."""
