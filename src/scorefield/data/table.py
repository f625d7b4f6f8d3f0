"""Tables of numbers, from CSV or Parquet: one row per example, each column to mean 0 and standard deviation 1.

A column of text is no number, so it is named and refused rather than dropped in silence; as ``label=`` it gives the
classes.
"""

import csv
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DataError, unknown
from .check import require, to_tensor
from .dataset import Dataset, prepare
from .scaling import Scaling


def table(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    scaling: Scaling | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """The numeric columns of a ``.csv``, ``.tsv`` or ``.parquet`` file, standardised by the training rows.

    columns: those to use, all but the label by default; label: the column of classes, numbers or text. A CSV file
    whose first line is all numbers has no header, and its columns are named 1, 2, …

    Raises: DataError for a file that is missing, unreadable, empty or of one row, for text, constant columns and
    values that are not finite, each by name; UnknownNameError for a column that is not there.

    >>> table("nowhere.csv")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: nowhere.csv: no file of that name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file}: no file of that name.")
    pandas = require("pandas", "reading tables")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frame = pandas.read_parquet(file) if file.suffix.lower() == ".parquet" else _csv(pandas, file)
    except ImportError as error:
        require("pyarrow", "reading Parquet")
        raise DataError(f"{file}: cannot be read as a table ({error}).") from error
    except (OSError, ValueError, csv.Error, Warning) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: cannot be read as a table ({reason}): check the file.") from error
    return from_frame(
        frame, name=file.name, columns=columns, label=label, scaling=scaling, held_out=held_out, seed=seed
    )


def from_frame(
    frame: Any,
    *,
    name: str,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    classes: Sequence[str] = (),
    scaling: Scaling | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """The numeric columns of a pandas DataFrame, standardised by the training rows.

    classes: names of the label's numbers, where they have some.

    Raises: DataError and UnknownNameError as `table`.

    >>> import pandas
    >>> from_frame(pandas.DataFrame({"a": range(10), "b": "xy" * 5, "c": [1, 2] * 5}), name="ten", columns=["a", "c"])
    ten: 9 rows of shape (2,), 1 held out
    """
    frame = frame.rename(columns=str)
    for wanted in (*(columns or ()), *([label] if label else ())):
        if wanted not in frame.columns:
            raise unknown(f"{name}: column", wanted, frame.columns)
    chosen = list(columns) if columns else [c for c in frame.columns if c != label]
    if not chosen or len(frame) == 0:
        raise DataError(f"{name}: {len(frame)} rows of {len(chosen)} columns: a table with rows and columns is needed.")
    text = [c for c in chosen if not _numeric(frame[c])]
    if text:
        rest = [c for c in chosen if c not in text]
        remedy = f"choose the numeric ones with columns={rest}" if rest else "give a table of numbers"
        raise DataError(f"{name}: column {', '.join(map(repr, text))} holds no numbers: {remedy}.")
    x = to_tensor(frame[chosen].to_numpy(dtype=np.float64, na_value=np.nan), name)
    labels = None
    if label:
        if frame[label].isna().any():
            row = int(frame[label].isna().to_numpy().argmax())
            raise DataError(f"{name}: label {label!r} is missing in row {row + 1}: fill it or drop the row.")
        if not classes:
            values = frame[label] if _numeric(frame[label]) else frame[label].astype(str)
            names, codes = np.unique(values.to_numpy(dtype=None if _numeric(values) else str), return_inverse=True)
            classes, labels = [str(n) for n in names], torch.from_numpy(codes.reshape(-1)).long()
        else:
            labels = torch.from_numpy(frame[label].to_numpy(dtype=np.int64, copy=True))
    rule = scaling or partial(Scaling.standardise, columns=chosen, name=name)
    return prepare(
        x, name=name, scaling=rule, labels=labels, held_out=held_out, seed=seed, columns=chosen, classes=classes
    )


def _csv(pandas: Any, file: Path) -> Any:
    with open(file, newline="", encoding="utf-8-sig") as lines:
        first = lines.readline()
    mark = max(",;\t", key=first.count)
    bare = all(_is_number(cell) for cell in next(csv.reader([first], delimiter=mark), [""]))
    # index_col=False: pandas would otherwise take a first column without a name for row names, in silence.
    frame = pandas.read_csv(
        file, sep=mark, header=None if bare else 0, index_col=False, encoding="utf-8-sig", low_memory=False
    )
    return frame.rename(columns=lambda c: str(c + 1)) if bare else frame


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numeric(column: Any) -> bool:
    kind = getattr(column.dtype, "kind", "O")
    return kind in "biuf" or (kind == "O" and bool(column.isna().all()))
