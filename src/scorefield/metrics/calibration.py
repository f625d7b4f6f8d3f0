"""Is a sampler of p(θ | y) right? If (θ, y) ~ p(θ, y) and θ¹ … θᴸ ~ p(θ | y), then θ is one of L + 1 equals given y.

For any number q(θ, y) the rank of q(θ, y) among the q(θˡ, y) is then uniform on 0 … L, so that

    u = (rank + U(0, 1))/(L + 1)

is uniform on (0, 1), whatever L. Here q is every coordinate of θ (simulation-based calibration: Talts et al. 2018,
theorem 1, arXiv:1804.06788), and the distance of θ from a point that depends on y (tests of accuracy with random points:
Lemos et al. 2023, section 3, arXiv:2302.03026), which sees correlations, and samplers that ignore y. Where p(θ | y) is
known, the Wasserstein distance to it says how wrong the draws are, in units of θ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from .estimate import Estimate, mean
from .pairs import nearest
from .uniformity import uniformity
from .wasserstein import wasserstein2

Sampler = Callable[[Tensor, int, torch.Generator], Tensor]
Simulate = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
Exact = Callable[[int, torch.Generator], Tensor]

DISTANCE = "distance"
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class Calibration:
    """u of every case and quantity, uniform if the sampler is right; and W₂ to the exact posterior where that is known.

    ``names`` are those of the columns of ``u``: the coordinates and "distance"; ``p_values`` test the columns
    (`uniformity`). ``known`` maps a case to its W₂ and the floor, the W₂ between two sets of exact draws.
    """

    u: Float[Tensor, "cases quantities"]
    names: tuple[str, ...]
    draws: int
    p_values: tuple[float, ...]
    known: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)

    @property
    def p_value(self) -> float:
        """Columns × the least of their p-values, at most 1 (Bonferroni): a right sampler is below 0.01 one time in 100."""
        return min(1.0, len(self.p_values) * min(self.p_values))

    def coverage(self, level: float) -> dict[str, Estimate]:
        """The share of cases whose truth lies in the central interval of that level, by name: above it, too wide a sampler.

        Of "distance" it is the ball about the point, of that probability (expected coverage, as in TARP). The errors are
        binomial, √(level (1 − level)/cases). Raises: RangeError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise RangeError(f"Calibration.coverage(level={level:g}): a level lies between 0 and 1.")
        error = (level * (1 - level) / len(self.u)) ** 0.5
        ball = torch.tensor([name == DISTANCE for name in self.names])
        inside = torch.where(ball, self.u < level, (2 * self.u - 1).abs() < level)
        return {name: Estimate(share, error) for name, share in zip(self.names, inside.double().mean(0).tolist())}

    def __str__(self) -> str:
        lines = [f"{len(self.u)} cases of {self.draws} draws: p = {self.p_value:.2g} that all is uniform"]
        heads = "".join(f"{f'{level:.0%} interval':>15s}" for level in LEVELS)
        width = max(10, *map(len, self.names), *map(len, self.known))
        lines.append(f"{'quantity':{width}s} {'p':>7s}{heads}")
        covered = [self.coverage(level) for level in LEVELS]
        for name, p in zip(self.names, self.p_values):
            lines.append(f"{name:{width}s} {p:7.2g}" + "".join(f"{each[name]!s:>15s}" for each in covered))
        if self.known:
            lines.append(f"{'known':{width}s} {'W2':>17s} {'floor':>17s}")
        lines += [f"{name:{width}s} {found!s:>17s} {floor!s:>17s}" for name, (found, floor) in self.known.items()]
        return "\n".join(lines)


def calibration(
    sampler: Sampler,
    simulate: Simulate,
    *,
    cases: int = 200,
    draws: int = 100,
    known: Mapping[str, tuple[Tensor, Exact]] | None = None,
    names: tuple[str, ...] = (),
    seed: int = 0,
) -> Calibration:
    """Ranks of the truth among ``draws`` of a conditional sampler, in fresh ``cases``: uniform if it samples p(θ | y).

    Use it for anything that claims to sample a posterior. ``sampler(y, n, generator)`` gives n draws for one y;
    ``simulate(n, generator)`` gives n pairs (θ, y), of which twice as many are asked as there are cases: the θ of the
    others, at the y nearest to a case's, are the points from which its distances are measured. ``known`` names
    observations with exact samplers: name -> (y, exact(n, generator)). An event of θ is flattened; a function that
    wants an integer takes ``generator.initial_seed()``.

    Raises: RangeError for fewer than 10 cases or 1 draw; ShapeError, DataError if what is drawn has another shape than θ
    or is not finite, naming the case.

    >>> from scorefield.data import GaussianLinear
    >>> task = GaussianLinear(dim=1)
    >>> print(calibration(task.posterior, task.pairs))
    200 cases of 100 draws: p = 1 that all is uniform
    quantity         p   50% interval   80% interval   90% interval   95% interval
    0             0.99    0.53 ± 0.04    0.81 ± 0.03    0.90 ± 0.02    0.94 ± 0.02
    distance       0.8    0.48 ± 0.04    0.82 ± 0.03    0.91 ± 0.02    0.95 ± 0.02
    """
    if cases < 10 or draws < 1:
        raise RangeError(f"calibration(cases={cases}, draws={draws}): at least 10 cases of at least 1 draw are needed.")
    theta, y = simulate(2 * cases, _generator(seed, 0))
    if len(theta) != 2 * cases or len(y) != 2 * cases:
        raise ShapeError(
            f"calibration: simulate({2 * cases}) gave {len(theta)} rows of θ and {len(y)} of y; both must be {2 * cases}."
        )
    flat, unit = theta.flatten(1).double(), theta.flatten(1).double().std(0).clamp(min=1e-300)
    size = flat.shape[1]
    if names and len(names) != size:
        raise ShapeError(f"calibration: {len(names)} names for {size} coordinates of θ; give one for each.")
    seen = y.flatten(1).double() / y.flatten(1).double().std(0).clamp(min=1e-300)
    points = flat[cases:][nearest(seen[:cases], seen[cases:])[1].flatten()]
    broken = torch.rand(cases, size + 1, generator=_generator(seed, 1), dtype=torch.float64)
    ranks = []
    for k in range(cases):
        drawn = _drawn(sampler, y[k], draws, _generator(seed, k + 2), tuple(theta.shape[1:]), f"case {k}")
        apart = [((z - points[k]) / unit).norm(dim=1, keepdim=True) for z in (drawn, flat[k : k + 1])]
        ranks.append((torch.cat([drawn, apart[0]], 1) < torch.cat([flat[k : k + 1], apart[1]], 1)).sum(0))
    u = (torch.stack(ranks) + broken) / (draws + 1)
    found = {
        name: distance_to_exact(sampler, *case, seed=seed + 1 + k)
        for k, (name, case) in enumerate((known or {}).items())
    }
    return Calibration(u, (*(names or map(str, range(size))), DISTANCE), draws, tuple(uniformity(u).tolist()), found)


def distance_to_exact(
    sampler: Sampler, y: Tensor, exact: Exact, *, draws: int = 1000, repeats: int = 4, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """(W₂ between draws of the sampler at y and exact ones, W₂ between two sets of exact ones: the floor).

    Means over ``repeats``, each with fresh draws on both sides, with standard errors. ``exact`` is the ``sample`` of a
    density such as ``prior.given(matrix, y, noise)``. Raises: RangeError for fewer than 2 repeats; as `calibration`.

    >>> from scorefield.exact import Gaussian
    >>> law = Gaussian(torch.zeros(1), torch.eye(1))
    >>> far, floor = distance_to_exact(lambda y, n, g: law.sample(n, g) + 3, torch.zeros(1), law.sample, draws=200)
    >>> float(far) > 2.5, float(floor) < 0.5
    (True, True)
    """
    if repeats < 2 or draws < 1:
        raise RangeError(
            f"distance_to_exact(draws={draws}, repeats={repeats}): at least 1 draw and 2 repeats are needed."
        )
    found, floor = [], []
    for k in range(repeats):
        truth, other = (exact(draws, _generator(seed, 3 * k + j)) for j in range(2))
        drawn = _drawn(sampler, y, draws, _generator(seed, 3 * k + 2), tuple(truth.shape[1:]), "the known case")
        found.append(wasserstein2(drawn, truth))
        floor.append(wasserstein2(other, truth))
    return mean(torch.tensor(found)), mean(torch.tensor(floor))


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def _drawn(
    sampler: Sampler, y: Tensor, n: int, generator: torch.Generator, event: tuple[int, ...], which: str
) -> Tensor:
    drawn = sampler(y, n, generator)
    if tuple(drawn.shape) != (n, *event):
        raise ShapeError(f"calibration: the sampler gave {tuple(drawn.shape)} for {which}; wanted {(n, *event)}.")
    if not bool(drawn.isfinite().all()):
        wrong = (~drawn.flatten(1).isfinite().all(1)).sum()
        raise DataError(f"calibration: {wrong} of {n} draws for {which} are not finite; the sampler diverged there.")
    return drawn.detach().flatten(1).double()
