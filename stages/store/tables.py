"""Parquet tables between the stages: written whole or not at all, the same bytes each time, and checked when they are read.

Their columns stand in :mod:`stages.store.schemas`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.base.errors import InputError
from stages.store.atomic import whole_file


def write(
    path: str | Path, schema: pa.Schema, rows: list[dict[str, Any]], *, row_group_size: int | None = None
) -> None:
    """Write rows as Parquet, byte for byte the same for the same rows; ``row_group_size=1`` for rows that are read singly."""
    write_table(path, schema, pa.Table.from_pylist(rows, schema=schema), row_group_size=row_group_size)


def write_table(path: str | Path, schema: pa.Schema, table: pa.Table, *, row_group_size: int | None = None) -> None:
    """Write the columns of a table that ``schema`` names, with the bytes that :func:`write` gives of the same rows."""
    table = table.select(schema.names).combine_chunks().cast(schema)
    with whole_file(path) as part:
        pq.write_table(
            table, part, row_group_size=row_group_size, compression="zstd" if row_group_size is None else "none"
        )


def flat(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays as list columns hold them: row-major, float32 where they are not Boolean."""
    return {name: x.ravel() if x.dtype == bool else x.ravel().astype(np.float32) for name, x in arrays.items()}


@contextmanager
def writer(path: str | Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that appends one row, as a row group of its own, so that memory holds one row at a time."""
    with whole_file(path) as part, pq.ParquetWriter(part, schema, compression="none") as out:
        yield lambda row: out.write_table(pa.Table.from_pylist([row], schema=schema))


def read(path: str | Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a table and check that it is the one that ``schema`` names, of this version.

    Raises:
        InputError: the file is missing, not Parquet, another table, or of another schema version.
    """
    try:
        found = pq.read_schema(path)
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a Parquet file ({error})", "delete it and run 'snakemake --cores all'") from None
    if (found.metadata or {}) != schema.metadata or not found.equals(schema):
        raise InputError(path, "another table or schema version", "delete it and run 'snakemake --cores all'")
    return pq.read_table(path, columns=columns)


Place = tuple[int, int]  # a row group's number, and a row's number in it


def places(path: str | Path, schema: pa.Schema) -> dict[str, list[Place]]:
    """The places of each clip's rows, in the file's order; checks the file as :func:`read` does."""
    clips = read(path, schema, ["clip"])["clip"].to_pylist()
    found = pq.read_metadata(path)
    rows = [(group, row) for group in range(found.num_row_groups) for row in range(found.row_group(group).num_rows)]
    result: dict[str, list[Place]] = {}
    for clip, place in zip(clips, rows, strict=True):
        result.setdefault(clip, []).append(place)
    return result


def read_rows(path: str | Path, rows: Iterable[Place], columns: list[str]) -> pa.Table:
    """Some rows of a table that :func:`places` has checked; only their row groups are read."""
    with pq.ParquetFile(path) as file:  # no threads: a process that forks later must not have started any
        return pa.concat_tables(
            file.read_row_group(group, columns, use_threads=False).slice(row, 1) for group, row in rows
        )
