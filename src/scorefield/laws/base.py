"""How a law is pronounced broken, and the draws that read off affine maps exactly."""

from collections.abc import Callable
from typing import Any, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import LawError
from ..models import Denoiser, Values
from ..objectives import Objective
from ..samplers import Sampler
from ..tensors import Streams

DOUBLE: Any = {"dtype": torch.float64}


def require(truth: bool | Tensor, who: object, law: str, *numbers: object) -> None:
    """Raises LawError unless ``truth``: the one place where a law is pronounced broken.

    >>> require(True, "anything", "holds")
    """
    if not bool(truth):
        shown = ", ".join(f"{float(n):.4g}" if isinstance(n, float | Tensor) else str(n) for n in numbers)
        raise LawError(f"{who}: {law} does not hold{f' ({shown})' if shown else ''}.")


def require_zero(who: object, law: str, samples: Float[Tensor, "n *event"]) -> None:
    """Raises LawError if the mean of the samples lies more than five standard errors from zero.

    >>> require_zero("noise", "mean zero", torch.tensor([1.0, -1.0, 1.0, -1.0]))
    """
    mean, error = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    require(
        (mean.abs() <= 5 * error + 1e-12).all(),
        who,
        f"{law}: mean ± standard error",
        mean.flatten()[0],
        error.flatten()[0],
    )


def require_own_draws(who: object, draw: Callable[[Streams, slice], Tensor], rows: int) -> None:
    """Raises LawError unless ``draw(generator, rows)`` takes all its randomness from the generator, row by row.

    >>> from scorefield.tensors import normal
    >>> require_own_draws("normal", lambda g, rows: normal(torch.empty(4, 2)[rows], g), 4)
    """
    whole, part = slice(0, rows), slice(1, 3)
    state = torch.get_rng_state()
    first = draw(Streams(3, range(rows)), whole)
    require(torch.equal(state, torch.get_rng_state()), who, "global randomness is left alone")
    require(torch.equal(first, draw(Streams(3, range(rows)), whole)), who, "the same generator gives the same draws")
    alone = draw(Streams(3, range(1, 3)), part)
    require(torch.allclose(alone, first[part], rtol=1e-9, atol=1e-9), who, "row i does not depend on the other rows")


class Units(Streams):
    """Draws that read an affine walk: the k-th normal draw is one in row ``first + k`` and zero elsewhere, for exact variances."""

    def __init__(self, first: int | None):
        super().__init__(0, ())
        self.row = first
        self.count = 0

    def normal(self, x: Values) -> Values:
        """The next unit draw."""
        z = torch.zeros_like(x)
        if self.row is not None and self.row + self.count < len(x):
            z[self.row + self.count] = 1
        self.count += 1
        return z


def takes_denoiser(thing: Objective | Sampler) -> bool:
    """Whether an objective or a sampler works on a `Denoiser`, by the annotation of its ``model``; a static score otherwise.

    >>> from scorefield.samplers import Heun, Langevin
    >>> takes_denoiser(Heun()), takes_denoiser(Langevin())
    (True, False)
    """
    method = type(thing).step if isinstance(thing, Sampler) else type(thing).__call__
    return get_type_hints(method).get("model") is Denoiser
