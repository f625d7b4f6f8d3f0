"""Nonparametric scores: s = b − g(L) ζ, the regularised solution of L (s − b) = −ζ in a space of vector fields.

    L = E K(·, X) K(X, ·),     ζ = E [div_X K(·, X) + K(·, X) b(X)] = −L (∇log p − b)     by Stein's identity

With b = 0 these are the estimators of Zhou, Shi and Zhu (2020), section 3, arXiv:2005.10099. `Tikhonov` with `CurlFree` is the
kernel exponential family (Sriperumbudur et al. 2017, theorem 5, arXiv:1312.3516); with `Diagonal` it is the Stein estimator, which
at the sample is −(K + nλ)⁻¹ ⟨∇, K⟩ (Li and Turner 2018, arXiv:1705.07107); `CutOff` with `Diagonal(RBF())` is SSGE.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..errors import DivergedError, RangeError, ShapeError
from ..models import Score
from ..tensors import sum_event
from .base import Base, Shrunk, divergence, fit_base
from .fields import CurlFree, Diagonal, FieldKernel
from .kernels import Kernel, Points, median_width, sample
from .notes import heaps_of
from .spectral import CutOff, NuMethod, Regularise, require_small

Numbers = Float[Tensor, "n"]


class KernelField(nn.Module):
    """s(x) = b(x) + Σ_j [a div_y K(x, y_j) + K(x, y_j) c_j]: what `KernelScore.fit` returns. Calling it gives the score.

    `notes`, which are printed, say what a reader should know before using it, such as modes far apart.
    Its ``energy`` exists if the kernel is `CurlFree` and the base knows its log-density: MALA and `log_normaliser` need it.
    """

    def __init__(self, base: Score, kernel: FieldKernel, centres: Points, a: float, c: Points):
        super().__init__()
        self.base, self.kernel, self.a = base, kernel, a
        self.centres: Tensor
        self.c: Tensor
        self.register_buffer("centres", centres)
        self.register_buffer("c", c)

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of one example."""
        return (self.centres.shape[1],)

    def forward(self, x: Points) -> Points:
        y = self._checked(x)
        return self.base(x) + self.kernel.field(y, self.centres, self.a, self.c).to(x.dtype)

    def divergence(self, x: Points) -> Numbers:
        """div s in closed form: no derivative is taken."""
        y = self._checked(x)
        return divergence(self.base, x) + self.kernel.divergence(y, self.centres, self.a, self.c).to(x.dtype)

    def losses(self, x: Points) -> Numbers:
        """½‖s‖² + div s, Hyvärinen's loss of each row: what is least, on average over fresh rows, at the true score."""
        return 0.5 * sum_event(self(x).detach() ** 2) + self.divergence(x)

    def energy(self, x: Points) -> Numbers:
        """−log p(x) in nats, up to a constant. Raises: ShapeError for a `Diagonal` kernel or a base without log-density."""
        log_density = getattr(self.base, "log_density", None)
        if not isinstance(self.kernel, CurlFree) or log_density is None:
            raise ShapeError(
                f"KernelField({self.kernel}).energy: a field of this kernel and base has no potential; use CurlFree, and a "
                "base with log_density."
            )
        return -log_density(x) - self.kernel.potential(self._checked(x), self.centres, self.a, self.c).to(x.dtype)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know before using it; empty if nothing stands out."""
        return heaps_of(self.centres)

    def extra_repr(self) -> str:
        return "\n".join(f"! {note}" for note in self.notes)

    def _checked(self, x: Points) -> Points:
        if x.shape[1:] != self.shape:
            raise ShapeError(f"KernelField on {self.shape[0]} variables got x of shape {tuple(x.shape)}.")
        return x.to(self.centres.dtype)


@dataclass(frozen=True)
class KernelScore:
    """s = b − g(L) ζ: a score from n rows in n² d operations a step and memory that does not grow as n².

    Use it up to some thousand rows; `KernelExponentialFamily` is for more. Widths are in units of x: scale the columns alike.
    Zhou et al. (2020), arXiv:2005.10099. Errors of `fit`: ShapeError, DataError for rows that are not fit for it, by row;
    DivergedError for a singular system; MemoryLimitError if `CutOff` would need too large a matrix.

    >>> from .kernels import IMQ
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> s = KernelScore(CurlFree(IMQ(3.0)), NuMethod(5)).fit(x)
    >>> bool(((s(x) + x) ** 2).sum(1).mean() < 0.2)
    True
    """

    kernel: FieldKernel = field(default_factory=CurlFree)
    regularise: Regularise = field(default_factory=NuMethod)
    base: Base = field(default_factory=Shrunk)

    def fit(self, x: Shaped[Tensor, "*rows"]) -> KernelField:
        """The score of the law that the rows of x were drawn from."""
        y = sample("KernelScore.fit", x)
        n, kernel = len(y), self.kernel
        if isinstance(self.regularise, CutOff):
            require_small(n if isinstance(kernel, Diagonal) else y.numel())
        base = fit_base(self.base, y)
        b = base(y).detach()
        z = kernel.field(y, y, 1 / n, b / n)
        zero, w = self.regularise.solve(lambda c: kernel.field(y, y, 0.0, c) / n, z, lambda: kernel.gram(y) / n)
        if not bool(w.isfinite().all()):
            raise DivergedError(f"{self}.fit: coefficients are not finite; widen the kernel or regularise more.")
        return KernelField(base, kernel, y, -zero / n, -(zero * b + w) / n)


def widths(kernel: Kernel, x: Points, multiples: Sequence[float] = (0.5, 1.0, 2.0, 4.0)) -> list[Kernel]:
    """The kernel at multiples of the median distance of x: candidates for `choose`.

    >>> from .kernels import IMQ
    >>> [k.width for k in widths(IMQ(), torch.tensor([[0.0], [1.0], [2.0]]), (1.0, 2.0))]
    [1.0, 2.0]
    """
    unit = median_width(x)
    return [replace(kernel, width=float(multiple * unit)) for multiple in multiples]


def choose(
    candidates: Sequence[KernelScore], x: Shaped[Tensor, "*rows"], *, folds: int = 5, seed: int = 0
) -> KernelField:
    """The candidate of least held-out score-matching loss, fitted to all of x. The truth is not asked, nor needed.

    Every row is held out once; which rows belong together is decided by ``seed``. Candidates that fail on a fold are out.
    Raises: RangeError for no candidates or folds outside 2 … n; errors of `KernelScore.fit` if all of them fail.

    >>> from .kernels import IMQ
    >>> x = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> choose([KernelScore(CurlFree(k), NuMethod(4)) for k in widths(IMQ(), x)], x).kernel.kernel.width > 0
    True
    """
    x = sample("choose", x)
    if not candidates or not 2 <= folds <= len(x):
        raise RangeError(f"choose({len(candidates)} candidates, folds={folds}) of {len(x)} rows: wanted 2 ≤ folds ≤ n.")
    fold = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)) % folds
    totals, failure = [], None
    for candidate in candidates:
        total = 0.0
        for k in range(folds):
            try:
                total += float(candidate.fit(x[fold != k]).losses(x[fold == k]).sum())
            except DivergedError as error:
                failure, total = error, torch.inf
                break
        totals.append(total if total == total else torch.inf)
    best = min(range(len(totals)), key=totals.__getitem__)
    if totals[best] == torch.inf:
        raise failure or DivergedError("choose: no candidate has a finite held-out loss; regularise more.")
    return candidates[best].fit(x)
