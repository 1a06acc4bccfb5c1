"""Print the place and the headline of the report of the run in ``params.yaml``.

python -m workflow.headline
"""

from __future__ import annotations

from stages.base.errors import InputError, run
from stages.base.params import load


def main() -> None:
    reports = load().reports
    try:
        print((reports / "headline.txt").read_text(encoding="utf-8").rstrip())
    except FileNotFoundError:
        raise InputError(reports / "headline.txt", "no such file", "run 'make reproduce'") from None
    print(f"report: {reports / 'index.html'}")


if __name__ == "__main__":
    run(main)
