"""Numpy's files: rows of numbers, or pictures.

Two axes (or one) are a table, whose columns go to mean 0 and standard deviation 1. Three or four axes are pictures,
whose values go onto −1..1. No pickle is ever read.
"""

import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, Num
from torch import Tensor

from ..errors import DataError
from .check import check, to_tensor
from .dataset import Dataset, prepare
from .pixels import channels_first, pixel_scaling
from .scaling import Scaling

_LABELS = ("labels", "y")


def arrays(path: str | Path, *, scaling: Scaling | None = None, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """The rows of a ``.npy`` file, or of the array ``x`` (or the only one) of an ``.npz`` file, with its ``labels``.

    scaling: how to reach the model's units, where the data's own values do not say it. Labels may be named ``y`` too.

    Raises: DataError for a file that is missing, no array, pickled, empty, of one row, not finite, a constant column,
    or pictures outside 0..255.

    >>> arrays("nowhere.npy")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: nowhere.npy: no file of that name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file}: no file of that name.")
    try:
        with open(file, "rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            found = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{file}: no numpy file of plain numbers ({_line(error)}): "
            "save it anew with numpy.save; pickles are not read."
        ) from error
    x, labels = _choose(found, str(file))
    y = None if labels is None else _classes(to_tensor(labels, f"{file}, labels"), str(file))
    return from_array(to_tensor(x, str(file)), name=file.name, labels=y, scaling=scaling, held_out=held_out, seed=seed)


def from_array(
    x: Num[Tensor, "..."],
    *,
    name: str,
    labels: Int[Tensor, "rows"] | None = None,
    scaling: Scaling | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Rows of numbers or pictures, by the number of axes, as a `Dataset`.

    Raises: DataError as `arrays`.

    >>> import torch
    >>> from_array(torch.arange(512).reshape(8, 8, 8) % 200, name="squares")
    squares: 7 rows of shape (1, 8, 8), 1 held out
    """
    if x.ndim == 0:
        raise DataError(f"{name}: a single number, rows wanted.")
    x = channels_first(check(x[:, None] if x.ndim == 1 else x, name))
    rule = scaling or (partial(Scaling.standardise, name=name) if x.ndim == 2 else pixel_scaling(x, name))
    return prepare(x, name=name, scaling=rule, labels=labels, held_out=held_out, seed=seed)


def _choose(found: dict[str, np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray | None]:
    labels = next((found[key] for key in _LABELS if key in found), None)
    data = [key for key in found if key not in _LABELS]
    if "x" not in found and len(data) != 1:
        raise DataError(f"{what}: holds {', '.join(sorted(found)) or 'nothing'}: one array, or one named x, wanted.")
    return found["x" if "x" in found else data[0]], labels


def _classes(labels: Tensor, what: str) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"{what}: labels of shape {tuple(labels.shape)} and {labels.dtype}: one whole number per row wanted."
        )
    return labels.long()


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
