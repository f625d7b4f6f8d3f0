"""Estimates with their covariance: standard errors, intervals, tests, and functions of them.

    θ̂ ≈ N(θ, V)      interval θ̂_k ± z √V_kk      Wald (Rθ̂ − r)ᵀ (R V Rᵀ)⁻¹ (Rθ̂ − r) ~ χ²_q      g(θ̂) ≈ N(g(θ), G V Gᵀ)

van der Vaart (1998), "Asymptotic statistics", chapters 3 and 5.
"""

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Parameters = Float[Tensor, "p"]


@dataclass(frozen=True)
class Test:
    """A statistic, its degrees of freedom, and the p-value of χ²."""

    __test__ = False  # not one of pytest's

    statistic: float
    freedom: int
    p_value: float

    def __str__(self) -> str:
        return f"χ²({self.freedom}) = {self.statistic:.3f}, p = {self.p_value:.3g}"


class Inference(ABC):
    """θ̂ ≈ N(θ, V): whatever has ``names``, ``theta`` and ``covariance`` has errors, intervals, tests and functions of them."""

    names: tuple[str, ...]
    theta: Parameters
    covariance: Float[Tensor, "p p"]

    def __getitem__(self, name: str) -> float:
        return float(self.theta[self._place(name)])

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise unknown("parameter", name, self.names)
        return self.names.index(name)

    @property
    def standard_errors(self) -> Parameters:
        """√V_kk."""
        return self.covariance.diagonal().clamp(min=0).sqrt()

    def error(self, name: str) -> float:
        """The standard error of one parameter."""
        return float(self.standard_errors[self._place(name)])

    def interval(self, level: float = 0.95) -> Float[Tensor, "p 2"]:
        """θ̂ ± z √V_kk, which covers θ_k with probability ``level`` as n grows. Raises: RangeError for a level outside (0, 1)."""
        if not 0 < level < 1:
            raise RangeError(f"interval(level={level:g}): the level must lie in (0, 1); 0.95 is usual.")
        reach = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64))) * self.standard_errors
        return torch.stack([self.theta - reach, self.theta + reach], 1)

    def wald(
        self,
        matrix: Float[Tensor, "q p"] | Sequence[str],
        values: Float[Tensor, "q"] | None = None,
    ) -> Test:
        """Test of Rθ = r (r = 0 unless given): ``matrix`` is R, or the names of parameters that are all to be r.

        Raises: ShapeError if the shapes disagree, DataError for a singular R V Rᵀ: fixed or repeated combinations.
        """
        if isinstance(matrix, Tensor):
            r = matrix.to(self.theta)
        else:
            r = torch.eye(len(self.names)).to(self.theta)[[self._place(name) for name in matrix]]
        goal = self.theta.new_zeros(len(r)) if values is None else values.to(self.theta)
        if r.shape != (len(goal), len(self.theta)):
            raise ShapeError(
                f"wald: R {tuple(r.shape)} and r {tuple(goal.shape)} for {len(self.theta)} parameters: wanted (q, p) and (q,)."
            )
        middle = r @ self.covariance @ r.T
        scale = middle.diagonal().sqrt()
        values_ = torch.linalg.eigvalsh(middle / scale / scale[:, None]) if bool((scale > 0).all()) else scale * 0
        if float(values_[0]) < 1e-12 * len(values_):
            raise DataError("wald: the combinations tested are fixed or depend on each other; leave some out.")
        gap = r @ self.theta - goal
        statistic = gap @ torch.linalg.solve(middle, gap)
        tail = torch.special.gammaincc(torch.tensor(len(r) / 2).to(statistic), statistic / 2)
        return Test(float(statistic), len(r), float(tail))

    def transform(self, function: Callable[[Parameters], Float[Tensor, "q"]], names: Sequence[str]) -> "Estimates":
        """g(θ̂) with covariance G V Gᵀ: the delta method, for any differentiable g: (p,) -> (q,).

        Raises: ShapeError unless there is one name for each value.
        """
        values = function(self.theta)
        if values.shape != (len(names),):
            raise ShapeError(f"transform: a function of shape {tuple(values.shape)} for {len(names)} names.")
        jacobian = torch.func.jacrev(function)(self.theta)
        return Estimates(tuple(names), values.detach(), jacobian @ self.covariance @ jacobian.T)

    def __str__(self) -> str:
        lines = [f"{'':<12} {'estimate':>10} {'std. error':>11} {'z':>9} {'p':>6} {'95 % interval':>23}"]
        for name, value, error, (low, high) in zip(
            self.names, self.theta.tolist(), self.standard_errors.tolist(), self.interval().tolist()
        ):
            if error == 0:
                lines.append(f"{name:<12} {value:>10.5g} {'fixed':>11}")
                continue
            p = float(torch.special.erfc(torch.tensor(abs(value) / error / 2**0.5, dtype=torch.float64)))
            tail = "<.0001" if p < 1e-4 else f"{p:.4f}"[1:] if p < 1 else "1.000"
            lines.append(
                f"{name:<12} {value:>10.5g} {error:>11.4g} {value / error:>9.2f} {tail:>6} {low:>13.5g} {high:>9.5g}"
            )
        return "\n".join(lines)

    def plot(self, level: float = 0.95) -> "Figure":
        """A dot and an interval for each parameter that is not fixed. Raises: MissingPackageError without matplotlib."""
        from ..plots import intervals

        keep = [k for k, error in enumerate(self.standard_errors.tolist()) if error > 0]
        reach = self.interval(level)[keep]
        return intervals(
            [self.names[k] for k in keep],
            self.theta[keep].tolist(),
            reach.tolist(),
            title=f"{100 * level:g} % intervals",
        )


@dataclass(frozen=True, eq=False)
class Estimates(Inference):
    """Estimates under their names, with the covariance of their error (zero for what is fixed).

    >>> print(Estimates(("a", "b"), torch.tensor([1.0, 2.0]), torch.tensor([[0.04, 0.0], [0.0, 0.0]])))
                   estimate  std. error         z      p           95 % interval
    a                     1         0.2      5.00 <.0001       0.60801     1.392
    b                     2       fixed
    """

    names: tuple[str, ...]
    theta: Parameters
    covariance: Float[Tensor, "p p"]
