"""One word for any data: what the command line takes after ``--data``."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError, unknown
from .arrays import arrays
from .dataset import Dataset
from .digits import digits, digits8
from .huggingface import MARKS, huggingface
from .idx import idx, is_idx
from .images import images
from .table import table

_CARRIED = {"digits": digits, "digits8": digits8}
_ARRAYS, _TABLES = (".npy", ".npz"), (".csv", ".tsv", ".parquet")


def open_data(
    source: str | Path,
    *,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """What a word means: ``digits``, ``digits8``, ``hf:NAME``, a file, a folder of IDX, pictures or Hugging Face data.

    columns, label: for tables and Hugging Face data; the columns to use, and the one of classes.

    Raises: UnknownNameError for a word that means nothing, with the nearest that does; DataError for a path that is
    not there or a file of unknown suffix, and all that the loaders refuse.

    >>> open_data("digts")
    Traceback (most recent call last):
        ...
    scorefield.errors.UnknownNameError: data 'digts' is not known: did you mean 'digits'? Known: a file, \
a folder, digits, digits8, hf:NAME.
    """
    word = str(source)
    if word == "hf:":
        raise DataError("hf: names no data set; write hf:NAME, such as hf:ylecun/mnist.")
    if word.startswith("hf:"):
        return huggingface(word[3:], columns=columns, label=label, held_out=held_out, seed=seed)
    path = Path(word).expanduser()
    if word not in _CARRIED and not path.exists():
        if "/" in word or path.suffix or word.startswith("~"):
            raise DataError(f"{word}: no file and no folder of that name (looked for {path.absolute()}).")
        raise unknown("data", word, [*_CARRIED, "hf:NAME", "a file", "a folder"])
    tabular = path.suffix.lower() in _TABLES and path.is_file()
    saved = path.is_dir() and any((path / mark).is_file() for mark in MARKS)
    if tabular:
        return table(path, columns=columns, label=label, held_out=held_out, seed=seed)
    if saved:
        return huggingface(path.resolve(), columns=columns, label=label, held_out=held_out, seed=seed)
    if columns or label:
        raise DataError(f"{word}: columns and labels are chosen for tables and Hugging Face data only: leave them out.")
    if word in _CARRIED:
        return _CARRIED[word](held_out=held_out, seed=seed)
    if path.is_dir():
        reader = idx if any(is_idx(p) for p in path.iterdir()) else images
        return reader(path, held_out=held_out, seed=seed)
    if is_idx(path):
        return idx(path, held_out=held_out, seed=seed)
    if path.suffix.lower() in _ARRAYS:
        return arrays(path, held_out=held_out, seed=seed)
    raise DataError(f"{path}: suffix {path.suffix!r}, one of {', '.join((*_ARRAYS, *_TABLES))} wanted.")
