"""One step: rows → losses → the gradient of their mean → clip → optimiser → average."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import DivergedError, RangeError
from ..models import require_independent_rows
from ..tensors import seeded
from . import averages, schedules
from .failures import diverged, fitting, memory_limit
from .held_out import Evaluation, HeldOut
from .loss import Batch, Loss, as_batch, bounds, placed, rows_of, streams
from .state import State, capture

Factory = Callable[..., torch.optim.Optimizer]


def adamw(params: Iterable[nn.Parameter], *, lr: float) -> torch.optim.Optimizer:
    """AdamW with β = (0.9, 0.99) and no weight decay: the memory of 100 steps that noisy denoising losses like.

    Loshchilov & Hutter (2019), algorithm 2, arXiv:1711.05101.

    >>> adamw([nn.Parameter(torch.ones(1))], lr=0.1).defaults["betas"]
    (0.9, 0.99)
    """
    return torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)


@dataclass(frozen=True)
class Settings:
    """The arguments of `train` that every step needs, checked.

    Raises: RangeError for a number out of range.

    >>> Settings(10, 0.1, schedules.linear, 1.0, averages.Power(), 1, 5, 0, None).steps
    10
    """

    steps: int
    warmup: float
    decay: schedules.Decay
    clip: float | None
    average: averages.Average
    accumulate: int
    evaluate_every: int
    seed: int
    save_every: int | None

    def __post_init__(self):
        for name in ("steps", "accumulate", "evaluate_every"):
            if getattr(self, name) < 1:
                raise RangeError(f"train({name}={getattr(self, name)}): {name} must be at least 1.")
        if self.save_every is not None and self.save_every < 1:
            raise RangeError(f"train(save_every={self.save_every}): save_every must be at least 1, or None.")
        if not 0 <= self.warmup <= 1:
            raise RangeError(f"train(warmup={self.warmup:g}): warmup is the part of the steps, between 0 and 1.")
        if self.clip is not None and not self.clip > 0:
            raise RangeError(f"train(clip={self.clip:g}): clip must be positive, or None.")


@dataclass(frozen=True)
class LossByRow:
    """x -> L_i: what is asked of a model with conditions, of which only the objective knows which the model takes.

    >>> rows = LossByRow(Loss(nn.Identity(), lambda model, x, generator: model(x)[:, 0]), {"x": torch.eye(2)})
    >>> rows(torch.eye(2)[:1])
    tensor([1.])
    """

    loss: Loss
    batch: Batch

    def __call__(self, x: Tensor) -> Tensor:
        return self.loss(rows_of(self.batch, slice(len(x))), streams(0, 0, 0, len(x)))


class Engine:
    """The parts of a training, and one step of it.

    >>> loss = Loss(nn.Linear(1, 1), lambda model, x, generator: 0.5 * (model(x) - x).square().sum(1))
    >>> engine = Engine(loss, adamw, 0.1, Settings(9, 0.0, schedules.constant, None, averages.Power(), 1, 9, 0, None), None)
    >>> engine.step(torch.full((4, 1), 9.0), 0)[0] > engine.step(torch.full((4, 1), 9.0), 1)[0]
    True
    """

    def __init__(
        self, loss: Loss, optimizer: Factory, learning_rate: float, settings: Settings, held_out: HeldOut | None
    ):
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        # A score uses less than its model has: the gradient of an energy knows no last bias.
        handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(kwargs_handlers=[handler])
        self.loss, self.settings, self.held_out = loss, settings, held_out
        self.prepared = self.accelerator.prepare(loss)
        self.average = averages.copied(loss.model)
        self.parameters = [parameter for parameter in loss.parameters() if parameter.requires_grad]
        self.optimizer = optimizer(self.parameters, lr=learning_rate)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, raw: object, done: int) -> tuple[float, float, float]:
        """Step number ``done``, counted from 0: (mean loss, gradient norm, learning rate)."""
        batch = as_batch(raw)
        rows = len(batch["x"])
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        parts = world * self.settings.accumulate
        if rows < parts:
            raise RangeError(f"train: a batch of {rows} rows cannot be cut into {parts} parts, processes × accumulate.")
        self.optimizer.zero_grad()
        found = []
        with memory_limit(rows), self._own_randomness(done):
            for micro in range(self.settings.accumulate):
                start, stop = bounds(rows, rank * self.settings.accumulate + micro, parts)
                piece = self._placed(rows_of(batch, slice(start, stop)))
                with self._reducing(micro == self.settings.accumulate - 1):
                    losses = self.prepared(piece, streams(self.settings.seed, done, start, stop))
                    # The distributed wrapper takes the mean over processes; we want the sum of the parts.
                    (losses.sum() * (world / (rows * piece["x"][0].numel()))).backward()
                found.append(losses.detach())
        total = self.accelerator.reduce(torch.cat(found).double().sum(), reduction="sum").item() / rows
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip or math.inf).item()
        if not math.isfinite(total) or not math.isfinite(norm):
            raise self._diverged(batch, torch.cat(found), done, total, norm)
        settings = self.settings
        rate = schedules.factor(done, settings.steps, round(settings.warmup * settings.steps), settings.decay)
        for group, base in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = base * rate
        self.optimizer.step()
        averages.update(self.average, self.loss.model, settings.average(done + 1))
        return total, norm, self.rates[0] * rate

    def evaluate(self, done: int) -> Evaluation | None:
        """The held-out loss of the average, when it is due."""
        due = done % self.settings.evaluate_every == 0 or done == self.settings.steps
        return self.held_out(self.average) if self.held_out is not None and due else None

    def state(self, done: int, seconds: float) -> State:
        """Everything the next step depends on."""
        return capture(done, self.settings.seed, seconds, self.loss, self.average, self.optimizer)

    def check_rows(self, raw: object) -> None:
        """Refuses a model that mixes rows: by name as it trains, by number as it will be used (dropout off)."""
        batch = self._placed(rows_of(as_batch(raw), slice(8)))
        model, x = self.loss.model, batch["x"]
        require_independent_rows(model.train(), x[:1])
        model.eval()
        noise = getattr(model, "noise", None)
        with fitting(model, x):
            if len(batch) > 1:
                require_independent_rows(LossByRow(self.loss, batch), x)
            elif noise is None:
                require_independent_rows(model, x)
            else:
                require_independent_rows(model, x, torch.full((len(x),), 0.5, dtype=torch.float64, device=x.device))
        model.train()

    def _placed(self, batch: Batch) -> Batch:
        return placed(batch, self.accelerator.device)

    def _reducing(self, last: bool) -> AbstractContextManager:
        return nullcontext() if last else self.accelerator.no_sync(self.prepared)

    def _own_randomness(self, done: int) -> AbstractContextManager:
        """Dropout as a function of (seed, step, process)."""
        seed = ((self.settings.seed * 1_000_003 + done) * 65_537 + self.accelerator.process_index) % 2**63
        return seeded(seed, self.accelerator.device)

    def _diverged(self, batch: Batch, losses: Tensor, done: int, total: float, norm: float) -> DivergedError:
        rows, parts = len(batch["x"]), self.accelerator.num_processes
        start, stop = bounds(rows, self.accelerator.process_index, parts)
        value = f"the gradient's norm is {norm:.4g}" if math.isfinite(total) else f"the loss is {total:.4g}"
        draws = streams(self.settings.seed, done, start, stop)
        return diverged(self.loss, self._placed(rows_of(batch, slice(start, stop))), draws, losses, done, value)
