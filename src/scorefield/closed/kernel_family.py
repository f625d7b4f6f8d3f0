"""The kernel exponential family: log p = log b + Σ_j θ_j φ_j − log Z, fitted by one linear system.

    θ = −(H + λR)⁻¹ h,     H = E Σ_k ∂_kφ ∂_kφᵀ,     h = E [∇φ·∇log b + Δφ],     R = the squared norm of Σ θ_j φ_j

Everything that must be chosen (base, width, λ, and whether to correct the base at all) is chosen by the score-matching
loss of rows held out, H and h being sums over folds; no step knows the true score. H costs n p², whatever d, in chunks of rows,
so that memory does not grow with n. Log Z is a mean over draws from the base.

Sriperumbudur, Fukumizu, Gretton, Hyvärinen and Kumar (2017), JMLR 18(57), theorem 5, arXiv:1312.3516; Sutherland, Strathmann,
Arbel and Gretton (2018), arXiv:1705.08360.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..errors import DataError, DivergedError, RangeError, ShapeError
from ..models import Score
from ..tensors import Draws, sum_event
from .base import Base, Shrunk, divergence, fit_base, losses
from .features import Features, Fourier, Nystrom
from .kernels import RBF, Kernel, Points, median_width, sample
from .notes import heaps_of

Numbers = Float[Tensor, "n"]
RIDGES = tuple(10.0**k for k in range(-7, 2))
BASES = (Shrunk(1.0), Shrunk(0.7), Shrunk(0.4), Shrunk(0.1))


@dataclass(frozen=True)
class Choice:
    """What the held-out rows chose: gain ± error is the fall of their loss below that of the first base alone, nats per row."""

    base: Base
    kernel: Kernel | None
    ridge: float
    gain: float
    error: float


class KernelDensity(nn.Module):
    """p ∝ b exp(Σ_j θ_j φ_j), what `KernelExponentialFamily.fit` returns. Calling it gives the score ∇ log p.

    `energy` is −log p up to a constant, `log_density` needs `normalised` first; ``notes``, which are printed, say what a reader
    should know before using it, such as modes far apart.
    """

    def __init__(
        self,
        base: Score,
        features: Features,
        theta: Float[Tensor, "p"],
        choice: Choice | None = None,
        log_normaliser: float = math.nan,
        log_normaliser_error: float = math.nan,
        notes: Sequence[str] = (),
    ):
        super().__init__()
        self.base, self.features, self.choice, self.notes = base, features, choice, tuple(notes)
        self.theta: Tensor
        self.register_buffer("theta", theta)
        self.log_normaliser, self.log_normaliser_error = log_normaliser, log_normaliser_error

    def forward(self, x: Points) -> Points:
        return self.base(x) + self.features.slope(x.to(self.theta), self.theta).to(x.dtype)

    def divergence(self, x: Points) -> Numbers:
        """div s in closed form."""
        return divergence(self.base, x) + self.features.laplacian(x.to(self.theta), self.theta).to(x.dtype)

    def losses(self, x: Points) -> Numbers:
        """½‖s‖² + div s, Hyvärinen's loss of each row."""
        return 0.5 * sum_event(self(x).detach() ** 2) + self.divergence(x)

    def energy(self, x: Points) -> Numbers:
        """−log p(x) in nats, up to a constant. Raises: ShapeError if the base has no ``log_density``."""
        log_density = getattr(self.base, "log_density", None)
        if log_density is None:
            raise ShapeError("KernelDensity.energy: the base has no log_density; give one that has, such as Shrunk().")
        return -log_density(x) - self.features.values(x.to(self.theta), self.theta).to(x.dtype)

    def log_density(self, x: Points) -> Numbers:
        """log p(x) in nats, normalised. Raises: RangeError before `normalised`."""
        if math.isnan(self.log_normaliser):
            raise RangeError("KernelDensity.log_density: log Z is not known yet; call normalised(n) first.")
        return -self.energy(x) - self.log_normaliser

    def normalised(self, n: int = 100_000, *, generator: Draws | None = None) -> "KernelDensity":
        """The same with log Z = log E_b exp(Σ θ_j φ_j) from n draws of the base, and its standard error by the delta method.

        Raises: ShapeError if the base has no ``sample``; RangeError for n < 2; DataError if fewer than 100 draws carry the
        weight: such a number would be a guess, and annealing is needed (`metrics.log_normaliser`).
        """
        draw = getattr(self.base, "sample", None)
        if draw is None or n < 2:
            raise (ShapeError if draw is None else RangeError)(
                f"KernelDensity.normalised(n={n}): wanted a base with sample(n), and n ≥ 2."
            )
        tilt = self.features.values(draw(n, generator).to(self.theta), self.theta)
        top = float(tilt.max())
        weights = (tilt - top).exp()
        effective = float(weights.sum() ** 2 / weights.square().sum())
        if effective < 100:
            raise DataError(
                f"KernelDensity.normalised(n={n}): {effective:.0f} draws carry the weight; draw more, or anneal with "
                "metrics.log_normaliser."
            )
        error = float(weights.std() / weights.mean()) / math.sqrt(n)
        log_z = top + math.log(float(weights.mean()))
        return KernelDensity(self.base, self.features, self.theta, self.choice, log_z, error, self.notes)

    def extra_repr(self) -> str:
        return "\n".join(f"! {note}" for note in self.notes)


@dataclass(frozen=True)
class KernelExponentialFamily:
    """b + ∇Σ θ_j φ_j by one linear solve, with base, width and ridge chosen by held-out rows: `fit` it to (n, d).

    ``kernel`` gives the shape, ``multiples`` its widths in median distances (one width as it is if None), ``basis`` the features:
    `Nystrom` or `Fourier`; ``ridges`` are λ in units of the mean eigenvalue of R⁻¹H. The first of ``bases`` is the simplest: it stays,
    alone, unless another gains more than ``caution`` standard errors on held-out rows (at most ``most`` of them choose).
    Raises: RangeError for lists that are empty or numbers out of range; by `fit`, ShapeError and DataError for rows that cannot be
    fitted (which), DivergedError if no system is regular.

    >>> x = torch.randn(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> x = torch.where(torch.arange(300)[:, None] % 2 == 0, x / 4 - 1, x / 4 + 1)
    >>> s = KernelExponentialFamily(basis=Nystrom(50)).fit(x)
    >>> bool(s(torch.tensor([[0.5]])) > 1), s.choice.gain > 0
    (True, True)
    """

    kernel: Kernel = field(default_factory=RBF)
    basis: Nystrom | Fourier = field(default_factory=Nystrom)
    bases: tuple[Base, ...] = BASES
    multiples: tuple[float, ...] | None = (0.25, 0.5, 1.0, 2.0)
    ridges: tuple[float, ...] = RIDGES
    folds: int = 5
    caution: float = 2.0
    most: int = 10_000
    seed: int = 0

    def __post_init__(self):
        positive = (
            self.ridges and min(self.ridges) > 0 and (self.multiples is None or min(self.multiples, default=0) > 0)
        )
        if not self.bases or not positive or self.folds < 2 or self.caution < 0 or self.most < 2:
            raise RangeError(
                f"KernelExponentialFamily(bases={self.bases}, multiples={self.multiples}, ridges={self.ridges}, "
                f"folds={self.folds}, caution={self.caution:g}, most={self.most}): wanted at least one base, positive widths "
                "and ridges, 2 folds or more, caution ≥ 0."
            )

    def fit(self, x: Shaped[Tensor, "*rows"]) -> KernelDensity:
        """The density of the rows of x."""
        x = sample("KernelExponentialFamily.fit", x, least=max(4, self.folds))
        generator = torch.Generator().manual_seed(self.seed)
        x = x[torch.randperm(len(x), generator=generator).to(x.device)]
        folds = _Folds(x[: self.most], self.bases, self.folds)
        unit = median_width(x) if self.multiples else 1.0
        kernels = [replace(self.kernel, width=m * unit) for m in self.multiples] if self.multiples else [self.kernel]
        tried = [self.basis.features(kernel, x, generator) for kernel in kernels]
        found = [(float(loss.mean()), index, 0, math.inf) for index, loss in enumerate(folds.base_losses)]
        for which, features in enumerate(tried):
            found += [(loss, index, which, ridge) for index, ridge, loss in folds.path(features, self.ridges)]
        index, which, ridge, gain, error = self._decide(folds, tried, sorted(found))
        kernel, chosen = kernels[which] if ridge < math.inf else None, tried[which]
        base = fit_base(self.bases[index], x)
        theta = x.new_zeros(chosen.count)
        if kernel is not None:
            h, force = chosen.moments(x, [base(x).detach()])
            theta = _System(whitening(chosen), h / len(x)).solve(force[:, 0] / len(x), [ridge])[0]
        choice = Choice(self.bases[index], kernel, ridge, gain, error)
        return KernelDensity(base, chosen, theta, choice, notes=heaps_of(x))

    def _decide(
        self, folds: "_Folds", tried: Sequence[Features], found: list[tuple[float, int, int, float]]
    ) -> tuple[int, int, float, float, float]:
        """The best candidate whose gain is what H promised and more than its error could be; the first base if there is none.

        Where H is nearly singular and λ small, rounding makes promises, which the gain computed row by row does not keep: then
        only larger λ of that kernel are tried. Narrow kernels may gain most on average and by a few rows alone: then the next.
        """
        simple = float(folds.base_losses[0].mean())
        least = [0.0] * len(tried)
        for loss, index, which, ridge in found:
            if loss >= simple:
                break
            if ridge <= least[which]:
                continue
            gains = folds.gains(index, tried[which], ridge)
            gain, error = float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))
            if abs(gain - (simple - loss)) > 0.1 * error + 1e-8 * (1 + abs(simple)):
                least[which] = ridge
            elif gain > self.caution * error:
                return index, which, ridge, gain, error
        return 0, 0, math.inf, 0.0, 0.0


def whitening(features: Features) -> Float[Tensor, "p r"]:
    """T with TᵀRT = I on all of R but its null space: coordinates in which the norm of a function is that of its coefficients.

    >>> from .features import Centres
    >>> [round(float(t), 3) for t in whitening(Centres(RBF(1.0), torch.zeros(2, 1))).abs().flatten()]
    [0.5, 0.5]
    """
    values, vectors = torch.linalg.eigh(features.penalty())
    kept = values > 1e-10 * values[-1]
    return vectors[:, kept] / values[kept].sqrt()


class _System:
    """θ(λ) = −(H + λ c R)⁻¹ h for every λ from one eigendecomposition; c is the mean eigenvalue of H in coordinates where R = I."""

    def __init__(self, root: Tensor, h: Tensor):
        inside = root.T @ h @ root
        self.scale = float(inside.trace()) / root.shape[1]
        if not (bool(inside.isfinite().all()) and self.scale > 0):
            raise DivergedError(
                f"kernel family of {len(root)} features: H is not finite and positive; widen the kernel."
            )
        self.values, vectors = torch.linalg.eigh((inside + inside.T) / 2)
        self.root = root @ vectors

    def solve(self, force: Tensor, ridges: Sequence[float]) -> Float[Tensor, "ridges p"]:
        along = self.root.T @ force
        shifted = self.values.clamp(min=0) + self.scale * force.new_tensor(ridges)[:, None]
        return -(along / shifted) @ self.root.T


class _Folds:
    """The rows that choose, cut into folds; every base fitted without the fold that judges it."""

    def __init__(self, x: Points, bases: Sequence[Base], folds: int):
        self.x, self.folds = x, min(folds, len(x))
        self.of = torch.arange(len(x), device=x.device) % self.folds
        self.known: dict[Features, list[tuple]] = {}
        self.fields: list[list[Points]] = []
        self.base_losses: list[Numbers] = []
        for base in bases:
            fields, loss = [], x.new_zeros(len(x))
            for k in range(self.folds):
                fitted = fit_base(base, x[self.of != k])
                fields.append(fitted(x).detach())
                loss[self.of == k] = losses(fitted, x[self.of == k])
            self.fields.append(fields)
            self.base_losses.append(loss)

    def path(self, features: Features, ridges: Sequence[float]) -> Iterator[tuple[int, float, float]]:
        """(base, ridge, mean held-out loss) for all pairs."""
        total = [loss.mean() + self.x.new_zeros(len(ridges)) for loss in self.base_losses]
        for _, system, _, inside, outside in self._systems(features):
            held, forces = outside
            for index in range(len(total)):
                theta = system.solve(inside[:, index], ridges)
                values = 0.5 * ((theta @ held) * theta).sum(1) + theta @ forces[:, index]
                total[index] = total[index] + values / len(self.x)
        for index, values in enumerate(total):
            for ridge, value in zip(ridges, values.tolist()):
                yield index, ridge, value if math.isfinite(value) else math.inf

    def gains(self, index: int, features: Features, ridge: float) -> Numbers:
        """The loss of the first base less that of a candidate, of each held-out row: computed row by row, not by H."""
        after = self.base_losses[index].clone()
        if math.isfinite(ridge):
            for k, system, rows, inside, _ in self._systems(features):
                theta = system.solve(inside[:, index], [ridge])[0]
                x, b = self.x[rows], self.fields[index][k][rows]
                g = features.slope(x, theta)
                after[rows] += 0.5 * sum_event(g**2) + sum_event(g * b) + features.laplacian(x, theta)
        return self.base_losses[0] - after

    def _systems(self, features: Features) -> list[tuple]:
        """(k, the system without fold k, rows of fold k, h without it, (H, h) of fold k), kept for each features."""
        if features not in self.known:
            self.known[features] = list(self._solved(features))
        return self.known[features]

    def _solved(self, features: Features) -> Iterator[tuple]:
        root = whitening(features)
        columns = [field for fields in self.fields for field in fields]
        parts = []
        for k in range(self.folds):
            rows = self.of == k
            parts.append(features.moments(self.x[rows], [column[rows] for column in columns]))
        h, force = sum(p[0] for p in parts), sum(p[1] for p in parts)
        for k, (held, forces) in enumerate(parts):
            mine = torch.arange(len(self.fields), device=self.x.device) * self.folds + k
            rows = self.of == k
            left = len(self.x) - int(rows.sum())
            inside = (force - forces)[:, mine] / left
            yield k, _System(root, (h - held) / left), rows, inside, (held, forces[:, mine])
