"""What a training step tells, and how to watch it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import nn

from .held_out import Evaluation


@dataclass(frozen=True)
class Progress:
    """One step of training: ``step`` of ``steps`` are done.

    ``loss`` is the joint batch's mean in nats per example; ``gradient_norm`` is that of the loss per coordinate, before
    clipping; ``seconds`` counts all sessions of this training. ``held_out`` is there every ``evaluate_every`` steps.
    ``model`` is the live one and ``average`` the weight average.

    >>> Progress(1, 10, 0.5, 1e-3, 2.0, 0.1, 640.0).record()["loss"]
    0.5
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    examples_per_second: float
    held_out: Evaluation | None = None
    model: nn.Module | None = field(default=None, repr=False)
    average: nn.Module | None = field(default=None, repr=False)

    def record(self) -> dict:
        """The numbers as JSON data: a line of ``log.jsonl``, held-out levels keyed by σ/α."""
        line: dict = {
            "step": self.step,
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "seconds": round(self.seconds, 3),
            "examples_per_second": round(self.examples_per_second, 1),
        }
        if self.held_out is not None:
            line["held_out_loss"] = self.held_out.loss
            each = {"held_out": self.held_out.levels, "zero": self.held_out.zero, "fisher": self.held_out.fisher}
            for name, levels in each.items():
                line |= {name: {f"{level:.4g}": value for level, value in levels.items()}} if levels else {}
        return line


def bar(progress: Iterable[Progress], *, title: str = "training") -> Iterator[Progress]:
    """The same iterator, shown as a bar with step, loss, speed and time left.

    >>> list(bar([])) == []
    True
    """
    from tqdm import tqdm

    shown, words = None, {}
    try:
        for each in progress:
            if shown is None:
                shown = tqdm(total=each.steps, initial=each.step - 1, desc=title, unit="step", smoothing=0.05)
            words["loss"] = f"{each.loss:.4g}"
            if each.held_out is not None:
                words["held out"] = f"{each.held_out.loss:.4g}"
            shown.set_postfix(words, refresh=False)
            shown.update()
            yield each
    finally:
        if shown is not None:
            shown.close()
