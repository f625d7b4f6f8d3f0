"""Two columns of a reader's own CSV as points of the plane, each to mean 0 and standard deviation 1.

A table stays on this machine: the page sends its text, the server keeps its numbers under the hash of the text.
"""

import csv
import hashlib
import io
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DataError, RangeError, unknown

BYTES, ROWS, COLUMNS = 4_000_000, 20_000, 200


@dataclass(frozen=True)
class Table:
    """The numeric columns of a CSV text, ``values`` (rows, columns) as they were written."""

    name: str
    id: str
    columns: tuple[str, ...]
    values: Tensor

    def points(self, first: str, second: str) -> Tensor:
        """Two columns, standardised. Raises: UnknownNameError for a column that is not there, DataError for a constant one.

        >>> read("a,b\\n1,5\\n3,9", "two.csv").points("a", "b").tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        """
        for name in (first, second):
            if name not in self.columns:
                raise unknown(f"{self.name}: column", name, self.columns)
        x = self.values[:, [self.columns.index(first), self.columns.index(second)]]
        std = x.std(0, correction=0)
        for name, spread in zip((first, second), std.tolist()):
            if spread == 0:
                raise DataError(f"{self.name}: column {name!r} is constant: choose one that varies.")
        return ((x - x.mean(0)) / std).float()


def read(text: str, name: str = "table") -> Table:
    """The numeric columns of a CSV text; a first line of numbers is a row, and columns are then 1, 2, …

    Raises: DataError, by row and column, for a text that is no table, empty cells, numbers that are not finite, and
    fewer than two numeric columns; RangeError for more than 20,000 rows, 200 columns or 4 MB.

    >>> read("x;y;who\\n1;2;a\\n3;4;b", "three.csv").columns
    ('x', 'y')
    """
    if len(text.encode()) > BYTES:
        raise RangeError(f"{name}: {len(text.encode()):,} bytes; at most {BYTES:,} are read: send a part of the rows.")
    text = text.lstrip("\ufeff")
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=mark, strict=True) if line]
    except csv.Error as error:
        raise DataError(f"{name}: this is no CSV ({error}): send lines of numbers between commas.") from error
    if not lines:
        raise DataError(f"{name}: it is empty: send a header and rows of numbers.")
    bare = all(_number(cell) is not None for cell in lines[0])
    header = [str(k + 1) for k in range(len(lines[0]))] if bare else [cell.strip() for cell in lines[0]]
    rows = lines if bare else lines[1:]
    if len(rows) < 3 and not (len(rows) == 2 and not bare):
        raise DataError(f"{name}: {len(rows)} rows of numbers: at least 2, and a header, are needed.")
    if len(rows) > ROWS or len(header) > COLUMNS:
        raise RangeError(
            f"{name}: {len(rows):,} rows of {len(header)} columns; at most {ROWS:,} and {COLUMNS} are read."
        )
    for k, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                f"{name}: row {k + 1} has {len(row)} cells, the header {len(header)}: give each row as many."
            )
    kept = [k for k in range(len(header)) if any(_number(row[k]) is not None for row in rows)]
    values = torch.tensor([[_cell(name, header[k], r + 1, row[k]) for k in kept] for r, row in enumerate(rows)])
    if len(kept) < 2:
        raise DataError(f"{name}: {len(kept)} columns of numbers: two are needed, one for each axis.")
    names = tuple(header[k] or str(k + 1) for k in kept)
    if len(set(names)) != len(names):
        raise DataError(f"{name}: two columns of one name: give each its own.")
    return Table(name, hashlib.sha256(text.encode()).hexdigest()[:16], names, values)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _cell(name: str, column: str, row: int, cell: str) -> float:
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise DataError(
            f"{name}: column {column!r}, row {row}: {cell[:40]!r} is no finite number: mend or drop the row."
        )
    return value
