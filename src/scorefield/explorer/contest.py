"""Score matching in front of your eyes: the same network, points and noise, learned by several objectives at equal cost.

All aim at p_σ, the data smoothed by N(0, σ²I), and have the expectation ½E‖s − ∇log p_σ‖² up to a constant:

    exact        ½|s|² + div s          at x + σz          Hyvärinen 2005, eq. 4, JMLR 6:695–709
    sliced       ½(v·s)² + v·∇(v·s)     at x + σz          Song et al. 2019, eq. 7, arXiv:1905.07088
    denoising    ½|s + z/σ|²            at x + σz          Vincent 2011, section 4.2, doi:10.1162/NECO_a_00142

Row i of step k sees the same x and z in each, since z is the first draw of its stream. What a step costs is measured: in
seconds, and in network evaluations, the arithmetic of the step over that of one forward pass of its batch.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import batches
from ..errors import DivergedError, RangeError
from ..metrics import fisher_divergence
from ..metrics.estimate import Estimate, mean
from ..networks import MLP
from ..objectives import Denoising, Implicit, Sliced
from ..objectives.base import Objective
from ..tensors import Draws, Streams, normal, seeded
from ..training import Progress, constant, train
from .costs import evaluations

Points = Float[Tensor, "n 2"]
Score = Callable[[Points], Points]
Name = Literal["exact", "sliced", "denoising"]

STEPS, HELD_OUT = 20_000, 512
HELD_OUT_ROWS, NOISE_ROWS = 2**50, 2**51  # far from each other, and from the rows of any training step
LOWEST, HIGHEST = 0.05, 3.0


class Turning(Objective):
    """An objective for the density smoothed by N(0, σ²I), whose ``sigma`` may be turned between steps.

    ``exact`` and ``sliced`` see x + σz; denoising score matching adds its own noise, the same z.
    Raises: RangeError for sigma outside 0.05 … 3.

    >>> turning = Turning(Denoising(), 0.5); turning.sigma = 1.0
    >>> turning(lambda x: -x, torch.zeros(4, 2), Streams(0, range(4))).max() < 1e-6
    tensor(True)
    """

    def __init__(self, objective: Objective, sigma: float):
        self.objective = objective
        self.sigma = sigma

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise, in units of the data."""
        return self._sigma

    @sigma.setter
    def sigma(self, sigma: float) -> None:
        self._sigma = checked(sigma)

    def __call__(self, model: Score, x: Points, generator: Draws | None = None, **cond) -> Float[Tensor, "batch"]:
        if isinstance(self.objective, Denoising):
            return Denoising(self.sigma)(model, x, generator, **cond)
        return self.objective(model, x + self.sigma * normal(x, generator), generator, **cond)


def checked(sigma: float) -> float:
    """The noise level, if it can be learned here. Raises: RangeError outside 0.05 … 3.

    >>> checked(1.0)
    1.0
    """
    if not LOWEST <= sigma <= HIGHEST:
        raise RangeError(f"train(sigma={sigma:g}): sigma must lie between {LOWEST:g} and {HIGHEST:g}.")
    return float(sigma)


METHODS: dict[Name, Objective] = {"exact": Implicit(), "sliced": Sliced(), "denoising": Denoising()}


@dataclass(frozen=True)
class Setting:
    """What the contestants share.

    Raises: RangeError for numbers outside the limits.

    >>> Setting(rows=100).batch
    256
    """

    sigma: float = 0.3
    rows: int = 10_000
    batch: int = 256
    width: int = 64
    depth: int = 2
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self):
        limits = {
            "sigma": (LOWEST, HIGHEST),
            "rows": (16, 50_000),
            "batch": (16, 1024),
            "width": (8, 256),
            "depth": (1, 4),
            "learning_rate": (1e-5, 0.1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise RangeError(
                    f"train({name}={getattr(self, name):g}): {name} must lie between {low:g} and {high:g}."
                )


@dataclass
class Contestant:
    """One objective at work: how far it is, what it cost, and where it stands."""

    name: Name
    objective: Turning
    progress: Iterator[Progress]
    per_step: float
    """Network evaluations in a step."""
    model: torch.nn.Module
    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    until: int = STEPS
    """Steps after which it waits."""
    turns: list[tuple[int, float]] = field(default_factory=list)
    """(steps done, σ from there on)."""
    failed: str | None = None

    @property
    def evaluations(self) -> float:
        """Network evaluations so far, each that of a whole batch."""
        return self.steps * self.per_step

    @property
    def running(self) -> bool:
        """Whether it goes on: not broken, and not where it waits or ends."""
        return self.failed is None and self.steps < min(self.until, STEPS)

    def advance(self) -> None:
        """One step."""
        began = time.perf_counter()
        try:
            latest = next(self.progress)
        except DivergedError as error:
            self.failed = str(error)
            return
        self.seconds += time.perf_counter() - began
        self.steps, self.model = latest.step, latest.average or self.model
        self.losses.append(latest.loss)


class Contest:
    """Contestants that take turns in one thread: always the one that has cost least so far.

    ``draw(n, streams)`` gives points of the data, ``truth(x, sigma)`` the score of the smoothed density, or is None where
    nobody knows it.
    Raises: RangeError for no method, or one twice.

    >>> contest = Contest(["denoising"], Setting(rows=64, batch=16), lambda n, g: normal(torch.empty(n, 2), g), None)
    >>> contest.run(0.0, lambda each: each.seconds)
    >>> contest.contestants[0].steps
    1
    """

    def __init__(
        self,
        methods: Sequence[Name],
        setting: Setting,
        draw: Callable[[int, Draws], Points],
        truth: Callable[..., Points] | None,
    ):
        if not methods or len(set(methods)) != len(methods):
            raise RangeError(f"train(methods={list(methods)}): one or more of {', '.join(METHODS)}, each once.")
        self.setting, self.truth = setting, truth
        self._least: dict[tuple[str, float], Tensor] = {}
        self.data = draw(setting.rows, Streams(setting.seed, range(setting.rows)))
        self.held_out = draw(HELD_OUT, Streams(setting.seed, HELD_OUT_ROWS + torch.arange(HELD_OUT)))
        self.contestants = [self._enter(name) for name in methods]

    @property
    def sigma(self) -> float:
        """The noise level all of them learn now."""
        return self.contestants[0].objective.sigma

    def turn(self, sigma: float) -> None:
        """Another noise level from the next step on. Raises: RangeError outside 0.05 … 3."""
        for each in self.contestants:
            if each.objective.sigma != sigma:
                each.objective.sigma = sigma
                each.turns.append((each.steps, sigma))

    def run(self, seconds: float, cost: Callable[[Contestant], float]) -> None:
        """Steps for so many seconds, at least one, each by the contestant whose ``cost`` is least."""
        stop = time.perf_counter() + seconds
        while running := [each for each in self.contestants if each.running]:
            min(running, key=cost).advance()
            if time.perf_counter() >= stop:
                return

    @property
    def running(self) -> bool:
        """Whether anybody goes on."""
        return any(each.running for each in self.contestants)

    @property
    def waiting(self) -> bool:
        """Whether nobody goes on, and somebody could."""
        return not self.running and any(each.failed is None and each.steps < STEPS for each in self.contestants)

    def wait(self, until: Sequence[int]) -> None:
        """Has each wait after so many steps. Raises: RangeError unless there is a number for each."""
        if len(until) != len(self.contestants) or not all(0 <= steps <= STEPS for steps in until):
            raise RangeError(
                f"train(until={list(until)}): a number of steps up to {STEPS} for each of {len(self.contestants)} objectives."
            )
        for each, steps in zip(self.contestants, until):
            each.until = steps

    def go_on(self) -> None:
        """Has nobody wait any longer."""
        for each in self.contestants:
            each.until = STEPS

    def noisy(self) -> Points:
        """Held-out points of p_σ, with the same noise at any time."""
        return self.held_out + self.sigma * normal(self.held_out, self._noise())

    def measure(self, each: Contestant) -> dict[str, Any]:
        """Held-out loss of the weight average ± one standard error; if the truth is known, ``above`` the truth's, and the divergence.

        The loss lies above the truth's by the Fisher divergence, in the mean: this is what score matching is about.
        """
        losses = self._losses(each, each.model)
        found: dict[str, Any] = {"loss": told(mean(losses))}
        if self.truth is not None:
            truth = partial(self.truth, sigma=self.sigma)
            if (each.name, self.sigma) not in self._least:
                self._least[each.name, self.sigma] = self._losses(each, truth)
            found["above"] = told(mean(losses.double() - self._least[each.name, self.sigma]))
            found["fisher"] = told(fisher_divergence(each.model, truth, self.noisy()))
        return found

    def _losses(self, each: Contestant, score: Score) -> Float[Tensor, "n"]:
        return each.objective(score, self.held_out, self._noise()).detach()

    def zero(self) -> float | None:
        """The Fisher divergence of a score that is nowhere but zero: where all of them start."""
        if self.truth is None:
            return None
        return float((0.5 * self.truth(self.noisy(), self.sigma).double().square().sum(1)).mean())

    def close(self) -> None:
        """Ends the trainings."""
        for each in self.contestants:
            each.progress.close()  # type: ignore[attr-defined]

    def _noise(self) -> Streams:
        return Streams(self.setting.seed, NOISE_ROWS + torch.arange(HELD_OUT))

    def _enter(self, name: Name) -> Contestant:
        setting = self.setting
        objective, model = Turning(METHODS[name], setting.sigma), network(setting)
        progress = train(
            model,
            objective,
            batches(self.data, setting.batch, seed=setting.seed),
            steps=STEPS,
            learning_rate=setting.learning_rate,
            warmup=0.0,
            decay=constant,
            seed=setting.seed,
        )
        return Contestant(name, objective, progress, evaluations(objective, model, self.data[: setting.batch]), model)


def network(setting: Setting) -> MLP:
    """The network all of them start from: a function of (width, depth, seed)."""
    with seeded(setting.seed):
        return MLP(2, setting.width, setting.depth)


def told(estimate: Estimate) -> dict[str, float | None]:
    """An estimate as plain numbers; None where it is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in vars(estimate).items()}
