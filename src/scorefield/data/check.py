"""What every loader asks of its numbers: at least one row, real, finite.

Positions are told twice: ``x[3, 1]`` counts from 0 as Python does, "row 4, column 'age'" from 1 as a reader of the
file does.
"""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from ..errors import DataError, MissingPackageError
from ..tensors import require_tensor


def check(
    x: Shaped[Tensor, "batch *event"], what: str, *, columns: Sequence[str] = ()
) -> Shaped[Tensor, "batch *event"]:
    """x itself, known to be real, finite and not empty: every loader and every source of batches starts here.

    what: the name of the data in the message; columns: names for the entries of the last axis of a table.

    Raises: DataError with the row and the column of the first value that is NaN or infinite.

    >>> check(torch.tensor([[1.0, 2.0], [3.0, float("nan")]]), "ages.csv")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: ages.csv: x[1, 1] is nan (row 2, column 2): drop or fill values that are not finite.
    """
    require_tensor(x, what)
    if x.numel() == 0:
        raise DataError(
            f"{what}: no values in shape {tuple(x.shape)}: at least one row of at least one value is needed."
        )
    if x.is_complex():
        raise DataError(f"{what}: complex numbers ({x.dtype}): give real and imaginary parts as two real columns.")
    if not x.is_floating_point():
        return x
    finite = torch.isfinite(x)
    if finite.all():
        return x
    bad = (~finite).nonzero()
    first = tuple(bad[0].tolist())
    more = f", and {len(bad) - 1} more are not finite" if len(bad) > 1 else ""
    where = position(first, columns)
    raise DataError(
        f"{what}: {where[0]} is {x[first].item()} ({where[1]}){more}: drop or fill values that are not finite."
    )


def position(index: Sequence[int], columns: Sequence[str] = ()) -> tuple[str, str]:
    """The place of a value twice: as Python counts, and as a reader does.

    >>> position((3, 1), ["name", "age"])
    ('x[3, 1]', "row 4, column 'age'")
    """
    reader = f"row {index[0] + 1}"
    if len(index) == 2:
        reader += f", column {columns[index[1]]!r}" if len(columns) else f", column {index[1] + 1}"
    return f"x[{', '.join(map(str, index))}]", reader


def to_tensor(array: np.ndarray, what: str) -> Shaped[Tensor, "..."]:
    """The same numbers in torch, whatever their byte order or width, with 0 and 1 for false and true.

    Raises: DataError for an array that does not hold numbers.

    >>> to_tensor(np.array([1, 2], dtype=">i2"), "counts")
    tensor([1, 2], dtype=torch.int16)
    """
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"{what}: values of dtype {array.dtype}, numbers wanted: save the numeric part as its own array."
        )
    native = {"b1": "u1", "u2": "i4", "u4": "i8", "u8": "f8", "f2": "f4", "f16": "f8", "c32": "c16"}
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    dtype = np.dtype(native.get(kind, array.dtype.newbyteorder("=")))
    return torch.from_numpy(np.array(array, dtype=dtype, order="C"))


def require(module: str, purpose: str) -> ModuleType:
    """The module of that name, imported when it is first needed.

    Raises: MissingPackageError with the command that installs it.

    >>> require("math", "arithmetic").sqrt(4.0)
    2.0
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingPackageError(
            f"{package} is not installed, and {purpose} needs it: pip install 'scorefield[data]'."
        ) from error
