"""Divergences as values: (f, x, generator) -> (f(x), div f(x)), on a space.

    Exact        Σ_k ⟨P e_k, Df P e_k⟩ = tr(P Df P)
    Hutchinson   mean over probes of ⟨P v, Df P v⟩, E[v vᵀ] = I          Hutchinson (1990), Commun. Stat. Simul. Comput. 19(2)
    Difference   mean over probes of ⟨P v, f(exp_x(hPv)) − f(exp_x(−hPv))⟩ / 2h, error O(h²)     Pang et al. 2020, arXiv:2007.03317

Row i of f(x) may depend on row i of x only: that is what makes one backward pass per direction enough for a whole batch.
Derivatives are kept (``create_graph``) exactly when gradients are on, so that each divergence is also a training loss.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import RangeError, ShapeError
from .spaces import Euclidean, Space
from .tensors import Draws, normal, rademacher, sum_event

Field = Callable[[Float[Tensor, "batch *event"]], Float[Tensor, "batch *event"]]
Values = Float[Tensor, "batch *event"]
Numbers = Float[Tensor, "batch"]
Probes = Float[Tensor, "probes batch *event"]


class Divergence(ABC):
    """(f, x, generator) -> (f(x), div f(x)): the dial that exact, Hutchinson and finite-difference score matching share."""

    space: Space

    @abstractmethod
    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        """f(x) and an unbiased (or O(h²)) estimate of tr(P Df P), one number per row."""


@dataclass(frozen=True)
class Exact(Divergence):
    """Σ_k ⟨P e_k, Df P e_k⟩: the exact divergence, at the cost of d backward passes. For small d and for quoting.

    >>> value, div = Exact()(lambda x: -2 * x, torch.ones(1, 3))
    >>> div
    tensor([-6.])
    """

    space: Space = field(default_factory=Euclidean)

    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        size = x[0].numel()
        basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:]).expand(size, *x.shape)
        return _quadratic(f, x, basis, self.space, 1)


def orthogonal(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Orthogonal probes of length √d: as many as d make the trace exact, fewer have less variance than independent ones.

    Each row gets its own Haar-random frame, by the QR decomposition of Gaussian vectors; beyond d probes, a new frame begins.

    >>> v = orthogonal(torch.empty(1, 4), 2)
    >>> [round(abs(float(c)), 4) for c in (v[:, 0] @ v[:, 0].T).flatten()]
    [4.0, 0.0, 0.0, 4.0]
    """
    size = x[0].numel()
    frames = []
    for start in range(0, probes, size):
        wide = min(size, probes - start)
        draws = torch.stack([normal(x, generator).flatten(1) for _ in range(wide)], dim=-1)
        frames.append(torch.linalg.qr(draws.double()).Q.movedim(-1, 0) * size**0.5)
    return torch.cat(frames).reshape(probes, *x.shape).to(x)


def independent(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Independent Rademacher probes: the least variance that independent entries allow.

    >>> independent(torch.empty(1, 4), 2).abs().sum()
    tensor(8.)
    """
    return torch.stack([rademacher(x, generator) for _ in range(probes)])


def gaussian(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Independent standard normal probes: rotation-invariant, with the variance of the diagonal on top.

    >>> gaussian(torch.empty(1, 4), 2).shape
    torch.Size([2, 1, 4])
    """
    return torch.stack([normal(x, generator) for _ in range(probes)])


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """Mean over probes of ⟨Pv, Df Pv⟩: unbiased, one backward pass per probe whatever the dimension.

    With one Rademacher probe it is sliced score matching with variance reduction (Song et al. 2019, eq. 8, arXiv:1905.07088).
    ``draw`` chooses the probes: `independent`, `orthogonal` or `gaussian`. Raises: RangeError for probes < 1.

    >>> value, div = Hutchinson()(lambda x: -2 * x, torch.ones(1, 3))
    >>> div
    tensor([-6.])
    """

    probes: int = 1
    draw: Callable[[Values, int, Draws | None], Probes] = independent
    space: Space = field(default_factory=Euclidean)

    def __post_init__(self):
        if self.probes < 1:
            raise RangeError(f"Hutchinson(probes={self.probes}): probes must be at least 1.")

    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        return _quadratic(f, x, self.draw(x, self.probes, generator), self.space, self.probes)


@dataclass(frozen=True)
class Difference(Divergence):
    """Central differences along random tangent directions: no derivative of f is taken, error O(h²) beside the probes' own.

    Finite-difference score matching (Pang et al. 2020, arXiv:2007.03317). ``step`` is h, in units of x, for probes of length √d.
    Raises: RangeError for probes < 1 or step ≤ 0.

    >>> value, div = Difference()(lambda x: -2 * x, torch.ones(1, 3, dtype=torch.float64))
    >>> round(float(div), 6)
    -6.0
    """

    step: float = 1e-2
    probes: int = 1
    space: Space = field(default_factory=Euclidean)

    def __post_init__(self):
        if self.probes < 1:
            raise RangeError(f"Difference(probes={self.probes}): probes must be at least 1.")
        if not self.step > 0:
            raise RangeError(
                f"Difference(step={self.step:g}): step must be positive; 1e-2 suits float32 data of unit scale."
            )

    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        total = x.new_zeros(len(x))
        for v in independent(x, self.probes, generator):
            v = self.space.tangent(x, v)
            rise = f(self.space.exp(x, self.step * v)) - f(self.space.exp(x, -self.step * v))
            total = total + sum_event(v * rise)
        return f(x), total / (2 * self.step * self.probes)


def _quadratic(f: Field, x: Values, probes: Probes, space: Space, average: int) -> tuple[Values, Numbers]:
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = f(x)
        if y.shape != x.shape:
            raise ShapeError(
                f"divergence of {f}: it maps {tuple(x.shape)} to {tuple(y.shape)}; a field keeps the shape of x."
            )
        total = x.new_zeros(len(x))
        if y.requires_grad:
            for probe in probes:
                v = space.tangent(x, probe)
                (pulled,) = torch.autograd.grad(
                    y, x, v, create_graph=keep, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                total = total + sum_event(pulled * v)
    return (y, total / average) if keep else (y.detach(), total.detach() / average)
