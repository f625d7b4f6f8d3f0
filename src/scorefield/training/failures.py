"""How training stops when it must: numbers that are not finite, too little memory, an interrupt.

The optimiser never steps with a loss or gradient that is not finite. Since row i's randomness is its own, the worst
row can be computed again alone, with the very noise that broke it, and its noise level be named.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from ..errors import DivergedError, MemoryLimitError, ShapeError
from ..tensors import Streams
from .loss import Batch, Loss, rows_of

_MEMORY = ("out of memory", "can't allocate", "not enough memory", "cannot allocate")


def diverged(loss: Loss, batch: Batch, draws: Streams, losses: Tensor, step: int, value: str) -> DivergedError:
    """The error for step number ``step``: names the worst row, its noise level and the remedy.

    >>> loss = Loss(torch.nn.Identity(), lambda model, x, generator: model(x))
    >>> str(diverged(loss, {"x": torch.ones(2)}, Streams(0, [0, 1]), torch.tensor([1.0, torch.inf]), 4, "the loss is inf"))
    'training: the loss is inf at step 5; the loss of row 1 is inf. The weights are those before this step; lower \
learning_rate, keep clip at 1 or below, or start the noise levels higher.'
    """
    wrong = ~losses.isfinite()
    row = int(wrong.int().argmax()) if bool(wrong.any()) else int(losses.argmax())
    alone = rows_of(batch, slice(row, row + 1))
    if not bool(alone["x"].isfinite().all()):
        cause, remedy = f"row {row} of the batch is itself not finite", "remove such rows from the data"
    else:
        level = _level(loss, alone, draws.part(row, row + 1))
        cause = f"the loss of row {row} is {losses[row].item():.4g}" + (f" at noise level {level}" if level else "")
        remedy = "lower learning_rate, keep clip at 1 or below, or start the noise levels higher"
    return DivergedError(
        f"training: {value} at step {step + 1}; {cause}. The weights are those before this step; {remedy}."
    )


def _level(loss: Loss, alone: Batch, draws: Streams) -> str:
    seen: list[Tensor] = []

    def listen(module, args, kwargs):
        time = args[1] if len(args) > 1 else kwargs.get("t")
        if isinstance(time, Tensor) and not seen:
            seen.append(time.detach().flatten()[:1].double().cpu())

    hook = loss.model.register_forward_pre_hook(listen, with_kwargs=True)
    fresh = Streams(draws.seed, draws.rows)
    # A transformed tensor (torch.func) has no value to read: the error then goes without a level.
    try:
        with suppress(RuntimeError, ArithmeticError):
            loss(alone, fresh)
            time = seen[0].item() if seen else None
            noise = getattr(loss.model, "noise", None)
            if time is not None and noise is not None:
                return f"sigma/alpha = {float(noise.ratio(seen[0])):.4g} (t = {time:.4g})"
    finally:
        hook.remove()
    return ""


@contextmanager
def fitting(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Where torch cannot multiply data and weights, says which shape or type is not the other's.

    >>> with fitting(nn.Linear(2, 2), torch.ones(1, 2).double()):
    ...     nn.Linear(2, 2)(torch.ones(1, 2).double())
    Traceback (most recent call last):
    ...
    scorefield.errors.ShapeError: train: data of torch.float64, weights of torch.float32; give both one type: x.to(torch.float32).
    """
    try:
        yield
    except RuntimeError as error:
        event, weight = getattr(model, "shape", None), next(model.parameters(), None)
        if event is not None and tuple(event) != tuple(x.shape[1:]):
            raise ShapeError(
                f"train: examples of shape {tuple(x.shape[1:])}; the model is one of events {tuple(event)}."
            ) from error
        if weight is not None and weight.dtype != x.dtype:
            kinds = f"data of {x.dtype}, weights of {weight.dtype}"
            raise ShapeError(f"train: {kinds}; give both one type: x.to({weight.dtype}).") from error
        raise


@contextmanager
def memory_limit(rows: int) -> Iterator[None]:
    """Turns every form of "out of memory" into `MemoryLimitError` with the batch size to try.

    >>> with memory_limit(64):
    ...     raise MemoryError
    Traceback (most recent call last):
    ...
    scorefield.errors.MemoryLimitError: training with a batch of 64 rows: out of memory; try a batch of 32, or the \
same batch with accumulate doubled.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(words in text for words in _MEMORY):
            raise
        raise MemoryLimitError(
            f"training with a batch of {rows} rows: out of memory; try a batch of {max(1, rows // 2)}, "
            "or the same batch with accumulate doubled."
        ) from error


@contextmanager
def whole() -> Iterator[None]:
    """Python's handlers of Ctrl-C and SIGTERM wait until the block ends: what changes in it changes together.

    >>> with whole():
    ...     pass
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple] = []
    names = [name for name in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(name))]
    old = {name: signal.signal(name, lambda *event: waiting.append(event)) for name in names}
    try:
        yield
    finally:
        for name, handler in old.items():
            signal.signal(name, handler)
    for number, frame in waiting[:1]:
        old[number](number, frame)  # type: ignore[operator,misc]
