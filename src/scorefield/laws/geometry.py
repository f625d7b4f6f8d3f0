"""The laws of spaces and divergences."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..calculus import Divergence, Exact
from ..models import Values
from ..spaces import Space
from ..tensors import Streams, normal, sum_event
from .base import DOUBLE, require, require_own_draws, require_zero


def _field(space: Space) -> Callable[[Values], Values]:
    """A smooth tangent field without symmetry, periodic in every coordinate."""

    def f(x: Values) -> Values:
        k = torch.arange(1, x.shape[-1] + 1).to(x)
        return space.tangent(x, torch.sin(k * x + 0.3) + 0.5 * torch.cos(x.roll(1, -1) - 0.2) * torch.sin(x))

    return f


def _geodesic_divergence(space: Space, f: Callable[[Values], Values], x: Values) -> Float[Tensor, "batch"]:
    total, h = x.new_zeros(len(x)), 1e-5
    for axis in torch.eye(x.shape[-1], **DOUBLE):
        v = space.tangent(x, axis.expand_as(x))
        total += sum_event(v * (f(space.exp(x, h * v)) - f(space.exp(x, -h * v)))) / (2 * h)
    return total


def space(space: Space) -> None:
    """The law of a `Space`. Raises: LawError.

    >>> from scorefield.spaces import Euclidean
    >>> space(Euclidean())
    """
    n = 20_000
    generator = Streams(0, range(n))
    x, y = (space.reference(torch.empty(n, 3, **DOUBLE), generator) for _ in range(2))
    u, v = (normal(x, generator) for _ in range(2))
    pu, pv = space.tangent(x, u), space.tangent(x, v)
    close = partial(torch.allclose, rtol=1e-7, atol=1e-7)
    require(close(space.tangent(x, pu), pu), space, "P² = P")
    require(close(sum_event(pu * v), sum_event(u * pv)), space, "Pᵀ = P")
    require(close(space.project(x), x), space, "the reference lies in the space")
    require(close(space.project(space.exp(x, pv)), space.exp(x, pv)), space, "exp stays in the space")
    require(close(space.exp(x, space.log(x, y)), y), space, "exp_x(log_x y) = y")
    require(close(space.tangent(x, space.log(x, y)), space.log(x, y)), space, "log is tangent")
    errors = []
    for h in (1e-2, 5e-3):
        errors.append(float(space.log(space.project(x + h * pv), space.exp(x, h * pv)).norm(dim=-1).max()))
    require(errors[1] <= errors[0] / 3.5 + 1e-12, space, "exp_x(hv) = x + hv + O(h²)", *errors)
    f = _field(space)
    value, div = Exact(space)(f, x)
    require_zero(
        space,
        "Stein's identity E[⟨∇log r, f⟩ + div f] = 0",
        (sum_event(space.reference_score(x) * value) + div).detach(),
    )
    require_own_draws(space, lambda g, rows: space.reference(x[rows], g), 5)


def divergence(divergence: Divergence) -> None:
    """The law of a `Divergence`, on its own space. Raises: LawError.

    >>> divergence(Exact())
    """
    space, n = divergence.space, 4096
    x = space.reference(torch.empty(2, 3, **DOUBLE), Streams(1, range(2)))
    f, repeated = _field(space), x.repeat_interleave(n, 0)
    stepped: Any = divergence  # a frozen dataclass, if it has a step
    small = replace(stepped, step=1e-4) if hasattr(divergence, "step") else divergence
    with torch.no_grad():
        value, estimate = small(f, repeated, Streams(0, range(2 * n)))
    require(torch.allclose(value, f(repeated)), divergence, "the value is f(x)")
    truth = _geodesic_divergence(space, f, x)
    for k in range(2):
        error = estimate[k * n : (k + 1) * n] - truth[k]
        if float(error.std()) < 1e-9:
            require(abs(float(error[0])) < 1e-6, divergence, "estimate = tr(P Df P)", estimate[k * n], truth[k])
        else:
            require_zero(divergence, "unbiased for tr(P Df P)", error + 1e-8)
    if hasattr(divergence, "step"):
        exact, coarse, fine = (replace(stepped, step=h)(f, x, Streams(0, range(2)))[1] for h in (1e-3, 0.08, 0.04))
        errors = [float((estimate - exact).abs().max()) for estimate in (coarse, fine)]
        require(3.5 < errors[0] / errors[1] < 4.5, divergence, "error O(h²)", *errors)
    require_own_draws(divergence, lambda g, rows: divergence(f, x.repeat(3, 1)[rows], g)[1].detach(), 5)
