"""Data sets of the Hugging Face hub or in its formats on disk, whole in memory.

One column of pictures gives pictures, one column of arrays those arrays, and otherwise the columns of numbers give a
table. What does not fit memory streams instead: see `hub_stream`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DataError, unknown
from .arrays import from_array
from .check import require, to_tensor
from .dataset import Dataset
from .images import decode, stack
from .scaling import Scaling
from .table import from_frame

MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")


def huggingface(
    name: str | Path,
    *,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    split: str = "train",
    config: str | None = None,
    scaling: Scaling | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """The data set of that name on the hub, or a folder that it saved or can load, as rows in the model's units.

    columns: those to use, by default the only column of pictures or arrays, else all of numbers; label: the column of
    classes; config: which of its variants.

    Raises: DataError for what cannot be loaded, text columns, pictures of several sizes and all that other loaders
    refuse; UnknownNameError for a column or split that is not there; MissingPackageError without ``datasets``.

    >>> huggingface("/nowhere/at/all")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: /nowhere/at/all: no folder of that name.
    """
    rows = load_rows(name, split=split, config=config)
    title = Path(name).name if is_path(name) else str(name)
    for wanted in (*(columns or ()), *([label] if label else ())):
        if wanted not in rows.features:
            raise unknown(f"{title}: column", wanted, rows.features)
    special = special_columns(rows.features, columns, label)
    names = getattr(rows.features[label], "names", ()) if label else ()
    if not special:
        frame = rows.select_columns([c for c in rows.features if not columns or c in (*columns, label)]).to_pandas()
        return from_frame(
            frame,
            name=title,
            columns=columns,
            label=label,
            classes=names,
            scaling=scaling,
            held_out=held_out,
            seed=seed,
        )
    column = only(special, title)
    if len(rows) == 0:
        raise DataError(f"{title}: split {split!r} has no rows.")
    if is_image(rows.features[column]):
        cells = undecoded(rows, column)[column]
        x = stack(
            (f"{title}, row {i + 1}", picture(stored(cell), f"{title}, row {i + 1}")) for i, cell in enumerate(cells)
        )
        scaling = scaling or Scaling.pixels()
    else:
        try:
            x = to_tensor(np.asarray(rows.with_format(None)[column][:]), title)
        except ValueError as error:
            raise DataError(f"{title}: arrays of several shapes in column {column!r}, one shape wanted.") from error
    labels = None
    if label:
        values = np.asarray(rows[label][:])
        if values.dtype.kind not in "iu":
            raise DataError(
                f"{title}: label {label!r} holds {values.dtype}, whole numbers wanted: encode it as classes."
            )
        labels = torch.from_numpy(values).long()
    return from_array(x, name=title, labels=labels, scaling=scaling, held_out=held_out, seed=seed)


def load_rows(name: str | Path, *, split: str, config: str | None = None, streaming: bool = False) -> Any:
    """The rows as ``datasets`` gives them: from a folder saved by it, a folder it understands, or the hub.

    Raises: DataError for what cannot be loaded; UnknownNameError for a split that is not there.

    >>> load_rows("./nowhere", split="train")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: nowhere: no folder of that name.
    """
    library = require("datasets", "Hugging Face data")
    path = Path(name).expanduser()
    if is_path(name) and not path.is_dir():
        raise DataError(f"{path}: no folder of that name.")
    try:
        if path.is_dir() and any((path / mark).is_file() for mark in MARKS):
            found = library.load_from_disk(str(path))
            if isinstance(found, library.DatasetDict):
                if split not in found:
                    raise unknown(f"{path}: split", split, found)
                found = found[split]
            return found.to_iterable_dataset() if streaming else found
        return library.load_dataset(str(path if path.is_dir() else name), config, split=split, streaming=streaming)
    except (OSError, ValueError, KeyError, library.exceptions.DatasetsError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{name}: not loaded, split {split!r}: {reason or type(error).__name__}: check the name, the "
            f"split and the network."
        ) from error


def is_path(name: str | Path) -> bool:
    """Whether a name means a folder here and not one on the hub, where names are ``name`` or ``owner/name``.

    >>> is_path("ylecun/mnist"), is_path("./mnist")
    (False, True)
    """
    text = str(name)
    return isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1 or Path(text).is_dir()


def is_image(feature: Any) -> bool:
    """Whether a column holds pictures.

    >>> import datasets
    >>> is_image(datasets.Image()), is_image(datasets.Value("float32"))
    (True, False)
    """
    return type(feature).__name__ == "Image"


def special_columns(features: Any, columns: Sequence[str] | None, label: str | None) -> list[str]:
    """The columns among the chosen ones that hold pictures or arrays rather than single numbers.

    >>> import datasets
    >>> special_columns({"a": datasets.Value("int8"), "b": datasets.Image()}, None, None)
    ['b']
    """
    chosen = columns or [c for c in features if c != label]
    return [
        c for c in chosen if not hasattr(features[c], "dtype") or is_image(features[c]) or hasattr(features[c], "shape")
    ]


def only(columns: Sequence[str], name: str) -> str:
    """The one column of that list.

    Raises: DataError when there are several.

    >>> only(["image"], "mnist")
    'image'
    """
    if len(columns) > 1:
        raise DataError(f"{name}: columns {', '.join(columns)} hold pictures or arrays: choose one with columns=.")
    return columns[0]


def undecoded(rows: Any, column: str) -> Any:
    """The same rows with the pictures of that column as stored bytes, so that what is skipped is never decoded.

    >>> import datasets
    >>> rows = datasets.Dataset.from_dict({"x": [None]}, datasets.Features({"x": datasets.Image()}))
    >>> undecoded(rows, "x").features["x"].decode
    False
    """
    library = require("datasets", "Hugging Face data")
    return rows.cast_column(column, library.Image(decode=False))


def stored(cell: dict | None) -> bytes:
    """The bytes of a picture as a data set keeps them, in itself or in a file here or on the hub; none for none.

    Raises: DataError for a file that is not there.

    >>> stored({"bytes": b"abc", "path": None}), stored(None)
    (b'abc', b'')
    """
    if cell and not cell["bytes"] and cell["path"]:
        try:
            with require("fsspec", "Hugging Face data").open(cell["path"], "rb") as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{cell['path']}: a picture of the data set cannot be read: load it again.") from error
    return (cell or {}).get("bytes") or b""


def picture(content: bytes, name: str) -> np.ndarray:
    """A stored picture as red, green and blue bytes.

    Raises: DataError, by name, for one that is missing or cannot be read.

    >>> picture(b"", "mnist, row 7")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: mnist, row 7: no picture: drop the row.
    """
    if not content:
        raise DataError(f"{name}: no picture: drop the row.")
    return decode(content, name)
