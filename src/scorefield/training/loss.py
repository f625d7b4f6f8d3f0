"""Objective ∘ model as one module, and the parts of a batch.

    gradient = 1/(B d) Σ_{parts} Σ_{rows i of the part} ∇ L_i,    L_i = objective(model, x_i; row i's own randomness)

B rows make the joint batch of a step, however it is cut into processes and micro-batches; d is the number of
coordinates of an example, so that learning rate and clipping do not depend on it. Row i of step k draws from the stream
number 2³² k + i: cutting cannot change the noise, and there is no state to save.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..tensors import Draws, Streams

Batch = dict[str, Any]
Objective = Callable[..., Tensor]


class Loss(nn.Module):
    """L_i = objective(model, x_i, generator, **cond): the module that is prepared for distribution.

    Score matching reaches past the model's ``forward`` (scores, velocities, divergences), so what a distributed wrapper
    must wrap is the loss and not the network. ``precision`` is the dtype of an autocast region, None for none.

    >>> loss = Loss(nn.Linear(2, 2), lambda model, x, generator=None: 0.5 * (model(x) - x).square().sum(1))
    >>> loss({"x": torch.ones(3, 2)}).shape
    torch.Size([3])
    """

    def __init__(self, model: nn.Module, objective: Objective, precision: torch.dtype | None = None):
        super().__init__()
        self.model = model
        self.objective = objective
        self.precision = precision

    def forward(self, batch: Batch, generator: Draws | None = None) -> Float[Tensor, "rows"]:
        x, cond = batch["x"], {name: value for name, value in batch.items() if name != "x"}
        with autocast(x, self.precision):
            losses = self.objective(self.model, x, generator, **cond)
        if losses.shape != x.shape[:1]:
            raise ShapeError(
                f"objective {type(self.objective).__name__} gave losses of shape {tuple(losses.shape)} for {len(x)} "
                "rows: it must return one number per example, summed over the event; training takes the mean."
            )
        return losses


def autocast(x: Tensor, precision: torch.dtype | None) -> AbstractContextManager:
    """The region in which matrix products and convolutions run in ``precision``; nothing changes if it is None.

    >>> with autocast(torch.ones(1), torch.bfloat16):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return nullcontext() if precision is None else torch.autocast(x.device.type, precision)


def as_batch(raw: object) -> Batch:
    """A tensor, or a dictionary with ``x`` and conditions, as a dictionary.

    Raises: DataError for anything else; ShapeError for no rows or a condition with another number of rows.

    >>> sorted(as_batch({"x": torch.ones(2, 3), "label": torch.zeros(2)}))
    ['label', 'x']
    """
    batch = {"x": raw} if isinstance(raw, Tensor) else raw
    if not isinstance(batch, dict) or not isinstance(batch.get("x"), Tensor):
        raise DataError(
            f"data gave a batch of type {type(raw).__name__}: a batch is a tensor (batch, *event) or a dictionary "
            "{'x': tensor, **conditions}; for pairs, yield {'x': images, 'label': labels}."
        )
    rows = batch["x"].shape[:1]
    if rows == () or rows[0] == 0:
        raise ShapeError(f"data gave a batch of shape {tuple(batch['x'].shape)}: it needs at least one row.")
    for name, value in batch.items():
        if isinstance(value, Tensor) and value.ndim > 0 and value.shape[:1] != rows:
            raise ShapeError(f"batch: {name!r} has {value.shape[0]} rows and x has {rows[0]}; they must agree.")
    return batch


def rows_of(batch: Batch, chosen: slice | Tensor) -> Batch:
    """The chosen rows of every tensor of the batch.

    >>> rows_of({"x": torch.arange(4.0), "scale": torch.tensor(2.0)}, slice(1, 3))
    {'x': tensor([1., 2.]), 'scale': tensor(2.)}
    """
    return {name: value[chosen] if isinstance(value, Tensor) and value.ndim else value for name, value in batch.items()}


def placed(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device.

    >>> placed({"x": torch.ones(1)}, torch.device("cpu"))
    {'x': tensor([1.])}
    """
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def streams(seed: int, step: int, start: int, stop: int) -> Streams:
    """The randomness of rows start..stop of a step's joint batch; step −1 is the held-out noise.

    >>> streams(0, 1, 2, 4).rows.tolist() == [2**32 + 2, 2**32 + 3]
    True
    """
    return Streams(seed, (step << 32) + torch.arange(start, stop))


def bounds(rows: int, number: int, parts: int) -> tuple[int, int]:
    """Where part ``number`` of ``parts`` of a batch begins and ends: contiguous, sizes differing by one at most.

    >>> [bounds(7, number, 3) for number in range(3)]
    [(0, 2), (2, 4), (4, 7)]
    """
    return rows * number // parts, rows * (number + 1) // parts


def endless(data: Any, start: int) -> Iterator[Any]:
    """Batches number start, start + 1, ... for ever.

    A data source says ``data.stream(start)``; any other iterable of batches is read again and again, and skipped to
    ``start``.

    Raises: DataError for a tensor, for no batches, and for an iterator that can be read once only and has ended.
    """
    if isinstance(data, Tensor):
        raise DataError(f"data is a tensor of shape {tuple(data.shape)}: train on batches, data.batches(x, 512).")
    if hasattr(data, "stream"):
        return iter(data.stream(start))
    if not isinstance(data, Iterable):
        raise DataError(f"data of type {type(data).__name__}: wanted batches, such as data.batches(x, 512).")
    return islice(_again(data), start, None)


def _again(data: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in data:
            empty = False
            yield batch
        if empty:
            raise DataError(
                "data gave no more batches before the last step: it was empty, or an iterator that can be read once; "
                "pass data.batches(x, 512) or another iterable that can be read again, or train fewer steps."
            )
