"""Reading columns of a CSV or Parquet file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate.errors import DataError
from edgemate.registry import closest

CSV_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
_DELIMITERS = ",;\t"
_REASON = 200


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a table.

    Attributes:
        path: of the file.
        columns: name → values, one per row.
        unit: what a row is called in the file: a line, counted from 1, the header included, or a row, from 0.
        numbers: of every row, in that unit; of a record of several lines the last one.
    """

    path: Path
    columns: dict[str, Sequence[Any]]
    unit: str
    numbers: Sequence[int]

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"{self.unit} {self.numbers[row]}"


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read columns of a table, by the file's suffix.

    A CSV file is UTF-8, with or without a byte-order mark; its delimiter is the comma, semicolon or tab, whichever
    occurs most in the header.

    Args:
        path: the file.
        required: columns that must be there.
        optional: columns that are read if they are there.

    Raises:
        DataError: the file cannot be read, a required column is missing, or there are no rows.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path} is a folder; a table is a CSV or Parquet file (for folders: data.name=image_folder)")
    if suffix in CSV_SUFFIXES:
        table = _read_csv(path, required, optional)
    elif suffix in PARQUET_SUFFIXES:
        table = _read_parquet(path, required, optional)
    else:
        known = ", ".join(sorted(CSV_SUFFIXES | PARQUET_SUFFIXES))
        raise DataError(f"{path}: a table's name must end in one of {known}")
    if not table.numbers:
        raise DataError(f"{path} has no rows; add one per image")
    return table


def _read_csv(path: Path, required: Sequence[str], optional: Sequence[str]) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=first.count), skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError(f"{path} is empty; its first line must name the columns, such as path,label")
            wanted = _wanted(path, header, required, optional)
            places = [header.index(name) for name in wanted]
            columns: list[list[str]] = [[] for _ in wanted]
            numbers: list[int] = []
            for record in reader:
                if not record:
                    continue
                if len(record) != len(header):
                    raise DataError(
                        f"{path} line {reader.line_num}: has {len(record)} values for {len(header)} columns; put "
                        "quotes around values that contain the delimiter"
                    )
                for column, place in zip(columns, places, strict=True):
                    column.append(record[place])
                numbers.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    return Table(path, dict(zip(wanted, columns, strict=True)), "line", numbers)


def _read_parquet(path: Path, required: Sequence[str], optional: Sequence[str]) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet files need pyarrow, which is not installed; pip install 'edgemate[parquet]', "
            "or save the table as CSV"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            wanted = _wanted(path, file.schema_arrow.names, required, optional)
            table = file.read(columns=wanted)
            columns = {name: table[name].to_pylist() for name in wanted}
    except DataError:
        raise
    except Exception as error:  # a damaged file makes pyarrow raise errors of many kinds
        reason = " ".join(str(error).split())[:_REASON] or type(error).__name__
        raise DataError(f"{path} cannot be read as Parquet ({reason})") from error
    return Table(path, columns, "row", range(table.num_rows))


def _wanted(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    for name in required:
        if name not in header:
            near = closest(name, list(header))
            guess = f"; {near}" if near.endswith("?") else ""
            raise DataError(f"{path} has no column {name!r}, only {', '.join(map(repr, header))}{guess}")
    wanted = [*required, *(name for name in optional if name in header)]
    for name in wanted:
        if header.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} twice; name each column once")
    return wanted
