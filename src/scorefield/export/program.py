"""A walk as a triangular matrix.

The steps of nearly all samplers are linear in what they know: normal draws z_0 … z_{D−1} and the network's answers x̂_1 … x̂_K so
far, guided or not. With the memory m = (z_0, …, z_{D−1}, x̂_1, …, x̂_K), which starts with zeros for answers,

    x̂_k = network(Σ_j C_kj m_j, t_k, label or none),    C_kj = 0 for answers not yet given,        the end = Σ_j c_j m_j

so that a walk on a fixed grid is the numbers C, c, t and nothing else. They are found by walking once, in float64, with a
denoiser whose k-th answer is a unit vector and draws that are unit vectors: every state is then its own row of coefficients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import RangeError
from ..guidance import Free
from ..models import Denoiser, Times, Values
from ..recipes.drawing import Drawing
from ..samplers import Sampler, default
from ..samplers.langevin import Static
from ..tensors import Draws, Streams


@dataclass(frozen=True)
class Program:
    """x_0 = Σ_j c_j m_j after K calls of the network: ``inputs`` is C, ``end`` is c, ``times`` the t of each call.

    ``told`` says which calls are given the label; guidance asks twice, once without. ``draws`` is D, the normal draws of each row.
    """

    inputs: Float[Tensor, "calls memory"]
    end: Float[Tensor, "memory"]
    times: Float[Tensor, "calls"]
    told: Bool[Tensor, "calls"]
    draws: int

    def run(
        self, model: Callable[..., Tensor], noise: Float[Tensor, "batch draws *event"], label: Tensor | None = None
    ) -> Float[Tensor, "batch *event"]:
        """The ends of the walks from these draws, by this model, in its units; sums are in float64, it sees ``noise``'s dtype."""
        memory = list(noise.unbind(1))
        for row, t, told in zip(self.inputs, self.times, self.told):
            cond = {"label": label} if bool(told) and label is not None else {}
            memory.append(model(_sum(row, memory), t, **cond))
        return _sum(self.end, memory)


def program(model: Denoiser, how: Drawing) -> Program:
    """The walk of a run's drawing, with its guidance, as a matrix. The model lends its noise and prior, and is not asked.

    Raises: RangeError for a sampler whose steps depend on where the walk is, such as Adaptive, or that walks under one static score.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> from scorefield.samplers import Ancestral
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(10.0))
    >>> found = program(known, Drawing(Ancestral(eta=0.0), times=torch.tensor([1.0, 0.5, 0.0])))
    >>> found.inputs  # x_1 = 10 z, then half of it and half of the first answer
    tensor([[10.0000,  0.0000,  0.0000],
            [ 5.0000,  0.5000,  0.0000]], dtype=torch.float64)
    """
    sampler = how.sampler or default(how.steps)
    if isinstance(sampler, Static):
        raise RangeError(
            f"export: {sampler} walks under a static score, not down noise levels; choose another sampler."
        )
    times = sampler.times(model, how.steps) if how.grid is None else how.grid
    counted = _Unit(model, 0)
    _walked(counted, how, sampler, times)
    unit = _Unit(model, counted.draws + counted.calls)
    unit.first = counted.draws
    end = _walked(unit, how, sampler, times)
    found = Program(
        torch.stack(unit.inputs),
        end[0],
        torch.tensor(unit.times, dtype=torch.float64),
        torch.tensor(unit.told),
        counted.draws,
    )
    _require_linear(found, model, how, sampler, times)
    return found


def draws(
    count: int, shape: tuple[int, ...], seed: int, rows: Int[Tensor, "batch"] | range
) -> Float[Tensor, "batch draws *event"]:
    """The ``noise`` that an exported sampler wants for these rows of a seed: the draws that `scorefield.sample` makes.

    >>> draws(1, (2,), 0, range(3)).shape
    torch.Size([3, 1, 2])
    """
    streams = Streams(seed, rows)
    return torch.stack([streams.normal(torch.empty(len(rows), *shape)).float() for _ in range(count)], 1)


class _Unit(Denoiser):
    """Answers with one unit vector after the other, writes down what it was asked, and draws unit vectors."""

    def __init__(self, model: Denoiser, size: int):
        super().__init__()
        self.model, self.size, self.noise = model, size, model.noise
        self.first, self.calls, self.draws = 0, 0, 0
        self.inputs: list[Tensor] = []
        self.times: list[float] = []
        self.told: list[bool] = []

    def prior(self, x: Values, generator: Draws | None = None) -> Values:
        return self.model.prior(x, generator)

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        self.inputs.append(xt[0].clone())
        self.times.append(float(t))
        self.told.append("label" in cond)
        self.calls += 1
        return self.unit(self.first + self.calls - 1)

    def drawn(self) -> Values:
        """The next draw."""
        self.draws += 1
        return self.unit(self.draws - 1)

    def unit(self, place: int) -> Values:
        """e_place as a batch of one row; while counting, nothing."""
        return torch.eye(max(self.size, 1), dtype=torch.float64)[min(place, max(self.size - 1, 0))][None] * (
            self.size > 0
        )


class _Units(Streams):
    """Streams that ask a `_Unit` for its draws."""

    def __init__(self, unit: _Unit):
        super().__init__(0, [0])
        self.unit = unit

    def normal(self, x: Values) -> Values:
        return self.unit.drawn()


def _walked(unit: _Unit, how: Drawing, sampler: Sampler, times: Tensor) -> Tensor:
    generator = _Units(unit)
    x = unit.prior(torch.zeros(1, max(unit.size, 1), dtype=torch.float64), generator)
    guided, cond = _guided(unit, how, 1)
    for state in sampler.walk(guided, x, times, generator, **cond):
        end = state.x
    return end


def _guided(model: Denoiser, how: Drawing, n: int) -> tuple[Denoiser, dict[str, Tensor]]:
    if how.classes is None:
        return model, {}
    return Free(model, how.weight, how.low, how.high), {"label": torch.zeros(n, dtype=torch.int64)}


class _Toy(Denoiser):
    """A denoiser that is nothing like linear, and hears its label."""

    def __init__(self, model: Denoiser):
        super().__init__()
        self.model, self.noise = model, model.noise

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        alpha, sigma = self.noise.at(t, xt)
        return torch.tanh(alpha * xt / (alpha**2 + sigma**2) * (1.5 if cond else 1.0)) + 0.1 * torch.sin(
            3 * xt / (1 + sigma)
        )


def _require_linear(found: Program, model: Denoiser, how: Drawing, sampler: Sampler, times: Tensor) -> None:
    toy, empty = _Toy(model), torch.empty(3, 4, dtype=torch.float64)
    streams = Streams(1, range(3))
    x = model.prior(empty, streams)
    guided, cond = _guided(toy, how, 3)
    for state in sampler.walk(guided, x, times, streams, **cond):
        end = state.x
    streams = Streams(1, range(3))
    noise = torch.stack([streams.normal(empty) for _ in range(found.draws)], 1)
    miss = float((found.run(toy, noise, cond.get("label")) - end).abs().max())
    if not miss <= 1e-6 * (1 + float(end.abs().max())):
        raise RangeError(
            f"export: the steps of {sampler} depend on where the walk is, so that no fixed graph can take them (they differ by "
            f"{miss:.2g}); choose another sampler, or export the denoiser alone."
        )


def _sum(row: Tensor, memory: list[Tensor]) -> Tensor:
    """Σ_j row_j m_j over what is there, rounded once."""
    total = torch.zeros_like(memory[0], dtype=torch.float64)
    for weight, each in zip(row.tolist(), memory):
        if weight:
            total.add_(each, alpha=weight)
    return total.to(memory[0])
