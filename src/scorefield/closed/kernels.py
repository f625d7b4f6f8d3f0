"""Radial kernels k(x, y) = φ(‖x − y‖²), by the derivatives of φ in s = ‖x − y‖². With u = x − y,

    ∇_x k = 2φ′u = −∇_y k,      Δk = 2d φ′ + 4s φ″,      ∇_x∇_yᵀ k = −2φ′ I − 4φ″ u uᵀ.

    RBF      exp(−s/2h²)                φ⁽ᵐ⁾ = (−1/2h²)ᵐ φ
    IMQ      (1 + s/h²)^−½              φ⁽ᵐ⁾ = (−1/h²)ᵐ (½)(3/2)…(m − ½) (1 + s/h²)^(−½−m)
    Matern   ν = 5/2, with a = √5 r/h   φ⁽ᵐ⁾ = (−ν/h²)ᵐ G_{ν−m}(a)/G_ν(0),  G_ν(a) = a^ν K_ν(a), since G_ν′ = −a G_{ν−1}

Sums over pairs are matrix products: Σ_j C_ij (x_i − y_j) = (C1)_i x_i − (CY)_i, and (x_i − y_j)·c_j = (X Cᵀ)_ij − y_j·c_j.
No tensor of size n × m × d is ever made. Each kernel is a scale mixture of Gaussians, which gives its random frequencies.

Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, section 4.2; Rahimi and Recht (2007), NeurIPS 20.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from ..tensors import Draws, normal, require_tensor
from .checks import distinct, full

Points = Float[Tensor, "n d"]
Pairs = Float[Tensor, "n m"]

_BLOCK = 4_000_000


@dataclass(frozen=True)
class Kernel(ABC):
    """φ(‖x − y‖²) of a width h in units of x. Raises: RangeError unless the width is positive."""

    width: float = 1.0

    def __post_init__(self):
        if not 0 < self.width < math.inf:
            raise RangeError(f"{type(self).__name__}(width={self.width:g}): must be positive, in units of the data.")

    @abstractmethod
    def derivatives(self, s: Pairs, order: int) -> list[Pairs]:
        """φ, φ′, …, φ⁽ᵒʳᵈᵉʳ⁾ at squared distances s."""

    @abstractmethod
    def frequencies(self, x: Points, generator: Draws | None = None) -> Points:
        """Draws w of the shape of x with E cos(w·u) = k(u, 0)."""

    def __call__(self, x: Points, y: Float[Tensor, "m d"]) -> Pairs:
        """The matrix k(x_i, y_j)."""
        return self.derivatives(squared_distances(x, y), 0)[0]


@dataclass(frozen=True)
class RBF(Kernel):
    """exp(−‖x − y‖²/2h²), the Gaussian kernel: smooth, and blind beyond a few widths.

    >>> round(RBF(1.0)(torch.zeros(1, 2), torch.ones(1, 2)).item(), 4) == round(math.exp(-1), 4)
    True
    """

    def derivatives(self, s: Pairs, order: int) -> list[Pairs]:
        rate = -0.5 / self.width**2
        found = [(s * rate).exp()]
        return found + [found[0] * rate**m for m in range(1, order + 1)]

    def frequencies(self, x: Points, generator: Draws | None = None) -> Points:
        return normal(x, generator) / self.width


@dataclass(frozen=True)
class IMQ(Kernel):
    """(1 + ‖x − y‖²/h²)^−½, the inverse multiquadric: its tail is heavy, so that a discrepancy sees mass that escapes.

    Gorham and Mackey (2017), theorem 8, arXiv:1703.01717: with it a kernel Stein discrepancy controls convergence.

    >>> round(IMQ(1.0)(torch.zeros(1, 1), torch.ones(1, 1)).item(), 4)
    0.7071
    """

    def derivatives(self, s: Pairs, order: int) -> list[Pairs]:
        inverse = (1 + s / self.width**2).reciprocal()
        found = [inverse.sqrt()]
        for m in range(order):
            found.append(found[-1] * inverse * (-(m + 0.5) / self.width**2))
        return found

    def frequencies(self, x: Points, generator: Draws | None = None) -> Points:
        scale = normal(x[:, :1], generator).abs()  # 1/√(1 + s) = E exp(−τ s), τ ~ Gamma(½), a squared normal over 2
        return normal(x, generator) * scale / self.width


@dataclass(frozen=True)
class Matern(Kernel):
    """(1 + a + a²/3) e^−a with a = √5‖x − y‖/h: four derivatives, as many as a score and its divergence need.

    >>> round(Matern(math.sqrt(5))(torch.zeros(1, 1), torch.ones(1, 1)).item(), 4) == round(7 / 3 / math.e, 4)
    True
    """

    def derivatives(self, s: Pairs, order: int) -> list[Pairs]:
        # φ‴ and φ⁗ are infinite at 0; they only ever meet the factors s and s², which win
        a = (5 * s.clamp(min=1e-9 * self.width**2)).sqrt() / self.width
        fall = (-a).exp() / 3
        shapes = [3 + 3 * a + a**2, 1 + a, torch.ones_like(a), 1 / a, (1 + a) / a**3]
        return [fall * shapes[m] * (-2.5 / self.width**2) ** m for m in range(order + 1)]

    def frequencies(self, x: Points, generator: Draws | None = None) -> Points:
        chi2 = sum(normal(x[:, :1], generator) ** 2 for _ in range(5))
        return normal(x, generator) * (5 / chi2) ** 0.5 / self.width


def squared_distances(x: Points, y: Float[Tensor, "m d"]) -> Pairs:
    """‖x_i − y_j‖² by one matrix product, around the mean of y so that little cancels.

    >>> squared_distances(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0]])).flatten().tolist()
    [4.0, 1.0]
    """
    centre = y.mean(0)
    x, y = x - centre, y - centre
    return torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1, keepdim=True)).clamp_(min=0)


def laplacian(derivatives: list[Pairs], s: Pairs, dim: int) -> list[Pairs]:
    """ψ, ψ′, … of ψ = Δk in dim dimensions: ψ⁽ᵐ⁾ = (2d + 4m) φ⁽ᵐ⁺¹⁾ + 4s φ⁽ᵐ⁺²⁾; two fewer than there are of φ.

    >>> s = torch.tensor([[0.0]])
    >>> laplacian(RBF(1.0).derivatives(s, 2), s, 3)[0].item()
    -3.0
    """
    return [(2 * dim + 4 * m) * derivatives[m + 1] + 4 * s * derivatives[m + 2] for m in range(len(derivatives) - 2)]


def slopes(weights: Pairs, x: Points, y: Float[Tensor, "m d"]) -> Points:
    """Σ_j W_ij (x_i − y_j), as (W1)_i x_i − (WY)_i.

    >>> slopes(torch.ones(1, 2), torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0]])).item()
    -1.0
    """
    return weights.sum(1, keepdim=True) * x - weights @ y


def along(x: Points, y: Float[Tensor, "m d"], c: Float[Tensor, "m d"]) -> Pairs:
    """(x_i − y_j)·c_j.

    >>> along(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([[2.0]])).item()
    -4.0
    """
    return x @ c.T - (y * c).sum(1)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows such that a block of pairs stays within some ten megabytes a matrix.

    >>> [(part.start, part.stop) for part in blocks(3, 3_000_000)]
    [(0, 1), (1, 2), (2, 3)]
    """
    step = max(1, _BLOCK // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def median_width(x: Shaped[Tensor, "*rows"]) -> float:
    """The median of ‖x_i − x_j‖, i < j, over at most 1,000 rows taken evenly: the unit in which widths are tried.

    Raises: ShapeError unless x is a floating-point matrix; DataError if the median is zero, that is if most rows coincide.

    >>> median_width(torch.tensor([[0.0], [1.0], [2.0]]))
    1.0
    """
    if x.ndim != 2 or not x.is_floating_point() or len(x) < 2:
        raise ShapeError(f"median_width of {x.dtype} and shape {tuple(x.shape)}: wanted floating-point (n, d), n ≥ 2.")
    some = x[:: -(-len(x) // 1000)].double()
    s = squared_distances(some, some)
    found = float(s[torch.ones_like(s, dtype=torch.bool).triu(1)].median().sqrt())
    if not found > 0:
        raise DataError(f"median distance of {len(x)} rows is {found:g}: most rows coincide; give a width.")
    return found


def sample(who: str, x: Tensor, *, least: int = 2) -> Float[Tensor, "n d"]:
    """x as a float64 matrix (n, d), after checking that a kernel score can be fitted to it.

    Raises: ShapeError unless (n, d); DataError for fewer than ``least`` rows, values that are not finite, and duplicated
    rows, which have no density, and of which one held out is known from its twin; each by row.

    >>> sample("fit", torch.tensor([[0.0], [1.0], [0.0]]))
    Traceback (most recent call last):
    ...
    scorefield.errors.DataError: fit: row 2 is equal to row 0 (1 of 3 are duplicates): drop them, or add the noise of rounding.
    """
    require_tensor(x, who)
    if x.ndim != 2 or x.shape[1] == 0 or not x.is_floating_point():
        raise ShapeError(
            f"{who}: x of {x.dtype} and shape {tuple(x.shape)}: wanted floating-point (n, d); flatten the events."
        )
    if len(x) < least:
        raise DataError(f"{who}: {len(x)} rows; at least {least} are needed.")
    bad = (~x.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise DataError(f"{who}: values that are not finite in row {', '.join(map(str, bad[:5]))}: remove those rows.")
    x = x.detach().double()
    distinct(who, x)
    still = (x == x[:1]).all(0).nonzero().flatten().tolist()
    if len(x) > 1 and still:
        raise DataError(
            f"{who}: column {still[0]} is {float(x[0, still[0]]):g} in all rows; a constant has no density: drop it."
        )
    if len(x) > 2 * x.shape[1]:
        full(who, x)
    return x
