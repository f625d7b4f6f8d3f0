"""Shapes and randomness.

Shapes: ``x`` is ``(batch, *event)`` and ``t`` is ``()`` or ``(batch,)``; `expand` views the one against the other.

Randomness: row i of a draw from ``Streams(seed, rows)`` is a function of ``(seed, rows[i], k)`` alone, k counting
the draws so far (of ``(seed[i], rows[i], k)`` where every row has a seed of its own): block b of row r is the
Philox-4x32-10 cipher of the counter ``(b, k, r mod 2³², r div 2³²)`` under the key ``seed``. Batch size, order, chunks,
processes and devices cannot change it, and there is no state to save.
Normals come by Box and Muller: √(−2 ln u₁) (cos 2πu₂, sin 2πu₂), in float64.

Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", SC'11, doi:10.1145/2063384.2063405.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .errors import ShapeError

_MASK = 0xFFFFFFFF
_LOW, _HALF = np.uint64(_MASK), np.uint64(32)
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
_GLOBAL = RLock()


def require_tensor(x: object, who: str) -> None:
    """Refuses arrays, frames and lists, with the line that makes a tensor of them. Raises: ShapeError.

    >>> require_tensor(np.zeros((2, 3)), "fit")
    Traceback (most recent call last):
    ...
    scorefield.errors.ShapeError: fit: data of type numpy.ndarray; a torch.Tensor wanted: torch.as_tensor(x).
    """
    if not isinstance(x, Tensor):
        kind = type(x)
        way = "torch.as_tensor(x.to_numpy())" if hasattr(x, "to_numpy") else "torch.as_tensor(x)"
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        )
        raise ShapeError(f"{who}: data of type {name}; a torch.Tensor wanted: {way}.")


def expand(t: Shaped[Tensor, "*batch"] | float, x: Float[Tensor, "batch *event"]) -> Tensor:
    """t of shape () or (batch,), viewed so that it multiplies x of shape (batch, \\*event) row by row.

    Raises: ShapeError for any other shape of t.

    >>> expand(torch.tensor([1.0, 2.0]), torch.ones(2, 3))
    tensor([[1.],
            [2.]])
    """
    t = torch.as_tensor(t, device=x.device)
    if t.ndim == 0:
        return t
    if t.ndim != 1 or t.shape[0] != x.shape[0]:
        raise ShapeError(f"t of shape {tuple(t.shape)} against x of shape {tuple(x.shape)}: t must be () or (batch,).")
    return t.reshape(-1, *(1,) * (x.ndim - 1))


def sum_event(x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch"]:
    """Σ over the event of each row: one number per example.

    >>> sum_event(torch.ones(2, 3, 4))
    tensor([12., 12.])
    """
    return x.flatten(1).sum(1) if x.ndim > 1 else x


class Streams:
    """Randomness by row: row i's k-th draw is Philox(seed; rows[i], k), whatever else is in the batch.

    Use it wherever a ``generator`` is asked for, when example i must see the same noise in any batch, chunk or process.

    >>> first = normal(torch.empty(3, 2), Streams(0, [5, 6, 7]))
    >>> torch.equal(first[1:2], normal(torch.empty(1, 2), Streams(0, [6])))
    True

    ``seed`` may be one a row: a batch of several seeds draws what each of them draws alone.

    >>> mixed = normal(torch.empty(2, 3), Streams([7, 8], [5, 5]))
    >>> torch.equal(mixed[1:], normal(torch.empty(1, 3), Streams(8, [5])))
    True
    """

    def __init__(self, seed: int | Sequence[int] | Int[Tensor, "*batch"], rows: Sequence[int] | Int[Tensor, "batch"]):
        many = isinstance(seed, Sequence) or (isinstance(seed, Tensor) and seed.ndim > 0)
        self.seed = torch.as_tensor(seed, dtype=torch.int64).cpu() if many else int(seed)  # type: ignore[arg-type]
        self.rows = torch.as_tensor(rows, dtype=torch.int64).cpu()
        self.draw = 0
        if isinstance(self.seed, Tensor) and self.seed.shape != self.rows.shape:
            raise ShapeError(
                f"Streams of {len(self.rows)} rows with seeds of shape {tuple(self.seed.shape)}: one seed wanted, or one a row."
            )

    def bits(self, count: int) -> Int[Tensor, "batch count"]:
        """The next ``count`` uniform 32-bit integers of every row."""
        blocks = -(-count // 4)
        rows = self.rows[:, None]
        zero = torch.zeros(len(self.rows), blocks, dtype=torch.int64)
        counter = [zero + torch.arange(blocks), zero + self.draw, zero + (rows & _MASK), zero + (rows >> 32 & _MASK)]
        self.draw += 1
        seed = self.seed[:, None] if isinstance(self.seed, Tensor) else self.seed
        return philox(counter, (seed & _MASK, seed >> 32 & _MASK))[:, :count]

    def uniform(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        """u ~ U(0, 1) in float64, of the shape of x: the centres of 2³² equal cells."""
        if x.ndim == 0 or x.shape[0] != len(self.rows):
            raise ShapeError(f"Streams of {len(self.rows)} rows asked for {tuple(x.shape)}: the rows must agree.")
        return self.bits(math.prod(x.shape[1:])).double().add_(0.5).mul_(2.0**-32).reshape(x.shape)

    def normal(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        """z ~ N(0, I) in float64, of the shape of x, by Box and Muller."""
        size = math.prod(x.shape[1:])
        u = self.uniform(x.new_empty(x.shape[0], -(-size // 2), 2, device="cpu"))
        radius, angle = (-2 * u[..., 0].log()).sqrt_(), u[..., 1] * (2 * math.pi)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(1)[:, :size].reshape(x.shape)

    def part(self, start: int, stop: int) -> "Streams":
        """The streams of rows start..stop, at the same draw."""
        return self.take(torch.arange(len(self.rows))[start:stop])

    def take(self, rows: Int[Tensor, "some"]) -> "Streams":
        """The streams of these rows, at the same draw."""
        streams = Streams(self.seed[rows] if isinstance(self.seed, Tensor) else self.seed, self.rows[rows])
        streams.draw = self.draw
        return streams


def philox(
    counter: list[Int[Tensor, "*shape"]], key: tuple[int | Int[Tensor, "*one"], int | Int[Tensor, "*one"]]
) -> Int[Tensor, "*shape_by_4"]:
    """Philox-4x32 with ten rounds: four 32-bit words of output per counter, joined along the last axis.

    Salmon et al. (2011), section 3.3; a product of two 32-bit words fits an unsigned one of 64.

    >>> zero = [torch.zeros(1, 1, dtype=torch.int64)] * 4
    >>> [hex(word) for word in philox(zero, (0, 0))[0].tolist()]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    # In numpy, whose operations on few numbers take a third of torch's time: one image asks for three draws of some hundred.
    a, b, c, d = (np.asarray(word).astype(np.uint64) for word in counter)
    k0, k1 = (np.asarray(word).astype(np.uint64) for word in key)
    for _ in range(10):
        p, q = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = (q >> _HALF) ^ b ^ k0, (p >> _HALF) ^ d ^ k1
        b, d = q & _LOW, p & _LOW
        k0, k1 = k0 + _WEYL[0] & _LOW, k1 + _WEYL[1] & _LOW
    return torch.from_numpy(np.concatenate([a, b, c, d], axis=-1).view(np.int64))


Draws = torch.Generator | Streams


def normal(x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Float[Tensor, "batch *event"]:
    """z ~ N(0, I) of the shape, dtype and device of x, drawn on the CPU so that every device sees the same numbers.

    Raises: ShapeError if the streams and x differ in their number of rows.

    >>> normal(torch.empty(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    if generator is None or isinstance(generator, torch.Generator):
        place = torch.device("cpu") if generator is None else generator.device
        return torch.randn(x.shape, generator=generator, dtype=_drawn(x), device=place).to(x)
    return generator.normal(x).to(x)


def uniform(x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Float[Tensor, "batch *event"]:
    """u ~ U(0, 1) of the shape, dtype and device of x, drawn on the CPU.

    >>> bool((uniform(torch.empty(4), Streams(0, range(4))) < 1).all())
    True
    """
    if generator is None or isinstance(generator, torch.Generator):
        place = torch.device("cpu") if generator is None else generator.device
        return torch.rand(x.shape, generator=generator, dtype=_drawn(x), device=place).to(x)
    return generator.uniform(x).to(x)


def rademacher(x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Float[Tensor, "batch *event"]:
    """v with independent entries ±1 of equal probability: the probe of least variance for a trace.

    >>> sorted(set(rademacher(torch.empty(64, 1), Streams(0, range(64))).flatten().tolist()))
    [-1.0, 1.0]
    """
    return torch.where(uniform(x, generator) < 0.5, -torch.ones_like(x), torch.ones_like(x))


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Torch's own generators within the block (initial weights, dropout) as a function of the seed; put back afterwards.

    They belong to the whole process, so threads enter such blocks one at a time. ``device``: a CUDA device whose generator
    is seeded too.

    >>> with seeded(3):
    ...     a = torch.randn(2)
    >>> with seeded(3):
    ...     torch.equal(a, torch.randn(2))
    True
    """
    cuda = device is not None and device.type == "cuda"
    with _GLOBAL, torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield


def _drawn(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype == torch.float64 else torch.float32
