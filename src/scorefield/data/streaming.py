"""Data that do not fit memory: the first rows held out, the others in endless shuffled epochs.

Batch k is a pure function of (data set, size, seed, k): epoch e reads the rows but the held-out ones through a
shuffle buffer seeded by (seed, e), epochs follow each other for ever, and batch k is the k-th run of ``size`` rows.
To start at batch k the rows before it are read and dropped undecoded, which costs reading but no memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from ..errors import DataError, RangeError, unknown
from .batches import Batch
from .check import check, require, to_tensor
from .huggingface import is_image, load_rows, only, picture, special_columns, stored, undecoded
from .images import stack
from .pixels import channels_first, pixel_scaling
from .scaling import Scaling


@dataclass(frozen=True, eq=False)
class HubStream:
    """Rows of a Hugging Face data set as they arrive: ``held_out`` in memory, the rest by ``stream``.

    Use `hub_stream` to make one, and `huggingface` for data that fit memory. With a label a batch is a dict of ``x``
    and ``label``, otherwise a tensor.

    Raises: DataError in ``stream`` for rows that are not finite, outside what the scaling means, or of another shape.

    >>> import datasets
    >>> from tempfile import TemporaryDirectory
    >>> datasets.disable_progress_bars()
    >>> with TemporaryDirectory() as folder:
    ...     datasets.Dataset.from_dict({"x": [0.0, 1.0, 3.0]}).save_to_disk(folder)
    ...     next(hub_stream(folder, 2, held_out=1).stream()).sort(0).values
    tensor([[-1.],
            [ 1.]])
    """

    rows: Any = field(repr=False)
    columns: tuple[str, ...]
    label: str | None
    held_out: Float[Tensor, "held *event"] = field(repr=False)
    held_out_labels: Int[Tensor, "held"] | None = field(repr=False)
    scaling: Scaling
    size: int
    seed: int
    buffer: int
    name: str
    bounded: bool = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.held_out.shape[1:])

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Batches start, start + 1, … for ever, none of them with a row that is held out."""
        if start < 0:
            raise RangeError(f"HubStream.stream({start}): batches count from 0.")
        rows = islice(self._rows(), start * self.size, None)
        step = start
        while True:
            batch = list(islice(rows, self.size))
            yield self._scaled(batch, f"{self.name}, batch {step}")
            step += 1

    def _rows(self) -> Iterator[dict]:
        apart = len(self.held_out)
        seen = {_key(_load(row), self.columns) for row in self.rows.take(apart)}
        epoch = 0
        while True:
            seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
            empty = True
            for row in map(_load, self.rows.shuffle(seed=seed, buffer_size=self.buffer)):
                if _key(row, self.columns) not in seen:
                    empty = False
                    yield row
            if empty:
                raise DataError(f"{self.name}: no rows besides the {apart} held out: hold out fewer.")
            epoch += 1

    def _scaled(self, batch: list[dict], what: str) -> Batch:
        raw = _tensor(batch, self.columns, what)
        if raw.ndim == 4 and raw.shape[1] == 1 and self.shape[0] == 3:
            raw = raw.expand(-1, 3, -1, -1)
        if tuple(raw.shape[1:]) != self.shape:
            raise DataError(
                f"{what}: rows of shape {tuple(raw.shape[1:])}, {self.shape} in the rows before: one wanted."
            )
        x = self.scaling.to_model(raw).float()
        if self.bounded and x.abs().max() > 1:
            raise DataError(
                f"{what}: values outside those of the held-out pictures' kind ({self.scaling}): pass scaling=."
            )
        return {"x": x, "label": _labels(batch, self.label, what)} if self.label else x


def hub_stream(
    name: str | Path,
    size: int,
    *,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    split: str = "train",
    config: str | None = None,
    scaling: Scaling | None = None,
    held_out: int = 1000,
    buffer: int = 10_000,
    seed: int = 0,
) -> HubStream:
    """A Hugging Face data set in endless batches of ``size``, never whole in memory.

    The first ``held_out`` rows are kept apart for ever, as is every row equal to one of them. The scaling of a table
    comes from the next ``buffer`` rows. Pictures count as grey if the held-out ones are. buffer: rows in memory to
    shuffle among; label: a column of whole numbers.

    Raises: RangeError for size, held_out or buffer below 1; DataError and UnknownNameError as `huggingface`.

    >>> hub_stream("/nowhere/at/all", 32)
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: /nowhere/at/all: no folder of that name.
    """
    for word, number in (("size", size), ("held_out", held_out), ("buffer", buffer)):
        if number < 1:
            raise RangeError(f"hub_stream({word}={number}): {word} must be at least 1.")
    title = str(name)
    rows = load_rows(name, split=split, config=config, streaming=True)
    features = rows.features
    if features is None:
        library = require("datasets", "Hugging Face data")
        features = library.Dataset.from_list(list(rows.take(held_out))).features
    chosen = _chosen(features, columns, label, title)
    if is_image(features[chosen[0]]):
        rows = undecoded(rows, chosen[0])
    rows = rows.select_columns([*chosen, *([label] if label else [])])
    first = [_load(row) for row in rows.take(held_out)]
    if len(first) < held_out or next(iter(rows.skip(held_out)), None) is None:
        raise DataError(f"{title}: {len(first)} rows, more than held_out={held_out} wanted: hold out fewer.")
    held = _tensor(first, chosen, title)
    found = scaling
    if found is None and held.ndim == 2:
        found = Scaling.standardise(_tensor(list(rows.skip(held_out).take(buffer)), chosen, title), chosen, title)
    found = found or pixel_scaling(held, title)
    return HubStream(
        rows,
        chosen,
        label,
        found.to_model(held).float(),
        _labels(first, label, title) if label else None,
        found,
        size,
        seed,
        buffer,
        title,
        scaling is None and held.ndim > 2,
    )


def _chosen(features: Any, columns: Sequence[str] | None, label: str | None, name: str) -> tuple[str, ...]:
    for wanted in (*(columns or ()), *([label] if label else ())):
        if wanted not in features:
            raise unknown(f"{name}: column", wanted, features)
    special = special_columns(features, columns, label)
    if special:
        return (only(special, name),)
    chosen = tuple(columns or (c for c in features if c != label))
    text = [c for c in chosen if not features[c].dtype.startswith(("int", "uint", "float", "double", "bool"))]
    if text:
        rest = [c for c in chosen if c not in text]
        raise DataError(f"{name}: column {', '.join(map(repr, text))} holds no numbers: choose with columns={rest}.")
    return chosen


def _key(row: dict, columns: Sequence[str]) -> bytes:
    cells = [row[c] for c in columns]
    # −0 equals 0, and is written otherwise.
    parts = [c if isinstance(c, bytes) else repr(c + 0.0 if isinstance(c, float) else c).encode() for c in cells]
    return blake2b(b"\0".join(parts), digest_size=16).digest()


def _load(row: dict) -> dict:
    return {name: stored(cell) if isinstance(cell, dict) else cell for name, cell in row.items()}


def _labels(batch: list[dict], label: str, what: str) -> Int[Tensor, "batch"]:
    values = [row[label] for row in batch]
    if not all(isinstance(value, int) for value in values):
        raise DataError(f"{what}: label {label!r} holds other than whole numbers: encode it as classes.")
    return torch.tensor(values, dtype=torch.int64)


def _tensor(batch: list[dict], columns: Sequence[str], what: str) -> Num[Tensor, "batch *event"]:
    cells = [row[columns[0]] for row in batch]
    if isinstance(cells[0], bytes):
        return stack((f"{what}, row {i + 1}", picture(cell, f"{what}, row {i + 1}")) for i, cell in enumerate(cells))
    if isinstance(cells[0], (list, tuple, np.ndarray)):
        try:
            x = to_tensor(np.asarray(cells), what)
        except ValueError as error:
            raise DataError(f"{what}: arrays of several shapes in column {columns[0]!r}, one shape wanted.") from error
        return channels_first(check(x, what))
    numbers = [[float("nan") if row[c] is None else float(row[c]) for c in columns] for row in batch]
    return check(torch.tensor(numbers, dtype=torch.float64), what, columns=columns)
