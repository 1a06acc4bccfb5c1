"""List the public files of weights, here or missing, or fetch some.

    python -m stages.weights                    # list them, here or missing
    python -m stages.weights inception i3d      # fetch two of them

A stage that needs one fetches it by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.base import params
from stages.base.errors import ParameterError, run
from stages.fetching.public_files import FILES, ensure, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"to fetch: all, or some of {', '.join(FILES)}")
    parser.add_argument("--folder", type=Path, help="where they lie (default: weights.folder of params.yaml)")
    args = parser.parse_args()
    names = list(FILES) if args.names == ["all"] else args.names
    unknown = [name for name in names if name not in FILES]
    if unknown:
        raise ParameterError(f"NAME is {unknown[0]!r}; allowed: all, {', '.join(FILES)}")
    folder = args.folder or Path(params.load(params.PARAMS_FILE).weights.folder)
    for name in names:
        print(f"{ensure(name, folder)}: whole, sha256 {FILES[name].sha256}")
    print(table(folder))


if __name__ == "__main__":
    run(main)
