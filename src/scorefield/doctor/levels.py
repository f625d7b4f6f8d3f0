"""Noise levels against the data, before anyone trains.

largest    σ₁ near the largest distance D between two rows: from noise around one row, the posterior weight of a row
           at distance D is at most ½ exp(−D²/8σ₁²)             technique 1, Song & Ermon 2020, arXiv:2006.09011
ratio      γ = σ_{i−1}/σ_i so that neighbouring shells of noise overlap by one half,
           Φ(√(2d)(γ − 1) + 3γ) − Φ(√(2d)(γ − 1) − 3γ) = ½      technique 2, ibid.
prior      KL(N(αm, α²C + σ²I) ‖ N(0, σ²I)) = ½ Σ (ρλ − log(1 + ρλ)) + ½ ρ|m|²,  ρ = α²/σ² at t = 1
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import RangeError
from ..metrics.pairs import nearest_others, squared_distances
from ..metrics.pairs import rows as matrices
from ..noises import Gaussian
from ..tensors import Streams, normal
from .finding import Finding, Verdict, judged

Values = Float[Tensor, "rows *event"]
ROWS = 1000


class Distances(NamedTuple):
    """The largest and the median distance between two rows, and the median distance of a row to its nearest other."""

    largest: float
    median: float
    nearest: float


def distances(x: Values, rows: int = ROWS) -> Distances:
    """Distances between at most ``rows`` evenly spaced rows of x, in units of x.

    Raises: DataError for fewer than 2 rows or values that are not finite; ShapeError for rows that cannot be compared.

    >>> [round(d, 6) for d in distances(torch.tensor([[0.0], [1.0], [4.0]]))]
    [4.0, 3.0, 1.0]
    """
    (some,) = matrices(thinned(x, rows), least=2)
    squared = torch.cat([block for _, block in squared_distances(some, some)])
    apart = squared[torch.ones_like(squared, dtype=torch.bool).triu(1)].sqrt()
    return Distances(float(apart.max()), float(apart.median()), float(nearest_others(some)[0].median()))


def thinned(x: Shaped[Tensor, "all *event"], rows: int) -> Shaped[Tensor, "some *event"]:
    """At most ``rows`` rows of x, evenly spaced.

    >>> thinned(torch.arange(5.0), 3).tolist()
    [0.0, 2.0, 4.0]
    """
    return x if len(x) <= rows else x[torch.linspace(0, len(x) - 1, rows).round().long()]


def overlap(ratio: float, dim: int) -> float:
    """Φ(√(2d)(γ − 1) + 3γ) − Φ(√(2d)(γ − 1) − 3γ): how much the noise of one level covers that of the next.

    Song & Ermon (2020), technique 2. ``ratio`` is γ ≥ 1, ``dim`` the number of coordinates d.

    >>> round(overlap(1.0, 784), 3), round(overlap(1.5, 784), 3)
    (0.997, 0.0)
    """
    middle, reach = math.sqrt(2 * dim) * (ratio - 1), 3 * ratio
    return _cdf(middle + reach) - _cdf(middle - reach)


def best_ratio(dim: int, wanted: float = 0.5) -> float:
    """The γ at which neighbouring levels overlap by ``wanted``; at most 2, where few dimensions would allow any.

    Raises: RangeError unless 0 < wanted < 0.99.

    >>> round(best_ratio(784), 3), best_ratio(2)
    (1.082, 2.0)
    """
    if not 0 < wanted < 0.99:
        raise RangeError(f"best_ratio(wanted={wanted:g}): the overlap must lie in (0, 0.99); the paper's is 0.5.")
    low, high = 1.0, 2.0
    if overlap(high, dim) >= wanted:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if overlap(middle, dim) > wanted else (low, middle)
    return low


def rungs(top: float, floor: float, dim: int) -> int:
    """How many geometric levels lead from ``top`` to ``floor`` in ratios of at most `best_ratio`.

    Technique 2 of Song & Ermon (2020). Raises: RangeError unless 0 < floor < top.

    >>> rungs(4.0, 0.5, 2), rungs(29.6, 0.01, 784)
    (4, 103)
    """
    if not 0 < floor < top:
        raise RangeError(f"rungs(top={top:g}, floor={floor:g}): 0 < floor < top must hold.")
    return 1 + math.ceil(math.log(top / floor) / math.log(best_ratio(dim)) - 1e-9)


def advice(x: Values) -> Finding:
    """Distances in the data, and the noise levels that they ask for: all that can be said before there is a noise.

    BAD if rows coincide so that half of them have a twin. Raises: as `distances`.

    >>> advice(torch.tensor([[0.0], [1.0], [4.0]])).verdict
    <Verdict.GOOD: 'good'>
    """
    found = distances(x)
    numbers = {"largest distance": found.largest, "median distance": found.median, "nearest row": found.nearest}
    if found.nearest == 0:
        words = "Half of the rows have an exact twin: remove duplicates, or any model will be drawn to copy them."
        return Finding("distances", Verdict.BAD, numbers, words)
    floor = _detail(found, x)
    count = rungs(found.largest, min(floor, found.largest / 2), x[0].numel())
    words = f"Noise levels from {found.largest:.3g} down to {floor:.2g} suit these rows: {count} of them in geometric steps."
    return Finding("distances", Verdict.GOOD, numbers, words)


def noise_range(x: Values, noise: Gaussian, smallest: float, *, seed: int = 0) -> Finding:
    """Is σ₁ = σ(1)/α(1) near the largest distance in x, and the smallest level below the nearest neighbours' distance?

    Technique 1 of Song & Ermon (2020, arXiv:2006.09011). Below a quarter of the median distance D the weight
    ½ exp(−D²/8σ₁²) that leads from one row to another is under 7 %, and modes do not mix. ``smallest`` is the lowest
    σ/α that is trained or visited. Raises: as `distances`.

    >>> from scorefield.noises import EDM
    >>> noise_range(torch.tensor([[0.0], [1.0], [4.0]]), EDM(0.1), 0.01).verdict
    <Verdict.BAD: 'bad'>
    """
    found, top = distances(x), float(noise.ratio(torch.ones((), dtype=torch.float64)))
    mixing = 0.5 * math.exp(-(found.median**2) / (8 * top**2))
    (some,) = matrices(thinned(x, ROWS))
    z = normal(some[:64], Streams(seed, range(len(some[:64]))))
    away = math.sqrt(some.shape[1]) * top
    start, unit = (float(_nearest(spread * z, some).median()) / away for spread in (top, 1.0))
    numbers = {
        "largest level": top,
        "largest distance": found.largest,
        "median distance": found.median,
        "mixing": mixing,
        "start": start,
        "smallest level": smallest,
        "nearest row": found.nearest,
    }
    what = "noise range"
    if top < found.median / 4:
        words = (
            f"The largest noise level {top:.3g} is far below the distances in the data, so modes do not mix; "
            f"walks from N(0, I) start {unit:.2g} times as far from the data as training noise reaches, where the "
            f"network never trained: raise the largest level to about {found.largest:.3g}."
        )
        return Finding(what, Verdict.BAD, numbers | {"start from N(0, I)": unit}, words)
    if smallest > found.median / 2:
        words = (
            f"The smallest noise level {smallest:.3g} blurs rows into each other: lower it to {_detail(found, x):.2g}."
        )
        return Finding(what, Verdict.BAD, numbers, words)
    if top < found.median:
        words = f"The largest noise level {top:.3g} mixes neighbours only: raise it to about {found.largest:.3g}."
        return Finding(what, Verdict.LOOK, numbers, words)
    if smallest > 10 * _detail(found, x) > 0:
        words = f"The smallest noise level {smallest:.3g} hides the detail of single rows: try {_detail(found, x):.2g}."
        return Finding(what, Verdict.LOOK, numbers, words)
    words = f"Noise from {top:.3g} to {smallest:.2g} spans the distances in the data."
    return Finding(what, Verdict.GOOD, numbers, words)


def level_gaps(levels: Float[Tensor, "levels"], dim: int) -> Finding:
    """Do neighbouring noise levels overlap, so that what leaves one is where the network trained for the next?

    Technique 2 of Song & Ermon (2020), by the widest gap. ``levels`` are the σ/α > 0 of a discrete ladder. An overlap
    under 0.3 asks for a look; a gap that a level's noise must fill by more than a factor of 4 is bad in any dimension
    where the overlap is gone. Raises: RangeError for fewer than 2 levels or one that is not positive.

    >>> level_gaps(torch.tensor([1.0, 0.5]), 2).verdict, level_gaps(torch.tensor([1.0, 0.1]), 784).verdict
    (<Verdict.GOOD: 'good'>, <Verdict.BAD: 'bad'>)
    """
    if len(levels) < 2 or not bool((levels > 0).all()):
        raise RangeError(f"level_gaps(levels={levels.tolist()[:8]}): at least 2 positive noise levels make a gap.")
    ordered = levels.double().sort(descending=True).values
    ratios = ordered[:-1] / ordered[1:]
    worst, wanted = float(ratios.max()), best_ratio(dim)
    covered = overlap(worst, dim)
    enough = rungs(float(ordered[0]), float(ordered[-1]), dim)
    numbers = {"widest ratio": worst, "overlap": covered, "wanted ratio": wanted, "levels": len(ordered)}
    if covered >= 0.3:
        words = f"Neighbouring levels overlap by {covered:.2f}."
        return Finding("level gaps", Verdict.GOOD, numbers, words)
    verdict = Verdict.BAD if worst > 4 else Verdict.LOOK
    words = (
        f"From one level to the next the noise falls by {worst:.3g}, and what leaves one hardly occurs in training "
        f"at the next: {enough} geometric levels would overlap by half, or take many walk steps at each."
    )
    return Finding("level gaps", verdict, numbers, words)


def prior_mismatch(x: Values, noise: Gaussian) -> Finding:
    """KL(p₁ ‖ prior) in nats, the data being replaced by a Gaussian of their moments: what a walk's start gets wrong.

    The distance in total variation is at most √(KL/2) (Pinsker): under 0.5 nats, half, is good, over 2 nats bad.
    Moments are those of at most 2,000 rows. Raises: as `distances`.

    >>> from scorefield.noises import EDM
    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> round(prior_mismatch(x, EDM(1.0)).numbers["nats"], 4) == round(0.5 * (1 - math.log(2)), 4)
    True
    """
    (some,) = matrices(thinned(x, 2 * ROWS), least=2)
    mean = some.mean(0)
    spectrum = torch.linalg.svdvals(some - mean).square() / len(some)
    top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
    shared = spectrum / top**2
    spread = 0.5 * float((shared - shared.log1p()).sum())
    shift = 0.5 * float(mean.square().sum()) / top**2
    numbers = {"nats": spread + shift, "of the mean": shift, "of the covariance": spread}
    verdict = judged(spread + shift, 0.5, 2.0)
    words = f"At t = 1 the noisy data are {spread + shift:.2g} nats from the prior that walks start from"
    if verdict is not Verdict.GOOD:
        larger = top * math.sqrt((spread + shift) / 0.1)
        cause = "subtract the mean of the data, or " if shift > spread else ""
        words += f": {cause}let the noise reach further (σ/α ≈ {larger:.2g} at t = 1)"
    return Finding("prior", verdict, numbers, words + ".")


def _detail(found: Distances, x: Values) -> float:
    """The σ whose noise, of length σ√d, is a twentieth of the distance between nearest rows."""
    return found.nearest / (20 * math.sqrt(x[0].numel()))


def _nearest(points: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([block.amin(1) for _, block in squared_distances(points, rows)]).sqrt()


def _cdf(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))
