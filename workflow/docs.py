"""Pages of the documentation that are made from other files, so that they always agree with them.

    python -m workflow.docs   # docs/output.md, README.md's numbers (those of reports/demo), the stages in stages/README.md

A test holds all current.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import pyarrow as pa

from stages.base.errors import InputError, run
from stages.reporting.tables import markdown
from stages.scoring import columns
from stages.store import schemas as data
from stages.store.atomic import whole_file
from workflow.registry import STAGES

OUTPUT, README, CODE, REPORT = Path("docs/output.md"), Path("README.md"), Path("stages/README.md"), Path("reports/demo")
# First and last line of the block in the README.
SHOWN = (
    "The FD",
    "The PSNR",
    "The mouth follows the audio (",
    "The eyelids follow",
    "With another clip's audio the mouth follows",
)  # claims
MARKS = ("<!-- numbers: written by `python -m workflow.docs` from reports/demo -->", "<!-- end of numbers -->")
STAGE_MARKS = (
    "<!-- stages: written by `python -m workflow.docs` from workflow/registry.py -->",
    "<!-- end of stages -->",
)

WHERE = {
    "faces": "faces/<shard>.parquet",
    "truth": "truth.parquet, the last member of raw/<shard>.tar of a rendered corpus",
    "blink": "blink/<shard>.parquet",
    "spectrogram": "spectrogram/<shard>.parquet",
    "index": "index.parquet",
    "reference": "reference.parquet",
    "features": "features/<method>.parquet",
    "breakdown": "metrics/<method>.breakdown.parquet",
    "portraits": "portraits/<method>.parquet",
    "metrics": "metrics/<method>.parquet",
}
HEAD = """# Files that the stages write

Files lie below `data/<run>/` unless noted. This page is generated from the schemas in `stages/store/schemas.py` and
`stages/scoring/columns.py` by `python -m workflow.docs`; each meaning stands in the Parquet file itself too, as metadata of its
column. T frames on the time base of `mask.fps` (25 a second), S spectrogram steps (80 a second).

## Files

"""
FILES = [
    (
        "`raw/<shard>.tar`",
        "download",
        "media as they came; first member `clips.json`: clip, file, speaker, sentence, sha256, …; for CREMA-D also "
        "`sound`, the WAV of a video without sound, and `left_out`, the reason why a clip can't be used",
    ),
    ("`faces/<shard>.parquet`", "mask", "face crops (JPEG), 68 landmarks, crop; a row a segment of at most 10 s"),
    ("`blink/<shard>.parquet`", "blink", "eye aspect ratio of both eyes, blinks; a row a clip"),
    ("`spectrogram/<shard>.parquet`", "spectrogram", "mel spectrogram and 16 kHz audio; a row a clip"),
    ("`index.parquet`", "index", "every clip with its split, or the reason why it is left out"),
    ("`expert/expert.safetensors`, `curves.csv`", "expert", "the lip-sync expert of the loss"),
    ("`judges/{sync,frame,video}.safetensors`, `.csv`", "judges", "encoders that only the metrics use"),
    ("`models/<method>/model.safetensors`", "train, train_baseline", "averaged weights"),
    (
        "`models/<method>/config.json`",
        "train, train_baseline",
        "settings for reading the weights: network, diffusion, steps, preparation of faces and sound (`mask`, "
        "`spectrogram`), statistics of the training clips (`corpus`: percentiles 5, 50 and 95); of other systems their "
        "settings, steps, clips trained on, parameters",
    ),
    (
        "`models/<method>/curves.csv`",
        "train, train_baseline",
        "step, then a column a loss term: means of `train.log_every` steps",
    ),
    (
        "`samples/<method>.tar`",
        "sample",
        "`clips.json`, of videos from elsewhere with frames repeated and cut, then an mp4 with sound a test clip (H.264, AAC)",
    ),
    ("`reference.parquet`", "reference", "measurements of the test clips themselves, made once; a row a test clip"),
    ("`features/<method>.parquet`", "features", "features, landmarks and frame-wise measures; a row a test clip"),
    (
        "`metrics/<method>.json`",
        "metrics",
        "scores: name → split (all, and each of the method's) → value, low, high, n",
    ),
    ("`metrics/<method>.parquet`", "metrics", "scores and traces; a row a test clip"),
    ("`metrics/<method>.breakdown.parquet`", "metrics", "scores by emotion, level, sentence, speaker and length"),
    ("`portraits/<method>.parquet`", "portraits", "measurements of faces that talk; a row a film"),
    ("`cards/<method>.md`", "card", "the model card; `make export` puts it beside the weights, as `README.md`"),
    (
        "`reports/<run>/index.html`, `index.md`",
        "report",
        "the report: one self-contained page, and one for a code host",
    ),
    ("`reports/<run>/claims.csv`", "report", "claim, rule, command, expected, measured, holds"),
    ("`reports/<run>/table{1,2}.{csv,tex,md}`", "report", "the tables in the paper's form"),
    (
        "`reports/<run>/figures/samplers.csv`",
        "report",
        "where a method’s `tables` name `samplers`: a line a cell with its settings, cost and scores",
    ),
    ("`reports/<run>/figures/`, `videos/`", "report", "the pages' figures and videos, as files"),
    ("`data/mlflow.db`, `data/mlflow-artifacts/`", "train, metrics", "the recorded runs of all `<run>`s"),
]


def schemas() -> list[pa.Schema]:
    """The schemas of the data stages and of the measurements, in the order they stand there."""
    return [value for home in (data, columns) for value in vars(home).values() if isinstance(value, pa.Schema)]


def output_page() -> str:
    """``docs/output.md``."""
    parts = [HEAD, markdown(["file", "stage", "holds"], [list(row) for row in FILES])]
    for schema in schemas():
        name = schema.metadata[b"table"].decode()
        version = schema.metadata[b"version"].decode()
        rows = [[f"`{f.name}`", re.sub(r"\w+: ", "", str(f.type)), f.metadata[b"meaning"].decode()] for f in schema]
        parts.append(f"\n## `{WHERE.get(name, name)}`\n\nTable `{name}`, version {version}.\n\n")
        parts.append(markdown(["column", "type", "meaning"], rows))
    return "".join(parts)


def numbers(report: Path) -> str:
    """A report's headline, and the claims that do not hold, for the README."""
    if not report.exists():
        return "No report is committed yet.\n"
    rows = list(csv.DictReader((report / "claims.csv").open(newline="", encoding="utf-8")))
    headline = (report / "headline.txt").read_text(encoding="utf-8").strip()
    shown = [row for row in rows if row["holds"] != "yes" or row["claim"].startswith(SHOWN)]
    table = markdown(["claim", "expected", "measured", "holds"], [_claim(row) for row in shown])
    count = f"[All {len(rows)} claims](reports/demo/index.md#claims)"
    return (
        f"```text\n{headline}\n```\n\n{table}\n{count} stand in the report, each with the command that measures it.\n"
    )


def _claim(row: dict[str, str]) -> list[str]:
    return [row["claim"], row["expected"], row["measured"], "yes" if row["holds"] == "yes" else "**no**"]


def readme(text: str) -> str:
    """The README with its numbers made again.

    Raises:
        InputError: a mark of the block is missing.
    """
    return _between(README, text, MARKS, numbers(REPORT))


def code_page(text: str) -> str:
    """``stages/README.md`` with its list of stages made again; raises like :func:`readme`."""
    return _between(CODE, text, STAGE_MARKS, markdown(["command", "does"], [[f"`{s.name}`", s.does] for s in STAGES]))


def _between(path: Path, text: str, marks: tuple[str, str], block: str) -> str:
    first, last = marks
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise InputError(path, f"lacks the line {last if begin else first!r}", "put it back")
    return f"{before}{first}\n\n{block}\n{last}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    _write(OUTPUT, output_page())
    _write(README, readme(README.read_text(encoding="utf-8")))
    _write(CODE, code_page(CODE.read_text(encoding="utf-8")))


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    print(path)


if __name__ == "__main__":
    run(main)
