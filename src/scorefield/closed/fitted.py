"""What a fit knows: a score with its parameters, their errors, and what a reader should be warned of.

criterion      n ℓ̄(θ̂) + tr(B⁻¹ S),  S = n M: unbiased for n times the objective on fresh data
               Matsuda, Uehara & Hyvärinen (2021), JMLR 22, SMIC, arXiv:1905.05976; the trace penalty is that of Takeuchi (1976)
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import RangeError
from ..tensors import Draws
from . import notes as noted
from . import resampling
from .checks import places
from .family import Family, Numbers, Parameters, Points
from .inference import Estimates, Inference
from .rows import Problem


@dataclass(frozen=True, eq=False)
class Fitted(Inference):
    """A fitted model: ``fitted(x)`` is its score; `theta` ± `standard_errors`, tests, criteria; print it.

    Made by `fit`. ``bread`` is B and ``pulls`` the r_i u_i, over free parameters. Whatever takes a score takes it; MALA takes its
    `energy`.

    >>> from scorefield.closed import Normal, fit
    >>> fitted = fit(Normal(1), torch.randn(500, 1, generator=torch.Generator().manual_seed(0)))
    >>> fitted(torch.zeros(2, 1)).shape
    torch.Size([2, 1])
    """

    problem: Problem
    names: tuple[str, ...]
    theta: Parameters
    covariance: Float[Tensor, "p p"]
    free: Shaped[Tensor, "p"]
    bread: Float[Tensor, "q q"]
    pulls: Float[Tensor, "n q"]
    x: Points
    mass: Numbers
    clusters: Shaped[Tensor, "n"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of one row."""
        return tuple(self.x.shape[1:])

    def __call__(self, x: Points) -> Points:
        """∇ log p(x; θ̂), within the domain's tangent spaces."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            value = self.problem.log_density(self.theta.to(x), y)
            (slope,) = torch.autograd.grad(value.sum(), y, create_graph=keep)
        return self.problem.domain.tangent(x, slope)

    def log_density(self, x: Points) -> Numbers:
        """log p(x; θ̂) up to a constant, in nats."""
        return self.problem.log_density(self.theta.to(x), x)

    def energy(self, x: Points) -> Numbers:
        """−log p(x; θ̂) up to a constant, in nats; infinite outside the domain, so that MALA stays within."""
        inside = self.problem.domain.contains(x)
        return torch.where(inside, -self.log_density(torch.where(inside[:, None], x, self.x[:1].to(x))), torch.inf)

    def losses(self, x: Shaped[Tensor, "..."]) -> Numbers:
        """ℓ(θ̂; x), one number a row: their mean on fresh data compares models that share domain and weight.

        Raises: as `fit`, for points outside the domain.
        """
        points = places(x)
        self.problem.domain.check(points)
        return torch.cat([rows.losses(self.theta) for rows, _ in self.problem.chunks(points)])

    @cached_property
    def weights(self) -> Numbers:
        """How much each row counts: the observation weights, times p(x_i; θ̂)ᶜ after `windham`; of mean 1."""
        if not self.problem.tuning:
            return self.mass
        parts = (rows.tilt(self.theta) * part for rows, (part,) in self.problem.chunks(self.x, self.mass))  # type: ignore[attr-defined]
        return torch.cat(list(parts))

    @property
    def objective(self) -> float:
        """The mean of ℓ(θ̂) on the data that were fitted."""
        return float(self.mass @ self.losses(self.x)) / len(self.x)

    @property
    def penalty(self) -> float:
        """tr(B⁻¹ S): what fitting gained on these data and loses on fresh ones, times n; p if the model were a likelihood."""
        inner = self.covariance[self.free][:, self.free]
        return len(self.x) * float((self.bread * inner).sum())

    @property
    def criterion(self) -> float:
        """n ℓ̄ + tr(B⁻¹ S): smaller is better, between models with the same data, domain and weight.

        Raises: RangeError after `windham`, whose estimate minimises nothing; compare `losses` on fresh rows.
        """
        if self.problem.tuning:
            raise RangeError("criterion after windham: no objective was minimised; compare losses on fresh rows.")
        return len(self.x) * self.objective + self.penalty

    @cached_property
    def readable(self) -> Estimates | None:
        """The parameters as people call them, by the delta method: a mean, a concentration. None if the family has no such names."""
        model = self.problem.model
        if not isinstance(model, Family) or not model.readable_names or self.flaw:
            return None
        return self.transform(model.readable, model.readable_names)

    @cached_property
    def flaw(self) -> str | None:
        """Why no density has these parameters, if none has: score matching never asks for one."""
        model = self.problem.model
        return model.improper(self.theta) if isinstance(model, Family) else None

    def jackknife(self, *, refits: bool = False) -> Estimates:
        """θ̂ without each row (or cluster) in turn: bias-corrected, with the covariance (n − 1)/n Σ (θ̂_(−i) − mean)².

        One Newton step each, all in one batched solve: exact for families, to O(1/n²) for other models and after `windham`, where
        ``refits`` go to the end, at n times the cost. Raises: DataError for one cluster or if too little is left without a row,
        DivergedError for a refit that does not arrive.
        """
        return resampling.jackknife(self, refits)

    def bootstrap(
        self, replications: int = 1000, generator: Draws | None = None, *, refits: bool = False
    ) -> Float[Tensor, "replications p"]:
        """θ̂* of resampled rows (or clusters), all replications at once: counts times derivatives and pulls as matrix products.

        Their covariance and quantiles are those of the estimate. One Newton step is exact for families and leaves O(1/n) of a move
        of n^{−1/2} otherwise; ``refits`` go to the end. Raises: RangeError for fewer than 2 replications, DataError if a
        resampled system is singular, DivergedError for a refit that does not arrive.
        """
        return resampling.bootstrap(self, replications, generator, refits)

    @cached_property
    def efficiency(self) -> float:
        """The variance of maximum likelihood over that of score matching, in the worst direction: an estimate from the data.

        By information, Cov[∂ log p/∂θ], which needs no normalising constant if the model is right. Raises: RangeError after `windham`,
        for rows with outliers do not show the model's information.
        """
        if self.problem.tuning:
            raise RangeError("efficiency after windham: outliers hide the information; see fit on the rows that count.")
        return noted.efficiency(self)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know before using the figures; empty if nothing stands out."""
        return tuple(noted.notes(self))

    def __str__(self) -> str:
        kind, n = type(self.problem.model).__name__, len(self.x)
        groups = "" if self.clusters is None else f" in {len(self.clusters.unique())} clusters"
        head = f"Score matching of {kind} on {self.problem.domain}, weight {self.problem.weight}, {n} rows{groups}"
        lines = [head, super().__str__()]
        if self.readable is not None:
            lines += ["", str(self.readable)]
        lines.append("")
        if self.problem.tuning:
            low = int((self.weights < 0.01).sum())
            lines.append(f"Windham weights, tuning {self.problem.tuning:g}: {low} of {n} rows count less than 0.01")
        else:
            penalty = f"(penalty {self.penalty:.3g})"
            lines.append(f"objective {self.objective:.6g} a row   criterion {self.criterion:.6g} {penalty}")
            lines.append(f"efficiency against maximum likelihood, worst direction, estimated: {self.efficiency:.2g}")
        return "\n".join(lines + [f"! {note}" for note in self.notes])
