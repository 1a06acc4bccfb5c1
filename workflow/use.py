"""Choose a parameter file: writes preset ``presets/<name>.yaml``, whole, to ``params.yaml``, unless edits would be lost.

make use RUN=smoke
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.base import presets
from stages.base.errors import HifiDiffError, ParameterError, run
from stages.base.params import PARAMS_FILE
from workflow.sources import ROOT


def use(name: str, root: Path = ROOT) -> None:
    """Make ``params.yaml`` the preset ``name``.

    Raises:
        ParameterError: there is no such preset.
        HifiDiffError: ``params.yaml`` equals no preset, so that its edits stand nowhere else.
    """
    paths = {path.stem: path for path in sorted((root / "presets").glob("*.yaml"))}
    if name not in paths:
        raise ParameterError(f"RUN is {name!r}; allowed: {', '.join(paths)} (make use RUN=<name>)")
    current = root / PARAMS_FILE
    if edited(root):
        raise HifiDiffError(
            f"{PARAMS_FILE} has edits that no preset has, and they would be lost; keep them with "
            f"'cp {PARAMS_FILE} presets/<name>.yaml' or drop them with 'rm {PARAMS_FILE}', then run the command again"
        )
    current.write_text(presets.whole(paths[name]), encoding="utf-8")


def edited(root: Path = ROOT) -> bool:
    """Whether ``params.yaml`` equals no preset, so that what is in it stands nowhere else."""
    current = root / PARAMS_FILE
    if not current.exists():
        return False
    text = presets.read(current)
    return all(text != presets.whole(path) for path in (root / "presets").glob("*.yaml"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="a file of presets/, without its ending")
    args = parser.parse_args()
    use(args.name)
    print(f"{PARAMS_FILE} is now presets/{args.name}.yaml; 'make reproduce' makes it")


if __name__ == "__main__":
    run(main)
