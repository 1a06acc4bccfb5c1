"""Unpack the sampled videos of the run in ``params.yaml``: ``videos_out/<run>/<method>/<clip>.mp4``.

make videos
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from stages.errors import InputError, run
from stages.params import Params, load
from workflow.artifacts import artifacts


def unpack(params: Params, out: Path) -> int:
    """Unpack each method's videos below ``out``; gives their number.

    Raises:
        InputError: a method was not sampled yet.
    """
    count = 0
    for method in params.methods:
        for path in artifacts(params)[f"sample@{method}"]:
            if not Path(path).exists():
                raise InputError(path, "no such file", "run 'make reproduce'")
            with tarfile.open(path) as tar:
                members = [member for member in tar if member.name.endswith(".mp4")]
                tar.extractall(out / method, members, filter="data")
                count += len(members)
    return count


def main() -> None:
    params = load()
    out = Path("videos_out") / params.run
    print(f"{unpack(params, out)} videos in {out}")


if __name__ == "__main__":
    run(main)
