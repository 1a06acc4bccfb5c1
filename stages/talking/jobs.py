"""Many films by a table: a row a film, with the columns face, sound, out, and any option's name."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from stages.base.errors import InputError, ParameterError
from stages.talking.options import SAID, Options, flag, read

NAMES = {
    flag(name).removeprefix("--"): name for name in SAID
}  # of columns: as the command's options, without dashes before
LENDING = ("motion", "blink")  # may name a file


@dataclass(frozen=True)
class Job:
    """One film to make."""

    face: Path
    sound: Path
    out: Path
    options: Options


def read_jobs(path: Path, options: Options) -> list[Job]:
    """A CSV's films. An empty cell is what ``options`` say; files are sought beside the CSV, and written there.

    Raises:
        InputError: it can't be read, lacks a column, has an unknown one, no row, a value that is none, or writes a file twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
            columns = [] if not rows else [name for name in rows[0] if name is not None]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            path, f"not a CSV that can be read ({error})", "give one with the columns face, sound"
        ) from None
    if not rows:
        raise InputError(path, "has no rows", "give one a film, below the heading face,sound,out")
    unknown = [name for name in columns if name not in ("face", "sound", "out", *NAMES, *NAMES.values())]
    missing = [name for name in ("face", "sound") if name not in columns]
    if unknown or missing:
        problem = f"lacks the column {missing[0]}" if missing else f"has a column {unknown[0]!r}, which is no option"
        raise InputError(
            path, problem, "take face, sound, out, and options' names, such as " + ", ".join(list(NAMES)[:4])
        )
    jobs: list[Job] = []
    taken: set[Path] = set()
    for line, row in enumerate(rows, 2):
        try:
            job = _job(path.parent, row, options)
        except ParameterError as error:
            raise InputError(path, f"line {line}: {error}", "mend the line") from None
        if job.out in taken:
            raise InputError(
                path, f"line {line} writes {job.out}, as one above does", "give each film an out of its own"
            )
        taken.add(job.out)
        jobs.append(job)
    return jobs


def _job(folder: Path, row: dict[str, str | None], options: Options) -> Job:
    cells = {name: (cell or "").strip() for name, cell in row.items() if name is not None}
    if not (cells["face"] and cells["sound"]):
        raise ParameterError("it names no face or no sound")
    given = {
        NAMES.get(name, name): cell for name, cell in cells.items() if cell and name not in ("face", "sound", "out")
    }
    values = {name: read(name, cell) for name, cell in given.items()}
    for name in LENDING:
        if isinstance(value := values.get(name), str) and value not in SAID[name].words:
            values[name] = str(folder / value)
    face, sound = folder / cells["face"], folder / cells["sound"]
    out = folder / (cells.get("out") or f"{face.stem}-{sound.stem}.mp4")
    return Job(face, sound, out, replace(options, **values))
