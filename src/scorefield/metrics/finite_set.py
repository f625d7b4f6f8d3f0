"""Where a score is wrong: the Stein witness of a sample, and a test at finitely many places that takes time linear in n.

    g(v) = E_q [s(X) k(X, v) + ∇k(X, v)] = E_q [(s − ∇ log q)(X) k(X, v)]

is the force by which the model would move the sample around v, zero everywhere if s = ∇ log q. FSSD² = Σ_j ‖g(v_j)‖²/(dJ), with
τ(x) the vector of s(x) k(x, v_j) + ∇k(x, v_j) over √(dJ): its U-statistic times n goes to Σ (Z_i² − 1) ω_i under the null, ω the
eigenvalues of Cov τ. Places are found on other rows, where FSSD²/σ is largest.

Jitkrittum, Xu, Szabó, Fukumizu and Gretton (2017), section 3, arXiv:1705.07673.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..closed.kernels import RBF, Kernel, median_width, squared_distances
from ..errors import RangeError, ShapeError
from ..models import Score
from ..tensors import Draws, normal, uniform
from .ksd import scored

Points = Float[Tensor, "n d"]
Places = Float[Tensor, "places d"]


@dataclass(frozen=True)
class Witness:
    """g(v) at each place, with its standard errors, and z = χ² of g standardised, less its mean d, over √(2d): above 4 is wrong."""

    value: Float[Tensor, "places d"]
    error: Float[Tensor, "places d"]

    @property
    def z(self) -> Float[Tensor, "places"]:
        """How far the force at each place is beyond chance, in standard deviations."""
        size = self.value.shape[1]
        ratio = self.value / self.error.clamp(min=torch.finfo(self.error.dtype).tiny)
        return (ratio.square().sum(1) - size) / math.sqrt(2 * size)


def witness(
    score: Score, x: Shaped[Tensor, "n *event"], places: Float[Tensor, "*places"], *, kernel: Kernel | None = None
) -> Witness:
    """g(v) = mean of s(x_i) k(x_i, v) + ∇k(x_i, v): where, and in which direction, the model and the sample disagree.

    The kernel is `RBF` at half the median distance unless given. Raises: ShapeError, DataError as `ksd`; ShapeError for places
    of another number of columns.

    >>> x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    >>> wrong = witness(lambda x: 1 - x, x, torch.zeros(1, 1))
    >>> bool(wrong.value > 0), bool(wrong.z > 4)
    (True, True)
    """
    x, s = scored(score, x)
    v = _places(places, x)
    kernel = kernel if kernel is not None else RBF(median_width(x) / 2)
    total, squares = torch.zeros_like(v), torch.zeros_like(v)
    for part in range(0, len(x), 4096):
        tau = _tau(kernel, x[part : part + 4096], s[part : part + 4096], v)
        total, squares = total + tau.sum(0), squares + tau.square().sum(0)
    mean = total / len(x)
    spread = (squares / len(x) - mean**2).clamp(min=0) * len(x) / (len(x) - 1)
    return Witness(mean, (spread / len(x)).sqrt())


@dataclass(frozen=True)
class PlacesTest:
    """n·FSSD², its p-value, the places that were looked at, and the share of the discrepancy that each has."""

    statistic: float
    p_value: float
    rejected: bool
    level: float
    places: Float[Tensor, "places d"]
    shares: Float[Tensor, "places"]

    def __str__(self) -> str:
        verdict = "rejected" if self.rejected else "not rejected"
        return f"n·FSSD² = {self.statistic:.3g} (p = {self.p_value:.2g}): {verdict} at {100 * self.level:g} %"


def places_test(
    score: Score,
    x: Shaped[Tensor, "n *event"],
    *,
    count: int = 5,
    places: Float[Tensor, "*places"] | None = None,
    kernel: Kernel | None = None,
    train: float = 0.2,
    steps: int = 100,
    draws: int = 5000,
    level: float = 0.05,
    generator: Draws | None = None,
) -> PlacesTest:
    """Are the rows of x from the score's law, as seen from a few places? In time linear in n, with places that can be shown.

    Jitkrittum et al. (2017). ``count`` places and the width are sought by ``steps`` of gradient ascent on the part ``train`` of the
    rows, from rows drawn at random; the rest decides. With ``places`` given nothing is sought and all rows decide.
    Raises: RangeError for numbers out of range; ShapeError, DataError as `ksd`.

    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> places_test(lambda x: 1 - x, x, steps=20).rejected
    True
    """
    if count < 1 or not 0 < train < 1 or steps < 0 or draws < 1 or not 0 < level < 1:
        raise RangeError(
            f"places_test(count={count}, train={train:g}, steps={steps}, draws={draws}, level={level:g}): wanted positive "
            "numbers, and train and level in (0, 1)."
        )
    x, s = scored(score, x)
    kernel = kernel if kernel is not None else RBF(median_width(x))
    if places is None:
        order = uniform(x[:, 0], generator).argsort()
        cut = max(2, math.ceil(train * len(x)))
        if len(x) - cut < 2:
            raise RangeError(
                f"places_test(train={train:g}) of {len(x)} rows leaves fewer than 2 to decide; give more rows."
            )
        seen, rest = order[:cut], order[cut:]
        kernel, v = _sought(kernel, x[seen], s[seen], count, steps, generator)
        x, s = x[rest], s[rest]
    else:
        v = _places(places, x)
    tau = _tau(kernel, x, s, v) / math.sqrt(v.numel())
    flat = tau.flatten(1)
    n = len(x)
    mean = flat.mean(0)
    statistic = n / (n - 1) * (n * float(mean @ mean) - float(flat.square().sum(1).mean()))
    omega = torch.linalg.eigvalsh((flat - mean).T @ (flat - mean) / (n - 1)).clamp(min=0)
    null = (normal(flat.new_empty(draws, len(omega)), generator) ** 2 - 1) @ omega
    p_value = (1 + int((null >= statistic).sum())) / (1 + draws)
    shares = tau.mean(0).square().sum(1)
    return PlacesTest(statistic, p_value, p_value <= level, level, v, shares / shares.sum().clamp(min=1e-300))


def _tau(kernel: Kernel, x: Points, s: Points, v: Places) -> Float[Tensor, "n places d"]:
    k, k1 = kernel.derivatives(squared_distances(x, v), 1)
    return s[:, None] * k[..., None] + 2 * k1[..., None] * (x[:, None] - v)


def _sought(
    kernel: Kernel, x: Points, s: Points, count: int, steps: int, generator: Draws | None
) -> tuple[Kernel, Places]:
    """Places and width of greatest FSSD²/σ on the rows given; σ² = 4 Var(τ(X)·E τ)."""
    start, floor = _strongest(kernel, x, s, x[uniform(x[:, 0], generator).argsort()[:200]], count)
    spread = x.std(0).clamp(min=1e-12)
    with torch.enable_grad():
        v = ((start + 0.1 * spread * normal(start, generator)) / spread).requires_grad_()
        wide = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
        ascent = torch.optim.Adam([v, wide], lr=0.05)
        for _ in range(steps):
            scale = wide.clamp(-3, 3).exp()  # a wider kernel is the same kernel of nearer points
            tau = _tau(kernel, x / scale, s * scale, v * spread / scale).flatten(1) / math.sqrt(v.numel())
            mean = tau.mean(0)
            n = len(x)
            value = n / (n - 1) * (mean @ mean - tau.square().sum(1).mean() / n)
            deviation = 2 * (tau @ mean).std()
            ascent.zero_grad()
            (-value / (deviation + floor)).backward()
            ascent.step()
    found = float(wide.detach().clamp(-3, 3).exp())
    return type(kernel)(kernel.width * found), (v * spread).detach()


def _strongest(
    kernel: Kernel, x: Points, s: Points, candidates: Float[Tensor, "candidates d"], count: int
) -> tuple[Float[Tensor, "chosen d"], float]:
    """The candidates of greatest FSSD²/σ one by one, near neighbours of those chosen coming last; and a floor for σ.

    Without the floor, a place that hardly any row is near to would look decided by the one that is.
    """
    tau = _tau(kernel, x, s, candidates)
    mean = tau.mean(0)
    value = mean.square().sum(1) - tau.square().sum(2).mean(0) / len(x)
    floor = 0.002 * float(tau.square().sum(2).mean()) + 1e-300
    power = value / (2 * torch.einsum("npd,pd->np", tau, mean).std(0) + floor)
    alike, far = kernel(candidates, candidates), 2 * float(power.abs().amax())
    crowding, chosen = torch.zeros_like(power), []
    for _ in range(min(count, len(candidates))):
        best = int((power - far * (crowding > 0.6)).argmax())
        power[best] = -torch.inf
        chosen.append(best)
        crowding = torch.maximum(crowding, alike[:, best])
    return candidates[chosen], floor / x.shape[1]


def _places(places: Tensor, x: Points) -> Places:
    if places.ndim != 2 or len(places) == 0 or places.shape[1] != x.shape[1]:
        raise ShapeError(
            f"places of shape {tuple(places.shape)} for rows of {x.shape[1]} numbers: wanted (places, {x.shape[1]})."
        )
    return places.detach().to(x)
