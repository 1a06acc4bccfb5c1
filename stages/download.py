"""``python -m stages.download``: render one speaker's media, fetch them, or take them from a folder; write them as one tar."""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.base import params
from stages.base.errors import ParameterError, run
from stages.corpora import cremad, folder
from stages.corpora.rendered import speaker


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.download",
        description="Write one speaker's media as a tar: clips.json, the media files, and for the rendered corpus truth.parquet. "
        "Reads params.yaml, and the user's videos where corpus.source is folder; fetches CREMA-D where it is cremad: "
        "interrupted, the same command goes on.",
    )
    parser.add_argument("--params", type=Path, default=Path(params.PARAMS_FILE), help="settings (default: %(default)s)")
    parser.add_argument("--shard", help="speaker; one of corpus.shards")
    parser.add_argument("--out", type=Path, help="tar to write, such as data/demo/raw/ada.tar")
    parser.add_argument(
        "--shards",
        action="store_true",
        help="print corpus.shards for the videos in corpus.folder.path, and write nothing",
    )
    args = parser.parse_args()
    settings = params.load(args.params)
    corpus = settings.corpus
    if args.shards:
        print(folder.listing(corpus.folder))
        return
    if args.shard is None or args.out is None:
        parser.error("give --shard and --out, or --shards")
    if args.shard not in corpus.shards:
        raise ParameterError(f"--shard {args.shard!r} is not in corpus.shards; allowed: {', '.join(corpus.shards)}")
    if corpus.source == "rendered":
        speaker.take(corpus.rendered, args.shard, args.out)
    elif corpus.source == "cremad":
        cremad.take(settings.cremad, corpus.shards, args.shard, args.out)
    else:
        folder.take(corpus.folder, args.shard, args.out)


if __name__ == "__main__":
    run(main)
