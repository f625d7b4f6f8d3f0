"""Simulation-based inference: p(θ | x) for every x, from pairs (θ, x) of a prior and a simulator and nothing else.

The denoiser of θ that is told x learns E[θ | θ_t, x], and with it ∇ log p_t(θ_t | x) (Geffner et al. 2023, section 2,
arXiv:2209.14249; Sharrock et al. 2024, section 2, arXiv:2210.04872). Its probability flow then draws θ | x for any x, and
tells its density. θ and x are standardised by the simulations. A bounded θ is drawn anew where the flow ends outside:

    p(θ | x) = p_flow(θ | x) 1[inside] / P_flow(inside | x).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .data import Scaling, batches, split
from .errors import DataError, DivergedError, RangeError, ShapeError
from .grids import logsnr
from .likelihood import log_density
from .metrics import Calibration, TwoSample, calibration, two_sample
from .metrics.calibration import Simulate
from .metrics.two_sample import Classifier
from .models import Preconditioned, edm
from .networks import MLP
from .noises import EDM, Gaussian
from .objectives import Diffusion, LogNormal
from .samplers import Multistep
from .tensors import Streams, seeded
from .training import train

Bound = float | tuple[float, ...]
Rows = Float[Tensor, "n d"]
Observation = Float[Tensor, "*given"]

FLOOR = 2e-3
"""The least σ of a walk and of a density, in standard deviations of θ."""
ROUNDS = 100


@dataclass(frozen=True)
class LogPosterior:
    """log p(θ | x) in nats, −∞ outside the bounds, and its standard error: one of each per row of θ."""

    value: Float[Tensor, "n"]
    error: Float[Tensor, "n"]


class Posterior(nn.Module):
    """p(θ | x) for all x at once: ``fit`` it to simulations, then ``sample`` and ``log_density`` at any observation.

    ``dim`` and ``given`` are the numbers in θ and in x; ``low`` and ``high`` the bounds of the prior, for all coordinates or
    one each. ``network(θ, t, y=x)`` is an `MLP` unless given; one of your own may embed x. An observation may lie ``reach``
    standard deviations outside of what was simulated. Saved and loaded like any model: `scorefield.save`, `scorefield.load`.
    Raises: RangeError unless low < high and reach ≥ 0; ShapeError for another number of bounds than dim.

    >>> from scorefield.data import GaussianLinear
    >>> task = GaussianLinear(dim=1)
    >>> posterior = Posterior(1, 1).fit(*task.pairs(500, torch.Generator().manual_seed(0)), steps=200)
    >>> draws = posterior.sample(1000, x=torch.tensor([0.4]))
    >>> abs(float(draws.mean()) - 0.2) < 0.1, 0.1 < float(draws.std()) < 0.4
    (True, True)
    """

    def __init__(
        self,
        dim: int,
        given: int,
        *,
        low: Bound = -math.inf,
        high: Bound = math.inf,
        network: nn.Module | None = None,
        noise: Gaussian = EDM(80.0),  # noqa: B008 - frozen
        reach: float = 1.0,
    ):
        super().__init__()
        self.theta_shift: Tensor
        self.theta_scale: Tensor
        self.x_shift: Tensor
        self.x_scale: Tensor
        self.x_least: Tensor
        self.x_most: Tensor
        self.simulations: Tensor
        if dim < 1 or given < 1 or not reach >= 0:
            raise RangeError(f"Posterior(dim={dim}, given={given}, reach={reach:g}): wanted at least 1, 1 and 0.")
        for bound in (low, high):
            if isinstance(bound, tuple) and len(bound) != dim:
                raise ShapeError(f"Posterior(dim={dim}): {len(bound)} bounds; give one number, or one per coordinate.")
        self.dim, self.given, self.low, self.high, self.noise, self.reach = dim, given, low, high, noise, reach
        if not bool((self._bounds[0] < self._bounds[1]).all()):
            raise RangeError(f"Posterior(low={low}, high={high}): low must be below high.")
        with seeded(0):  # the same beginning every time, and nobody else's randomness touched
            self.network = network if network is not None else MLP(dim, width=128, depth=4, given=given)
        for name, size in (("theta", dim), ("x", given)):
            self.register_buffer(f"{name}_shift", torch.zeros(size, dtype=torch.float64))
            self.register_buffer(f"{name}_scale", torch.ones(size, dtype=torch.float64))
        self.register_buffer("x_least", torch.zeros(given, dtype=torch.float64))
        self.register_buffer("x_most", torch.zeros(given, dtype=torch.float64))
        self.register_buffer("simulations", torch.zeros((), dtype=torch.int64))

    @property
    def denoiser(self) -> Preconditioned:
        """E[θ | θ_t, x] in standardised units, told ``y`` = x standardised: for samplers and guides of your own."""
        return Preconditioned(self.network, self.noise, edm)

    def fit(
        self,
        theta: Float[Tensor, "*thetas"],
        x: Float[Tensor, "*observed"],
        *,
        steps: int = 1200,
        batch: int = 256,
        learning_rate: float = 4e-3,
        held_out: float = 0.1,
        patience: int = 8,
        seed: int = 0,
    ) -> "Posterior":
        """Learns from pairs (θ, x), θ drawn from the prior and x simulated from it; returns itself.

        A part ``held_out`` of the pairs decides when to stop: the weight average of least held-out loss over all noise levels is
        kept, measured 20 times, and training ends when ``patience`` measurements found none better. Raises: ShapeError unless
        theta is (n, dim) and x (n, given); DataError for numbers that are not finite, or θ outside the bounds, naming the rows,
        and for a coordinate that never changes; RangeError for numbers out of range; DivergedError if training diverges.
        """
        self._check_pairs(theta, x)
        theta, x = theta.to(self.theta_shift), x.to(self.x_shift)
        learnt, kept = split(torch.cat([theta, x], 1), held_out, seed, name="simulations")
        for name, values in (("theta", theta), ("x", x)):
            scaling = Scaling.standardise(values[learnt], name=f"simulations, {name}")
            getattr(self, f"{name}_shift").copy_(torch.tensor(scaling.shift))
            getattr(self, f"{name}_scale").copy_(torch.tensor(scaling.scale))
        u = ((theta - self.theta_shift) / self.theta_scale).float()
        y = ((x - self.x_shift) / self.x_scale).float()
        model, best, state, waited = self.denoiser, math.inf, None, 0
        for progress in train(
            model,
            Diffusion(LogNormal(-1.5, 1.8)),
            batches(u[learnt], min(batch, len(learnt)), seed=seed, y=y[learnt]),
            steps=steps,
            learning_rate=learning_rate,
            held_out={"x": u[kept], "y": y[kept]},
            seed=seed,
        ):
            if progress.held_out is None or progress.average is None:
                continue
            waited, levels = waited + 1, progress.held_out.levels.values()
            if sum(levels) < best:
                best, waited, state = sum(levels), 0, copy.deepcopy(progress.average.state_dict())
            if waited >= patience:
                break
        if state is None:
            raise DivergedError("Posterior.fit: no held-out loss was finite; lower learning_rate.")
        model.load_state_dict(state)
        self.x_least.copy_(x.amin(0))
        self.x_most.copy_(x.amax(0))
        self.simulations.fill_(len(theta))
        return self.to(next(model.parameters()).device).eval()

    @torch.no_grad()
    def sample(self, n: int, x: Observation, *, steps: int = 30, seed: int = 0) -> Rows:
        """n draws of θ | x for one observation x, inside the bounds; draw i depends on (seed, i) alone.

        Raises: RangeError for n or steps < 1; ShapeError unless x is (given,); DataError before `fit`, for x that is not
        finite or lies farther than ``reach`` outside of what was simulated, or puts hardly any mass inside the bounds.
        """
        if n < 1 or steps < 1:
            raise RangeError(f"Posterior.sample(n={n}, steps={steps}): both must be at least 1.")
        y = self._observed("sample", x)
        theta = self._in_units(self._walk(y, torch.arange(n), steps, seed))
        for number in range(1, ROUNDS):
            outside = (~self._inside(theta)).nonzero().flatten()
            if len(outside) == 0:
                return theta
            theta[outside] = self._in_units(self._walk(y, outside.cpu(), steps, seed + (number << 32)))
        raise DataError(
            f"Posterior.sample(x={x.tolist()}): {len(outside)} of {n} draws fell outside the bounds {ROUNDS} times; "
            "the observation contradicts the prior, or more simulations are needed."
        )

    def log_density(
        self, theta: Float[Tensor, "*thetas"], x: Observation, *, steps: int = 24, draws: int = 1000, seed: int = 0
    ) -> LogPosterior:
        """log p(θ | x) in nats, in units of θ, of the draws that `sample` makes; −∞ outside the bounds.

        The probability that the flow ends inside them is estimated by ``draws``. Raises: ShapeError unless theta is (n, dim);
        errors of `sample`.
        """
        if theta.ndim != 2 or theta.shape[1] != self.dim:
            raise ShapeError(f"Posterior.log_density(theta of shape {tuple(theta.shape)}): wanted (n, {self.dim}).")
        y = self._observed("log_density", x)
        theta = theta.to(self.theta_shift.device)
        own = self._walk(y, torch.arange(draws), 30, seed)
        inside = float(self._inside(self._in_units(own)).double().mean())
        if inside == 0:
            raise DataError(
                f"Posterior.log_density(x={x.tolist()}): none of {draws} draws ended inside the bounds; "
                "the observation contradicts the prior, or more simulations are needed."
            )
        u = ((theta - self.theta_shift) / self.theta_scale).float()
        # Far from all draws is no mistake of units here: the draws come along and say so.
        rows = torch.cat([u, own[torch.arange(len(u) + 1) % draws]]) if _size(u).median() > _size(own).max() else u
        found = log_density(self.denoiser, rows, steps=steps, floor=FLOOR, y=y.expand(len(rows), -1))[: len(u)]
        value = found.value - self.theta_scale.log().sum() - math.log(inside)
        error = (found.error**2 + (1 - inside) / (inside * draws)).sqrt()
        return LogPosterior(torch.where(self._inside(theta), value, -torch.inf), error)

    def draw(self, x: Observation, n: int, generator: torch.Generator) -> Rows:
        """`sample` in the form that `metrics.calibration` asks for; the seed is the generator's."""
        return self.sample(n, x, seed=generator.initial_seed())

    def calibration(self, simulate: Simulate, *, cases: int = 200, draws: int = 100, seed: int = 0) -> Calibration:
        """Simulation-based calibration on fresh pairs of ``simulate(n, generator)``: see `metrics.calibration`.

        The pairs must be other ones than those of `fit`. Errors as there.
        """
        return calibration(self.draw, simulate, cases=cases, draws=draws, seed=seed)

    def two_sample(
        self, exact: Rows, x: Observation, *, classifier: Classifier | None = None, seed: int = 0
    ) -> TwoSample:
        """How often a classifier (a random forest of 100 trees) tells draws of θ | x from as many exact ones: ½ at best.

        The C2ST of Lueckmann et al. (2021), arXiv:2101.04653, by `metrics.two_sample`, in units of the
        simulations' standard deviations. Errors as `sample`.
        """
        if classifier is None:
            from sklearn.ensemble import RandomForestClassifier

            classifier = RandomForestClassifier(100, random_state=seed)
        drawn = (self.sample(len(exact), x, seed=seed).double(), exact.to(self.theta_shift))
        mine, theirs = ((z - self.theta_shift) / self.theta_scale for z in drawn)
        return two_sample(mine, theirs, classifier=classifier, seed=seed)

    @property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(b, dtype=torch.float64).expand(self.dim) for b in (self.low, self.high))
        return low, high

    def _inside(self, theta: Rows) -> Bool[Tensor, "n"]:
        low, high = (bound.to(theta) for bound in self._bounds)
        return ((theta >= low) & (theta <= high)).all(1)

    def _walk(self, y: Float[Tensor, "given"], rows: Tensor, steps: int, seed: int) -> Rows:
        model, generator = self.denoiser, Streams(seed, rows)
        start = self.noise.prior(y.new_empty(len(rows), self.dim), generator)
        times = logsnr(self.noise, steps, floor=FLOOR)
        for state in Multistep().walk(model, start, times, generator, y=y.expand(len(rows), -1)):
            last = state.x
        return last

    def _in_units(self, u: Rows) -> Rows:
        return (u * self.theta_scale + self.theta_shift).float()

    def _observed(self, what: str, x: Observation) -> Float[Tensor, "given"]:
        if int(self.simulations) == 0:
            raise DataError(f"Posterior.{what}: it has learnt nothing yet; call fit(theta, x) with simulations first.")
        if tuple(x.shape) != (self.given,):
            raise ShapeError(
                f"Posterior.{what}(x of shape {tuple(x.shape)}): wanted one observation, of shape ({self.given},)."
            )
        if not bool(x.isfinite().all()):
            raise DataError(f"Posterior.{what}(x={x.tolist()}): the observation is not finite.")
        x = x.to(self.x_shift)
        beyond = torch.maximum(self.x_least - x, x - self.x_most) / self.x_scale
        worst = int(beyond.argmax())
        if float(beyond[worst]) > self.reach:
            raise DataError(
                f"Posterior.{what}: x[{worst}] = {float(x[worst]):.4g} lies {float(beyond[worst]):.3g} standard deviations "
                f"outside of what was simulated, {float(self.x_least[worst]):.4g} … {float(self.x_most[worst]):.4g}: "
                "nothing was learnt there. Simulate from a wider prior, or set reach."
            )
        return ((x - self.x_shift) / self.x_scale).float()

    def _check_pairs(self, theta: Tensor, x: Tensor) -> None:
        if theta.ndim != 2 or theta.shape[1] != self.dim or x.ndim != 2 or x.shape[1] != self.given:
            raise ShapeError(
                f"Posterior.fit(theta {tuple(theta.shape)}, x {tuple(x.shape)}): wanted (n, {self.dim}) and (n, {self.given})."
            )
        if len(theta) != len(x) or len(x) < 20:
            raise DataError(f"Posterior.fit: {len(theta)} rows of theta, {len(x)} of x: wanted as many, at least 20.")
        for name, values in (("theta", theta), ("x", x)):
            _refuse(~values.isfinite().all(1), f"{name} is not finite", "leave such simulations out, or repair them")
        _refuse(~self._inside(theta), "theta is out of bounds", f"low = {self.low} and high = {self.high} must hold it")


def _size(u: Rows) -> Float[Tensor, "n"]:
    return u.double().square().mean(1).sqrt()


def _refuse(wrong: Bool[Tensor, "n"], what: str, remedy: str) -> None:
    rows: Sequence[int] = wrong.nonzero().flatten().tolist()
    if rows:
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        listed = ", ".join(map(str, rows[:5]))
        raise DataError(f"Posterior.fit: {what} in row {listed}{more} of {len(wrong)}; {remedy}.")
