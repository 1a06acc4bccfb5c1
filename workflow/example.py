"""A portrait and a sound to try ``talk`` with, out of the run's own corpus: an unseen speaker's first frame, a seen one's speech.

    python -m workflow.example talk_out

Real people's clips serve the same way; these are rendered, so that anyone may have them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from stages.base.errors import InputError, run
from stages.base.params import Params, load
from stages.clips import corpus, raw
from stages.store import atomic


def write(params: Params, out: Path) -> tuple[Path, Path]:
    """Write ``portrait.png`` and ``speech.mp4`` into a folder.

    Raises:
        InputError: the run has not been made, or its test lacks unseen or seen speakers.
    """
    found = []
    for split in ("test_unseen", "test_seen"):
        rows = corpus.index(params.data, (split,))
        if rows.empty:
            raise InputError(params.data / "index.parquet", f"no clip of {split}", "see index.* in params.yaml")
        row = rows.iloc[0]
        found.append(raw.place(params.data, str(row["shard"]), str(row["clip"])))
    fps, rate = params.mask.fps, params.spectrogram.sample_rate
    portrait, speech = out / "portrait.png", out / "speech.mp4"
    with atomic.whole_file(portrait) as part:
        Image.fromarray(raw.still(found[0], fps)).save(part, format="PNG")
    with atomic.whole_file(speech) as part:
        part.write_bytes(raw.sound(found[1], fps, rate)[0])
    return portrait, speech


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to")
    for path in write(load(), parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    run(main)
