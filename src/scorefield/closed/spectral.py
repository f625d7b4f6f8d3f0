"""Regularised inverses g(L) ≈ L⁻¹ of the covariance operator L = S*S/n of a kernel, Sf = (f(x_1), …, f(x_n)).

The score is −g(L) ζ with ζ = E[div_y K + K b]. Since L acts on sums of K(·, x_j) as the matrix M = K/n does on their
coefficients, g(L) ζ = g(0) ζ + S* w/n with w = h(M) Sζ, h(σ) = (g(σ) − g(0))/σ: `solve` returns (g(0), w).

    Tikhonov     g = 1/(σ + λ)                      conjugate gradients with a Nyström preconditioner, no matrix formed
    Landweber    g = Σ_{i<t} η(1 − ησ)ⁱ             t steps of gradient descent, η = 1/‖M‖
    NuMethod     a polynomial of degree t − 1       as good as λ = 1/t², in t steps
    CutOff       g = 1/σ on the largest eigenvalues

Zhou, Shi and Zhu (2020), arXiv:2005.10099; Engl, Hanke and Neubauer (1996), Regularization of Inverse Problems,
section 6.3; Frangella, Tropp and Udell (2023), algorithm 2.1, arXiv:2110.02820.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, MemoryLimitError, RangeError

Coefficients = Float[Tensor, "n d"]
Operator = Callable[[Coefficients], Coefficients]
MOST = 8000
"""The largest matrix that `CutOff` takes apart."""


class Regularise(ABC):
    """g(L): from the operator M and z = Sζ to (g(0), w), of which the field is made."""

    @abstractmethod
    def filter(self, values: Float[Tensor, "n"], top: float) -> Float[Tensor, "n"]:
        """g(σ) at eigenvalues σ of an operator of norm ``top``: the definition, which tests compare with `solve`."""

    @abstractmethod
    def solve(self, operator: Operator, z: Coefficients, gram: Callable[[], Tensor]) -> tuple[float, Coefficients]:
        """(g(0), w). ``gram()`` forms the matrix of the operator, for those that need one."""


@dataclass(frozen=True)
class Tikhonov(Regularise):
    """1/(σ + λ) by conjugate gradients, to a relative residual ``tolerance``; ``rank`` is that of the preconditioner.

    Raises: RangeError unless ridge > 0, 0 < tolerance < 1 and rank ≥ 0; DivergedError if ``most`` steps do not reach it.
    """

    ridge: float = 1e-3
    tolerance: float = 1e-10
    most: int = 2000
    rank: int = 20

    def __post_init__(self):
        if not 0 < self.ridge < math.inf or not 0 < self.tolerance < 1 or self.rank < 0:
            raise RangeError(f"{self}: wanted ridge > 0, 0 < tolerance < 1 and rank ≥ 0.")

    def filter(self, values: Float[Tensor, "n"], top: float) -> Float[Tensor, "n"]:
        return 1 / (values + self.ridge)

    def solve(self, operator: Operator, z: Coefficients, gram: Callable[[], Tensor]) -> tuple[float, Coefficients]:
        precondition = nystrom(operator, z, min(self.rank, z.numel() // 4), self.ridge)
        w = conjugate_gradients(
            lambda c: operator(c) + self.ridge * c, z, precondition, tolerance=self.tolerance, most=self.most
        )
        return 1 / self.ridge, w / -self.ridge


@dataclass(frozen=True)
class Landweber(Regularise):
    """t steps of gradient descent from zero, of size 1/‖M‖: g(0) = ηt. Stopping is what regularises. RangeError: steps < 1."""

    steps: int = 50

    def __post_init__(self):
        if self.steps < 1:
            raise RangeError(f"Landweber(steps={self.steps}): steps must be at least 1.")

    def filter(self, values: Float[Tensor, "n"], top: float) -> Float[Tensor, "n"]:
        total = torch.zeros_like(values)
        for _ in range(self.steps):
            total = total + (1 - values * total) / top
        return total

    def solve(self, operator: Operator, z: Coefficients, gram: Callable[[], Tensor]) -> tuple[float, Coefficients]:
        step, zero, w = 1 / norm(operator, z), 0.0, torch.zeros_like(z)
        for _ in range(self.steps):
            zero, w = zero + step, w - step * (zero * z + operator(w))
        return zero, w


@dataclass(frozen=True)
class NuMethod(Regularise):
    """The ν-method: t accelerated steps, with the smoothing of about λ = ‖M‖/t². Raises: RangeError for steps < 1 or nu ≤ 0.

    Engl, Hanke and Neubauer (1996), section 6.3; ``nu`` is the qualification, 1 as in Zhou et al. (2020).
    """

    steps: int = 20
    nu: float = 1.0

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.nu < math.inf:
            raise RangeError(f"NuMethod(steps={self.steps}, nu={self.nu:g}): wanted steps ≥ 1 and nu > 0.")

    def weights(self, k: int) -> tuple[float, float]:
        """(μ_k, ω_k) of f_k = f_{k−1} + μ_k (f_{k−1} − f_{k−2}) + ω_k (ζ − L f_{k−1})."""
        nu = self.nu
        bottom = (k + 2 * nu - 1) * (2 * k + 4 * nu - 1)
        momentum = (k - 1) * (2 * k - 3) * (2 * k + 2 * nu - 1) / (bottom * (2 * k + 2 * nu - 3))
        return momentum, 4 * (2 * k + 2 * nu - 1) * (k + nu - 1) / bottom

    def filter(self, values: Float[Tensor, "n"], top: float) -> Float[Tensor, "n"]:
        before = now = torch.zeros_like(values)
        for k in range(1, self.steps + 1):
            momentum, step = self.weights(k)
            before, now = now, now + momentum * (now - before) + step / top * (1 - values * now)
        return now

    def solve(self, operator: Operator, z: Coefficients, gram: Callable[[], Tensor]) -> tuple[float, Coefficients]:
        top = norm(operator, z)
        old, zero, past, w = 0.0, 0.0, torch.zeros_like(z), torch.zeros_like(z)
        for k in range(1, self.steps + 1):
            momentum, step = self.weights(k)
            change = zero * z + operator(w)
            old, zero, past, w = (
                zero,
                zero + momentum * (zero - old) + step / top,
                w,
                w + momentum * (w - past) - step / top * change,
            )
        return zero, w


@dataclass(frozen=True)
class CutOff(Regularise):
    """1/σ on the ``keep`` largest eigenvalues, 0 on the rest: with `Diagonal(RBF())` the spectral Stein estimator (SSGE).

    Shi, Sun and Zhu (2018), arXiv:1806.02925. Forms a matrix of n rows (`Diagonal`) or n d (`CurlFree`), n d ≤ 8,000.
    Raises: RangeError for keep < 1 or more than the operator has; MemoryLimitError for a larger matrix.
    """

    keep: int = 10

    def __post_init__(self):
        if self.keep < 1:
            raise RangeError(f"CutOff(keep={self.keep}): keep must be at least 1.")

    def filter(self, values: Float[Tensor, "n"], top: float) -> Float[Tensor, "n"]:
        kept = values >= values.sort(descending=True).values[min(self.keep, len(values)) - 1]
        return torch.where(kept, 1 / values, torch.zeros_like(values))

    def solve(self, operator: Operator, z: Coefficients, gram: Callable[[], Tensor]) -> tuple[float, Coefficients]:
        matrix = gram()
        values, vectors = torch.linalg.eigh(matrix)
        if self.keep > len(values) or not float(values[-self.keep]) > 1e-12 * float(values[-1]):
            rank = int((values > 1e-12 * values[-1]).sum())
            raise RangeError(f"CutOff(keep={self.keep}): the operator has rank {rank} in float64; keep at most that.")
        values, vectors = values[-self.keep :], vectors[:, -self.keep :]
        rows = z.reshape(len(matrix), -1)
        return 0.0, (vectors @ ((vectors.T @ rows) / values[:, None] ** 2)).reshape(z.shape)


def require_small(rows: int) -> None:
    """Refuses to take apart a matrix of more than 8,000 rows. Raises: MemoryLimitError.

    >>> require_small(8000)
    """
    if rows > MOST:
        raise MemoryLimitError(f"CutOff: a matrix of {rows:,} rows; at most {MOST:,}. Use Diagonal, or NuMethod.")


def norm(operator: Operator, z: Coefficients, steps: int = 12) -> float:
    """‖M‖ from above: the Rayleigh quotient of ``steps`` of the power method, and a tenth more.

    >>> round(norm(lambda c: 2 * c, torch.ones(3, 1)), 6)
    2.2
    """
    v = torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=z.dtype).to(z) + z / z.norm()
    value = 0.0
    for _ in range(steps):
        v = v / v.norm()
        image = operator(v)
        value, v = float((v * image).sum()), image
    if not 0 < value < math.inf:
        raise DivergedError(f"the kernel's operator has norm {value:g}: widen the kernel, or scale the data.")
    return 1.1 * value


def nystrom(operator: Operator, z: Coefficients, rank: int, ridge: float) -> Operator:
    """P⁻¹ of the randomised Nyström approximation U Λ Uᵀ of M: (λ_r + λ) U (Λ + λ)⁻¹ Uᵀ + (I − U Uᵀ).

    Frangella, Tropp and Udell (2023), algorithm 2.1. It changes the number of steps only, never the answer.

    >>> nystrom(lambda c: c, torch.ones(3, 1), 0, 1.0)(torch.ones(3, 1)).sum().item()
    3.0
    """
    if rank < 1:
        return lambda c: c
    seed = torch.Generator().manual_seed(0)
    tests = torch.linalg.qr(torch.randn(z.numel(), rank, generator=seed, dtype=z.dtype).to(z)).Q
    images = torch.stack([operator(tests[:, k].reshape(z.shape)).flatten() for k in range(rank)], 1)
    shift = torch.finfo(z.dtype).eps * float(images.norm())
    images = images + shift * tests
    core = tests.T @ images
    factor, failed = torch.linalg.cholesky_ex((core + core.T) / 2)
    if int(failed):
        return lambda c: c
    root = torch.linalg.solve_triangular(factor, images.T, upper=False).T
    basis, singular, _ = torch.linalg.svd(root, full_matrices=False)
    values = (singular**2 - shift).clamp(min=0)
    gain = (values[-1] + ridge) / (values + ridge) - 1

    def precondition(c: Tensor) -> Tensor:
        flat = c.flatten()
        return (flat + basis @ (gain * (basis.T @ flat))).reshape(c.shape)

    return precondition


def conjugate_gradients(
    operator: Operator, z: Coefficients, precondition: Operator, *, tolerance: float = 1e-8, most: int = 2000
) -> Coefficients:
    """A⁻¹ z for a symmetric positive operator: the only thing asked of it is its action.

    Raises: DivergedError if the operator is not positive, or ``most`` steps leave a relative residual above ``tolerance``.

    >>> conjugate_gradients(lambda c: 2 * c, torch.ones(1, 1), lambda c: c).item()
    0.5
    """
    x, residual = torch.zeros_like(z), z.clone()
    goal = tolerance * float(z.norm())
    direction = step = precondition(residual)
    size = float((residual * step).sum())
    for _ in range(most):
        if float(residual.norm()) <= goal:
            return x
        image = operator(direction)
        curvature = float((direction * image).sum())
        if not curvature > 0:
            raise DivergedError(
                f"conjugate gradients: curvature {curvature:.3g}: the system is singular; raise the ridge."
            )
        x = x + size / curvature * direction
        residual = residual - size / curvature * image
        step = precondition(residual)
        size, before = float((residual * step).sum()), size
        direction = step + size / before * direction
    if float(residual.norm()) <= goal:
        return x
    raise DivergedError(
        f"conjugate gradients: relative residual {float(residual.norm()) / float(z.norm()):.3g} after {most} steps, "
        f"wanted {tolerance:g}; raise the ridge, the rank of the preconditioner or `most`."
    )
