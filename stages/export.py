"""Put a trained method's weights, configuration and model card into one folder, to publish or to keep.

    python -m stages.export --method full --out hifidiff-demo-full

``HifiDiff.from_pretrained(folder)`` loads it. The model is loaded first, and the card must be of these weights.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

from stages.base import params
from stages.base.errors import InputError, run
from stages.pretrained.hifidiff import CONFIG, WEIGHTS, HifiDiff
from stages.store import atomic

CARD = "README.md"


def export(data: Path, method: str, out: Path, *, replace: bool = False) -> list[Path]:
    """Write the folder; gives its files. The weights come last, so that a folder with weights is whole.

    Raises:
        InputError: a file is missing or damaged, the card is of other weights, or there is something in the folder already and
            ``replace`` does not say that files of the same names may go.
    """
    if not replace and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            out, "is there already, and not empty", "name a new folder, or say --replace (make export … REPLACE=1)"
        )
    folder, card = data / "models" / method, data / "cards" / f"{method}.md"
    HifiDiff.from_pretrained(folder)
    make = f"run 'snakemake --cores all {card}'"
    if not card.exists():
        raise InputError(card, "no such file", make)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    if digest not in card.read_text(encoding="utf-8"):
        raise InputError(card, f"is the card of other weights than {folder / WEIGHTS} (sha256 {digest})", make)
    sources = {CARD: card, CONFIG: folder / CONFIG, WEIGHTS: folder / WEIGHTS}
    for name, source in sources.items():
        with atomic.whole_file(out / name) as part:
            shutil.copyfile(source, part)
    return [out / name for name in sources]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=params.PARAMS_FILE, help="run and trained")
    parser.add_argument("--data", type=Path, help="folder of the run; data/<run> where not given")
    parser.add_argument("--method", required=True, help="a method that has its own weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--replace", action="store_true", help="write over files of the same names")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.trained)
    print("\n".join(map(str, export(args.data or settings.data, args.method, args.out, replace=args.replace))))


if __name__ == "__main__":
    run(main)
