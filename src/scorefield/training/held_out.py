"""Held-out loss with fixed noise, level by level.

    L_j = mean_i ½‖ε̂(α_j x_i + σ_j z_i, t_j) − z_i‖²   against the zero score's   mean_i ½‖z_i‖²

The training loss of denoising says little: its noise hides its trend, and most of it cannot be learned. Here rows,
noise and levels are the same in every evaluation, so that differences are the model's. If the true score is known, the
Fisher divergence E ½‖s − s*‖² is measured on the same points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..noises import Gaussian
from ..tensors import Streams, normal, sum_event
from .loss import Batch, Loss, Objective, as_batch, autocast, placed, rows_of, streams

ROWS, CHUNK, LEVELS = 512, 128, 8
KINDS = ("denoising", "zero", "fisher")
Truth = Callable[..., Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What `HeldOut` measured, in nats per example.

    ``loss`` is the training objective; ``levels`` and ``zero`` map the noise level σ/α to the denoising loss of the
    model and of the zero score; ``fisher`` maps it to the Fisher divergence. Models without noise have the one level 0.

    >>> Evaluation(1.0, {}, {}, {}).loss
    1.0
    """

    loss: float
    levels: dict[float, float]
    zero: dict[float, float]
    fisher: dict[float, float]


class HeldOut:
    """model -> `Evaluation` on fixed rows, noise and levels.

    ``data`` is a tensor or a dictionary like a batch, of which at most 512 rows, evenly spaced, are used. ``truth`` is
    the true score: ``truth(x)`` for models without noise, ``truth(xt, t)`` for denoisers.
    Raises: DataError if the data hold fewer than two rows or numbers that are not finite.

    >>> measure = HeldOut(torch.randn(64, 2), lambda model, x, generator=None: 0.5 * sum_event((model(x) - x) ** 2))
    >>> measure(nn.Identity()).loss
    0.0
    """

    def __init__(
        self,
        data: Tensor | Batch,
        objective: Objective,
        *,
        truth: Truth | None = None,
        seed: int = 0,
        precision: torch.dtype | None = None,
    ):
        batch = as_batch(data)
        rows = len(batch["x"])
        if rows < 2 or not bool(batch["x"].isfinite().all()):
            raise DataError(f"held_out of {rows} rows: it needs at least two rows of finite numbers; see data.split.")
        chosen = torch.linspace(0, rows - 1, min(rows, ROWS)).round().long()
        self.batch = rows_of(batch, chosen)
        self.objective, self.truth, self.seed, self.precision = objective, truth, seed, precision

    def __call__(self, model: nn.Module) -> Evaluation:
        training = model.training
        model.eval()
        try:
            return self._measure(model)
        finally:
            model.train(training)

    def _measure(self, model: nn.Module) -> Evaluation:
        noise = getattr(model, "noise", None)
        times = {float(noise.ratio(t)): t for t in level_times(noise)} if isinstance(noise, Gaussian) else {}
        loss = Loss(model, self.objective, self.precision)

        def measure(piece: Batch, draws: Streams) -> dict:
            values = {("loss", None): loss(piece, draws.part(0, len(draws.rows)))}
            return values | (self._denoise(model, piece, draws, times) if times else self._distance(model, piece))

        means = self._mean(model, measure)
        pick = {name: {level: value for (kind, level), value in means.items() if kind == name} for name in KINDS}
        total = means["loss", None]
        return Evaluation(total, pick["denoising"] or {0.0: total}, pick["zero"], pick["fisher"])

    def _denoise(self, model: Any, piece: Batch, draws: Streams, times: dict[float, Tensor]) -> dict:
        x, cond = piece["x"], {key: value for key, value in piece.items() if key != "x"}
        z = normal(x, draws)
        rows = {}
        for level, t in times.items():
            alpha, sigma = model.noise.at(t, x)
            xt, t = alpha * x + sigma * z, t.to(x.device)
            with torch.no_grad(), autocast(x, self.precision):
                epsilon = model.epsilon(xt, t, **cond)
            rows["denoising", level] = 0.5 * sum_event((epsilon - z) ** 2)
            rows["zero", level] = 0.5 * sum_event(z**2)
            if self.truth is not None:
                rows["fisher", level] = 0.5 * sum_event((-epsilon / sigma - self.truth(xt, t)) ** 2)
        return rows

    def _distance(self, model: nn.Module, piece: Batch) -> dict:
        if self.truth is None:
            return {}
        x, cond = piece["x"], {key: value for key, value in piece.items() if key != "x"}
        with torch.no_grad(), autocast(x, self.precision):
            return {("fisher", 0.0): 0.5 * sum_event((model(x, **cond) - self.truth(x)) ** 2)}

    def _mean(self, model: nn.Module, measure: Callable[..., dict]) -> dict:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        rows = len(self.batch["x"])
        sums: dict = {}
        for start in range(0, rows, CHUNK):
            stop = min(rows, start + CHUNK)
            piece = placed(rows_of(self.batch, slice(start, stop)), device)
            for key, values in measure(piece, streams(self.seed, -1, start, stop)).items():
                sums[key] = sums.get(key, 0.0) + values.detach().double().sum().item()
        return {key: value / rows for key, value in sums.items()}


def level_times(noise: Gaussian, count: int = LEVELS) -> list[Tensor]:
    """Times whose noise levels σ/α are a geometric sequence from 0.01 to 100, or to what the noise reaches.

    >>> from scorefield.noises import EDM
    >>> [round(float(EDM(10.0).ratio(t)), 2) for t in level_times(EDM(10.0), 4)]
    [0.01, 0.1, 1.0, 10.0]
    """
    top = min(100.0, float(noise.ratio(torch.ones((), dtype=torch.float64))))
    low = min(0.01, top / 1000)
    levels = torch.logspace(math.log10(low), math.log10(top), count, dtype=torch.float64)
    return list(noise.time(levels.clamp(max=top)))
