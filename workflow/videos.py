"""Unpack the sampled videos of the run in ``params.yaml``: ``videos_out/<run>/<method>/<clip>.mp4``.

make videos
"""

from __future__ import annotations

from pathlib import Path

from stages.base.errors import InputError, run
from stages.base.params import Params, load
from stages.store import tars
from stages.store.atomic import whole_file
from workflow.artifacts import artifacts


def unpack(params: Params, out: Path) -> int:
    """Unpack each method's videos below ``out``; gives their number.

    Raises:
        InputError: a method was not sampled yet.
    """
    count = 0
    for method in params.methods:
        (path,) = artifacts(params)[f"sample@{method}"]
        if not Path(path).exists():
            raise InputError(path, "no such file", "run 'make reproduce'")
        names = [f"{clip['clip']}.mp4" for clip in tars.listing(path, keys=("clip",))]
        with tars.reader(path) as member:
            for name in names:
                with whole_file(out / method / name) as part:
                    part.write_bytes(member(name))
        count += len(names)
    return count


def main() -> None:
    params = load()
    out = Path("videos_out") / params.run
    print(f"{unpack(params, out)} videos in {out}")


if __name__ == "__main__":
    run(main)
