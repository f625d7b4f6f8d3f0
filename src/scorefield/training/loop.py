"""The loop: an iterator over steps, left at any time, continued bit for bit."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RangeError
from .averages import Average, Power, copied
from .engine import Engine, Factory, Settings, adamw
from .failures import whole
from .held_out import HeldOut, Truth
from .loss import Batch, Loss, Objective, as_batch, endless
from .progress import Progress
from .schedules import Decay, cosine
from .state import State, restore

_AVERAGE = Power()


def train(
    model: nn.Module,
    objective: Objective,
    data: Any,
    *,
    steps: int,
    optimizer: Factory = adamw,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    decay: Decay = cosine,
    clip: float | None = 1.0,
    average: Average = _AVERAGE,
    accumulate: int = 1,
    precision: torch.dtype | None = None,
    held_out: Tensor | Batch | None = None,
    truth: Truth | None = None,
    evaluate_every: int | None = None,
    seed: int = 0,
    save: Callable[[State], object] | None = None,
    save_every: int | None = None,
    state: State | None = None,
) -> Iterator[Progress]:
    """θ ← θ − rate · ∇ mean_i objective(model, x_i): training as an iterator that yields after every step.

    Stop by leaving the loop; preview or log in between. k steps, save, load and n − k steps are n steps, bit for
    bit, and any number of processes (``accelerate launch``) is one. The model is trained in place, on the accelerator
    if there is one; ``progress.average`` is the weight average. Torch's own generators, which dropout uses, are
    functions of (seed, step, process) in every step and put back after it.

    Args:
        data: `data.batches`, anything with ``stream(start)``, or an iterable of batches that can be read again. A batch
            is the joint one: every process reads it and keeps its part.
        optimizer: called as ``optimizer(parameters, lr=learning_rate)``, such as ``torch.optim.SGD``.
        warmup: the part of the steps in which the rate rises linearly.
        clip: the largest gradient norm of the loss per coordinate; None never clips.
        average: step k (from 1) -> weight of the new weights in their average.
        accumulate: micro-batches per step and process, to save memory.
        precision: ``torch.bfloat16`` for autocast where matrix products are faster so; weights stay as they are.
        held_out: rows kept apart, measured every ``evaluate_every`` steps (a twentieth of all by default): `HeldOut`.
        truth: the true score, ``truth(xt, t)`` or ``truth(x)``, for the Fisher divergence on ``held_out``.
        save: called with a `State` every ``save_every`` steps, at the end, and when the loop is left or interrupted.
        state: where to continue from.

    Raises: RangeError for numbers out of range; RowsError for a model that mixes rows; DivergedError for a loss or
    gradient that is not finite; MemoryLimitError with the batch size to try; DataError for data that are no batches.

    >>> model = nn.Linear(2, 2)
    >>> square = lambda model, x, generator=None: 0.5 * (model(x) - x).square().sum(1)
    >>> [progress.step for progress in train(model, square, [torch.ones(4, 2)], steps=3)]
    [1, 2, 3]
    """
    settings = Settings(
        steps, warmup, decay, clip, average, accumulate, evaluate_every or max(1, steps // 20), seed, save_every
    )
    if precision not in (None, torch.bfloat16):
        raise RangeError(f"train(precision={precision}): wanted None, or torch.bfloat16, which needs no loss scaling.")
    if not isinstance(model, nn.Module) or not any(parameter.requires_grad for parameter in model.parameters()):
        raise RangeError(f"train(model={type(model).__name__}): wanted an nn.Module with parameters to train.")
    evaluation = None
    if held_out is not None:
        evaluation = HeldOut(held_out, objective, truth=truth, seed=seed, precision=precision)
    batches = endless(data, 0 if state is None else state.step)
    engine = Engine(Loss(model, objective, precision), optimizer, learning_rate, settings, evaluation)
    if state is not None:
        restore(state, seed, engine.loss, engine.average, engine.optimizer)
    return _steps(engine, batches, save, 0 if state is None else state.step, 0.0 if state is None else state.seconds)


def fit(
    model: nn.Module,
    objective: Objective,
    data: Any,
    *,
    steps: int,
    optimizer: Factory = adamw,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    decay: Decay = cosine,
    clip: float | None = 1.0,
    average: Average = _AVERAGE,
    accumulate: int = 1,
    precision: torch.dtype | None = None,
    held_out: Tensor | Batch | None = None,
    truth: Truth | None = None,
    evaluate_every: int | None = None,
    seed: int = 0,
    save: Callable[[State], object] | None = None,
    save_every: int | None = None,
    state: State | None = None,
) -> nn.Module:
    """`train` to the end: the weight average, a model of its own in eval mode. Arguments and errors as in `train`.

    >>> square = lambda model, x, generator=None: 0.5 * (model(x) - x).square().sum(1)
    >>> fit(nn.Linear(2, 2), square, [torch.ones(4, 2)], steps=3).training
    False
    """
    progress = train(
        model,
        objective,
        data,
        steps=steps,
        optimizer=optimizer,
        learning_rate=learning_rate,
        warmup=warmup,
        decay=decay,
        clip=clip,
        average=average,
        accumulate=accumulate,
        precision=precision,
        held_out=held_out,
        truth=truth,
        evaluate_every=evaluate_every,
        seed=seed,
        save=save,
        save_every=save_every,
        state=state,
    )
    averaged = None
    for each in progress:
        averaged = each.average
    if averaged is None:  # the state was that of the last step
        averaged = copied(model)
        averaged.load_state_dict(state.average if state is not None else {})
    for kept, parameter in zip(averaged.parameters(), model.parameters()):
        kept.requires_grad_(parameter.requires_grad)
    return averaged


def _steps(
    engine: Engine, batches: Iterator[Any], save: Callable[[State], object] | None, done: int, before: float
) -> Iterator[Progress]:
    settings, began, spent, examples = engine.settings, time.perf_counter(), 0.0, 0
    saved, first = done, done
    main = engine.accelerator.is_main_process

    def elapsed() -> float:
        return before + time.perf_counter() - began

    def keep() -> None:
        nonlocal saved
        if save is not None and main and done > saved:
            save(engine.state(done, elapsed()))
            saved = done

    try:
        while done < settings.steps:
            raw = next(batches)
            if done == first:
                engine.check_rows(raw)
            started = time.perf_counter()
            with whole():
                loss, norm, rate = engine.step(raw, done)
                done += 1
            spent, examples = spent + time.perf_counter() - started, examples + len(as_batch(raw)["x"])
            held_out = engine.evaluate(done)
            yield Progress(
                done,
                settings.steps,
                loss,
                rate,
                norm,
                elapsed(),
                examples / spent,
                held_out,
                engine.loss.model,
                engine.average,
            )
            # After the yield: what was logged or drawn of this step is then never missing from a continued run.
            if done == settings.steps or (settings.save_every and done % settings.save_every == 0):
                keep()
    except (GeneratorExit, KeyboardInterrupt):
        keep()
        raise
