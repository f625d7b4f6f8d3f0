"""Data ready for a model: scaled rows to train on, rows held out, and the way back to the units they came in.

Every loader checks, then splits, then scales, in this order: the scaling of a table is measured on its training rows
alone, so that nothing about the held-out rows leaks into the model.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float, Int, Num
from torch import Tensor

from ..errors import DataError, ShapeError
from .batches import Batches, batches
from .check import check
from .scaling import Scaling
from .split import split


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in the model's units, apart: ``train`` to learn from, ``held_out`` to judge by; ``scaling`` leads back.

    Every loader of this package returns one. ``labels`` are class numbers, ``classes`` their names where they have
    some, ``columns`` the names of a table's columns.

    Raises: ShapeError if the two parts hold events of different shapes; DataError if labels and rows differ in number.

    >>> import torch
    >>> data = Dataset(torch.zeros(3, 2), torch.ones(1, 2), Scaling.identity(), name="squares")
    >>> data.shape, data
    ((2,), squares: 3 rows of shape (2,), 1 held out)
    """

    train: Float[Tensor, "train *event"]
    held_out: Float[Tensor, "held *same"]
    scaling: Scaling
    labels: Int[Tensor, "rows"] | None = None
    held_out_labels: Int[Tensor, "held_rows"] | None = None
    name: str = "data"
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.train.shape[1:] != self.held_out.shape[1:]:
            raise ShapeError(
                f"{self.name}: training events of shape {tuple(self.train.shape[1:])}, held-out events of shape "
                f"{tuple(self.held_out.shape[1:])}: both must be the same."
            )
        for rows, labels in ((self.train, self.labels), (self.held_out, self.held_out_labels)):
            if labels is not None and len(labels) != len(rows):
                raise DataError(f"{self.name}: {len(labels)} labels for {len(rows)} rows: give one per row.")

    def __repr__(self) -> str:
        return f"{self.name}: {len(self.train)} rows of shape {self.shape}, {len(self.held_out)} held out"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of SHA-256 over the numbers, shapes and labels of both parts: other data, other digits.

        >>> import torch
        >>> Dataset(torch.zeros(3, 2), torch.ones(1, 2), Scaling.identity()).fingerprint
        '29873bd6f5d5964c'
        """
        digest = hashlib.sha256()
        for part in (self.train, self.held_out, self.labels, self.held_out_labels):
            digest.update(b"none" if part is None else f"{tuple(part.shape)}{part.dtype}".encode())
            if part is not None:
                digest.update(part.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def batches(self, size: int, *, seed: int = 0) -> Batches:
        """An endless source of batches of the training rows, without labels.

        >>> import torch
        >>> Dataset(torch.zeros(3, 2), torch.ones(1, 2), Scaling.identity()).batches(2).at(0).shape
        torch.Size([2, 2])
        """
        return batches(self.train, size, seed=seed)


def prepare(
    x: Num[Tensor, "batch *event"],
    *,
    name: str,
    scaling: Scaling | Callable[[Tensor], Scaling],
    labels: Int[Tensor, "rows"] | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    columns: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Dataset:
    """Check, split, scale: raw rows to a `Dataset`.

    scaling: how to reach the model's units, or a function that finds it from the training rows.

    Raises: DataError for rows that are empty, not finite, all equal or only one; RangeError for held_out outside (0,
    1).

    >>> import torch
    >>> prepare(torch.arange(10.0)[:, None], name="ten", scaling=Scaling.standardise)
    ten: 9 rows of shape (1,), 1 held out
    """
    check(x, name, columns=columns)
    if labels is not None and len(labels) != len(x):
        raise DataError(f"{name}: {len(labels)} labels for {len(x)} rows: give one per row.")
    train, held = split(x, held_out, seed, labels, name)
    found = scaling if isinstance(scaling, Scaling) else scaling(x[train])
    scaled = check(found.to_model(x).float(), f"{name}, scaled for the model in float32", columns=columns)
    return Dataset(
        train=scaled[train],
        held_out=scaled[held],
        scaling=found,
        labels=None if labels is None else labels[train],
        held_out_labels=None if labels is None else labels[held],
        name=name,
        columns=tuple(columns),
        classes=tuple(classes),
    )
