"""A sampler is one step from time t to time s < t, and an order of convergence; the walk over a grid is shared.

Its law: on a Gaussian the error of the terminal mean and standard deviation falls as steps^{−order}; it visits exactly
the grid; the same generator gives the same walk. Order 0 means a bias that more grid points do not remove, and
order ∞ a step that leaves its target invariant whatever its size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, RangeError, ShapeError
from ..grids import karras
from ..noises import Gaussian
from ..tensors import Draws

Values = Float[Tensor, "batch *event"]
Grid = Float[Tensor, "times"]


@dataclass(frozen=True)
class State:
    """Where a walk is: x at time t, and the clean x̂ that the step to here saw (None at the start, and for static scores)."""

    x: Values
    t: Float[Tensor, ""]
    denoised: Values | None = None


@dataclass(frozen=True)
class Past:
    """What a walk has seen, newest last, for samplers with memory: (t, x, x̂) at the start of earlier steps."""

    seen: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()

    def add(self, t: Tensor, x: Tensor, denoised: Tensor | None) -> "Past":
        """The past with one more step; four are kept."""
        return self if denoised is None else Past((*self.seen[-3:], (t, x, denoised)))


class Sampler(ABC):
    """One ``step`` from t to s, and the ``order`` of its error; ``walk`` visits a grid and watches that nothing explodes."""

    order: float
    evaluations: int = 1
    """Network evaluations in a step (the last, to t = 0, may need fewer)."""
    least: int = 1
    """Steps below which a walk would never reach its order."""
    remembers: bool = False
    """Whether a step returns, in place of x̂, what the next one must know: a velocity, a step size. `State` does not show it."""

    @abstractmethod
    def step(
        self, model: Any, x: Values, t: Tensor, s: Tensor, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values | None]:
        """(x at time s, the x̂ that was used) from x at time t > s. Annotate ``model`` as `Score` or `Denoiser`."""

    def times(self, model: Callable[..., Values], steps: int) -> Grid:
        """A grid for so many steps: even in (σ/α)^{1/20}, down to 0.04 in five, 0.02 in ten to twenty, 8/steps² in more.

        Raises: ShapeError for a model without noise; RangeError for fewer steps than the order takes.
        """
        if 1 <= steps < self.least:
            raise RangeError(
                f"{self}: {steps} steps are too few for its order; take at least {self.least}, or a sampler of lower order."
            )
        noise = getattr(model, "noise", None)
        if not isinstance(noise, Gaussian):
            raise ShapeError(
                f"{self}: it walks down the noise levels of a denoiser, and {type(model).__name__} has no noise; "
                "wrap the network in Preconditioned, or use Langevin for a static score."
            )
        top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
        n = max(1, steps)
        return karras(noise, steps, rho=20.0, floor=max(min(max(0.2 / n, 0.02), 8 / n**2, top / 10), 5e-4))

    def walk(
        self, model: Callable[..., Values], x: Values, times: Grid, generator: Draws | None = None, **cond
    ) -> Iterator[State]:
        """The states at every time of the grid, from x at times[0] to times[-1].

        Raises: RangeError if the times do not descend; DivergedError with step, noise level and remedy as soon as x leaves
        the finite numbers or grows a thousandfold.
        """
        if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
            raise RangeError(f"{self}.walk: times must descend, at least two of them; got {times.tolist()[:8]}.")
        times = times.double()
        limit = 1e3 * (1 + float(x.abs().amax()))
        past = Past()
        yield State(x, times[0])
        for k, (t, s) in enumerate(pairwise(times)):
            with torch.no_grad():
                there, denoised = self.step(model, x, t, s, past, generator, **cond)
            largest = float(there.abs().amax())
            if not largest <= limit:
                raise DivergedError(self._diverged(model, k, t, s, largest))
            past, x = past.add(t, x, denoised), there
            yield State(x, s, None if self.remembers else denoised)

    def _diverged(self, model: object, k: int, t: Tensor, s: Tensor, largest: float) -> str:
        noise = getattr(model, "noise", None)
        level = f"sigma/alpha = {float(noise.ratio(t)):.3g}" if isinstance(noise, Gaussian) else "a static score"
        return (
            f"{self}: the walk left the data at step {k + 1}, from t = {float(t):.4g} to {float(s):.4g} ({level}): "
            f"largest |x| is {largest:.3g}. {getattr(model, 'remedy', 'Take more or smaller steps.')}"
        )
