"""Prior, grid and walk in one call. Row i of the result depends on (seed, i) alone: not on n, chunks, order or device."""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import RangeError, ShapeError
from .models import Denoiser, require_independent_rows, require_labels
from .samplers import Langevin, Sampler, State, default
from .spaces import Euclidean
from .tensors import Streams

Values = Float[Tensor, "n *event"]


def walk(
    model: Callable[..., Tensor],
    n: int,
    *,
    steps: int = 20,
    sampler: Sampler | None = None,
    times: Float[Tensor, "times"] | None = None,
    seed: int = 0,
    first: int = 0,
    shape: tuple[int, ...] | None = None,
    **cond,
) -> Iterator[State]:
    """The states of n walks from the prior, numbers first … first + n − 1 of this seed. Arguments as `sample`.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> len(list(walk(known, 4, steps=10)))
    11
    """
    sampler, times, empty = _plan(model, n, steps, sampler, times, shape)
    generator = Streams(seed, range(first, first + n))
    if isinstance(model, Denoiser):
        x = model.prior(empty, generator)
    else:
        x = getattr(sampler, "space", Euclidean()).reference(empty, generator)
    if isinstance(cond.get("label"), Tensor | int):
        require_labels(model, cond["label"], first)
    arguments = (times[0],) if isinstance(model, Denoiser) else ()
    require_independent_rows(model, x[:2], *arguments, **{key: _rows(value, n, 0, 2) for key, value in cond.items()})
    yield from sampler.walk(model, x, times, generator, **cond)


def sample(
    model: Callable[..., Tensor],
    n: int,
    *,
    steps: int = 20,
    sampler: Sampler | None = None,
    times: Float[Tensor, "times"] | None = None,
    seed: int = 0,
    shape: tuple[int, ...] | None = None,
    chunk: int | None = None,
    **cond,
) -> Values:
    """n samples of the model: x_1 from the prior, walked to t = 0 in ``steps`` steps of the sampler.

    A denoiser is walked down its noise levels, by `samplers.default` for so many steps unless you choose; a static score by `Langevin`
    from the reference distribution of its space, where ``steps`` wants hundreds. ``shape`` is needed only if the model does
    not know its event shape; ``chunk`` bounds memory and changes nothing else; conditions are given one row a sample.
    Raises: RangeError, ShapeError, RowsError for a model that mixes rows, DivergedError if a walk explodes.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> torch.allclose(sample(known, 5, chunk=2)[3], sample(known, 9)[3], atol=1e-5)
    True
    """
    _, _, empty = _plan(model, n, steps, sampler, times, shape)
    chunk = chunk or max(1, 2**18 // max(1, math.prod(empty.shape[1:])))
    parts = []
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        rows = {key: _rows(value, n, start, start + size) for key, value in cond.items()}
        for state in walk(
            model, size, steps=steps, sampler=sampler, times=times, seed=seed, first=start, shape=shape, **rows
        ):
            last = state.x
        parts.append(last)
    return torch.cat(parts)


def _plan(model, n, steps, sampler, times, shape) -> tuple[Sampler, Tensor, Tensor]:
    if n < 1:
        raise RangeError(f"sample(n={n}): n must be at least 1.")
    if sampler is not None and not isinstance(sampler, Sampler):
        raise RangeError(f"sample(sampler={sampler!r}): a sampler wanted, such as sf.Heun().")
    sampler = sampler or (default(steps) if isinstance(model, Denoiser) else Langevin())
    shape = shape if shape is not None else getattr(model, "shape", None)
    if shape is None:
        raise ShapeError(
            f"sample({type(model).__name__}): the model does not know its event shape; pass shape=(…), or give the network a .shape."
        )
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    like = parameter if parameter is not None and parameter.is_floating_point() else torch.empty(0)
    return sampler, sampler.times(model, steps) if times is None else times, like.new_empty(n, *shape)


def _rows(value, n: int, start: int, stop: int):
    return value[start:stop] if isinstance(value, Tensor) and value.ndim and len(value) == n else value
