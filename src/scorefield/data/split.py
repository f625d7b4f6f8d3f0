"""Rows to learn from and rows to judge by, with no row in both.

A held-out figure is honest only if the model never saw the row, so rows that are equal, number for number, go to one
side together. With labels, each class gives the same fraction as nearly as its groups of equal rows allow.
"""

import hashlib
from collections.abc import Hashable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..errors import DataError, RangeError


def split(
    x: Shaped[Tensor, "batch *event"],
    fraction: float = 0.1,
    seed: int = 0,
    labels: Int[Tensor, "batch"] | None = None,
    name: str = "split",
) -> tuple[Int[Tensor, "train"], Int[Tensor, "held"]]:
    """(rows to train on, rows held out), by number: disjoint, sorted, equal rows on one side, a function of the seed.

    labels: one class number per row; every class is then held out in the same fraction; name: of the data, for
    messages.

    Raises: RangeError for a fraction outside (0, 1); DataError when no row can be kept apart.

    >>> train, held = split(torch.arange(10.0), 0.2, labels=torch.arange(10) % 2)
    >>> len(train), sorted((held % 2).tolist())
    (8, [0, 1])
    """
    if not 0 < fraction < 1:
        raise RangeError(f"split(fraction={fraction}): the held-out fraction must lie between 0 and 1.")
    if len(x) < 2:
        raise DataError(f"{name}: one row, at least 2 wanted: one to train on and one to hold out.")
    classes = np.zeros(len(x), dtype=np.int64) if labels is None else labels.cpu().numpy()
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys(x)):
        groups.setdefault(key, []).append(row)
    if len(groups) < 2:
        raise DataError(f"{name}: all {len(x)} rows are equal, so none can be kept apart: data that vary are needed.")
    names, counts = np.unique(classes, return_counts=True)
    room = {c: min(round(fraction * k), k - 1) for c, k in zip(names.tolist(), counts.tolist())}
    members = list(groups.values())
    order = [members[i] for i in np.random.default_rng(seed).permutation(len(members))]
    held: list[int] = []
    for group in order:
        where = int(classes[group[0]])
        if len(group) <= room[where]:
            room[where] -= len(group)
            held += group
    if not held:
        held = min(order, key=len)
    apart = np.zeros(len(x), dtype=bool)
    apart[held] = True
    return torch.from_numpy(np.flatnonzero(~apart)), torch.from_numpy(np.flatnonzero(apart))


def keys(x: Shaped[Tensor, "batch *event"]) -> list[bytes]:
    """One key per row, equal where the rows are equal; −0 counts as 0.

    >>> first, second, third = keys(torch.tensor([[0.0], [-0.0], [1.0]]))
    >>> first == second, first == third
    (True, False)
    """
    flat = (x + 0.0 if x.is_floating_point() else x).detach().cpu().reshape(len(x), -1).contiguous().numpy()
    return [hashlib.blake2b(row, digest_size=16).digest() for row in flat]


def unseen(x: Shaped[Tensor, "batch *event"], others: Shaped[Tensor, "other *event"]) -> Int[Tensor, "rows"]:
    """The row numbers of x that occur nowhere among the others.

    Use it to take from a training part what a published test part repeats.

    >>> unseen(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0]))
    tensor([0, 2])
    """
    seen = set(keys(others))
    return torch.tensor([row for row, key in enumerate(keys(x)) if key not in seen], dtype=torch.int64)
