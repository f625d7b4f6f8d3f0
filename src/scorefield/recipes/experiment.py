"""A recipe in parts: model, objective, data, sampler, and a report; `Experiment.run` does the rest.

    describe → train (bar, log, checkpoints, previews) → loss.png, samples.png, walk.png → report

All of it happens inside one run folder; leaving it at any moment and coming back with ``resume`` changes no weight.
"""

import copy
import json
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .. import box, files, plots
from ..checkpoints import Run, facts, read_log
from ..data import Dataset, batches
from ..errors import RangeError, RunError
from ..objectives import Denoising
from ..samplers import State
from ..training import Progress, bar, train
from . import pictures
from .drawing import Drawing
from .measure import Measures, plain, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW_SECONDS = 60.0
Report = Callable[["Finished"], Measures]
Show = Callable[[str], object]


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run, and the run itself.

    Args:
        model: a `Denoiser`, or any module that is a score.
        objective: (model, x) -> one loss per example.
        data: rows in the model's units, with held-out rows and the way back.
        steps: how long to train.
        batch: on how many rows at a time.
        training: further arguments of `train`: learning_rate, warmup, clip, truth, evaluate_every, …
        drawing: how to draw samples, and with which labels.
        seed: of initial weights (see `seeded`), batches, noise and samples.
        count: how many samples the report looks at.
        report: the recipe's own numbers and pictures, from the trained model; None for none.
        source: what makes the batches to train on when training begins, if they are not rows of ``data``.

    >>> import scorefield as sf
    >>> data = sf.data.prepare(sf.data.moons(100), name="moons", scaling=sf.data.Scaling.identity())
    >>> Experiment(sf.Preconditioned(sf.MLP(2), sf.VP()), sf.Diffusion(), data, steps=10).batch
    128
    """

    model: nn.Module
    objective: Callable[..., Tensor]
    data: Dataset
    steps: int
    batch: int = 128
    training: Mapping[str, Any] = field(default_factory=dict)
    drawing: Drawing = field(default_factory=Drawing)
    seed: int = 0
    count: int = 2000
    report: Report | None = None
    source: Callable[[Show], Any] | None = None

    def __post_init__(self):
        rate = self.training.get("learning_rate", 1e-3)
        if not 0 < rate < math.inf:
            raise RangeError(f"Experiment(learning_rate={rate:g}): learning_rate must be positive and finite.")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise RangeError(f"Experiment({name}={getattr(self, name)}): {name} must be at least 1.")
        if self.report is not None and 0 < self.count < 100:
            raise RangeError(f"Experiment(count={self.count}): a report compares at least 100 samples.")

    def run(
        self,
        out: Path,
        *,
        resume: bool = False,
        previous: bool = False,
        show: Show = print,
        about: Mapping[str, Any] | None = None,
    ) -> Measures:
        """Train, draw and judge in the folder ``out``; the measures of the report.

        ``about`` is recorded with the run: the recipe's name and arguments. ``resume`` continues from the newest state,
        ``previous`` from the one before it. An interrupt saves, and goes on as KeyboardInterrupt.

        Raises: RunError, LockedError, DamagedError, StorageError about the folder; all that training raises.
        """
        with self._open(out, resume or previous, dict(about or {})) as run, interruptible() as stop:
            state = run.load_state(previous=previous) if resume or previous else None
            weights = sum(parameter.numel() for parameter in self.model.parameters())
            show(f"{self.data}; a model of {weights:,} weights; {self.steps:,} steps of {self.batch} rows, into {out}.")
            progress = train(
                self.model,
                self.objective,
                self._batches(show),
                steps=self.steps,
                seed=self.seed,
                save=run.save_state,
                state=state,
                **{"held_out": self._held_out(), "save_every": max(1, self.steps // 10), **self.training},
            )
            # Closed here and now on Ctrl-C, which saves the state, and not whenever the garbage collector comes.
            with closing(run.record(progress, every=max(1, self.steps // 2000))) as steps:  # type: ignore[type-var]
                deque(stop.between(self._previewed(bar(steps), out)), maxlen=0)
            return self.finish(out, show)

    def finish(self, out: Path, show: Show = print) -> Measures:
        """The pictures and the report of a trained run."""
        finished = self.finished(out)
        log = read_log(out)
        if log:
            finished.save(plots.losses(log), "loss.png")
        drawn = finished.sample(256 if pictures.are_images(self.data.shape) else 2000)
        finished.save(pictures.samples(drawn, self.data.train), "samples.png")
        if pictures.are_images(self.data.shape):
            plots.sheet(drawn, out / "sheet.png", columns=16)
        finished.save(pictures.walk(finished.walk(256), self.data.train), "walk.png")
        return self.evaluate(finished, show)

    def evaluate(self, finished: "Finished", show: Show = print) -> Measures:
        """The report alone: printed as a table, and written to report.json."""
        measures = {} if self.report is None else self.report(finished)
        content = {"training_seconds": round(finished.seconds, 1), "measures": plain(measures)}
        path = finished.place("report.json")
        files.replace(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        if measures:
            show(table(measures))
        return measures

    def finished(self, out: Path) -> "Finished":
        """The trained model of a run of this experiment, or of the `box`: the averaged weights, in eval mode.

        Pictures and reports of it go to `box.results`, which for a run is its own folder.

        Raises: RunError if no weights have been saved yet; DamagedError if they were altered.
        """
        path = box.place(out) / "average.safetensors"
        if not path.exists():
            raise RunError(f"run {out}: no weights have been saved yet; continue its training with --resume.")
        model = copy.deepcopy(self.model).requires_grad_(False).eval()
        try:
            model.load_state_dict(files.read_tensors(path))
        except RuntimeError as error:
            raise RunError(
                f"{path}: these weights are not of this recipe's model; give the arguments of the run."
            ) from error
        log = read_log(out)
        return Finished(self, model, box.results(out), float(log[-1].get("seconds", 0.0)) if log else 0.0, self.count)

    def _open(self, out: Path, resume: bool, about: dict[str, Any]) -> Run:
        if resume:
            trust = ("scorefield", type(self.drawing.sampler).__module__.partition(".")[0])
            recorded = facts(out, trust=trust).get("data", {}).get("fingerprint")
            if recorded not in (None, self.data.fingerprint):
                raise RunError(f"run {out}: its data were {recorded}, these are {self.data.fingerprint}: other rows.")
            return Run.open(out)
        data = {
            "name": self.data.name,
            "fingerprint": self.data.fingerprint,
            "shape": list(self.data.shape),
            "rows": len(self.data.train),
            "held_out": len(self.data.held_out),
            "columns": list(self.data.columns),
        }
        level = {"sigma": self.objective.sigma} if isinstance(self.objective, Denoising) else {}
        return Run.create(
            out,
            self.model,
            **about,
            **level,
            seed=self.seed,
            data=data,
            scaling=self.data.scaling,
            sampling=self.drawing,
        )

    def _previewed(self, progress: Iterator[Progress], out: Path) -> Iterator[Progress]:
        """The same steps; a picture of the average's samples is refreshed once a minute."""
        last = time.monotonic() - 0.75 * PREVIEW_SECONDS
        for each in progress:
            if time.monotonic() - last > PREVIEW_SECONDS and each.average is not None:
                n = 16 if pictures.are_images(self.data.shape) else 1000
                drawn = self._sample(each.average, n)
                title = f"step {each.step:,} of {each.steps:,}"
                plots.save(pictures.samples(drawn, self.data.train, title=title), out / "samples.png")
                last = time.monotonic()
            yield each

    def _batches(self, show: Show) -> Any:
        if self.source is not None:
            return self.source(show)
        return batches(self.data.train, self.batch, seed=self.seed, **self._labelled(self.data.labels))

    def _labelled(self, labels: Tensor | None) -> dict[str, Tensor]:
        return {} if self.drawing.classes is None or labels is None else {"label": labels}

    def _held_out(self) -> Tensor | dict[str, Tensor]:
        labelled = self._labelled(self.data.held_out_labels)
        return {"x": self.data.held_out, **labelled} if labelled else self.data.held_out

    def _sample(self, model: nn.Module, n: int) -> Tensor:
        return self.drawing.sample(model, n, shape=self.data.shape, seed=self.seed)


@dataclass(frozen=True)
class Finished:
    """A trained run, as a report sees it: the averaged model, where its files go, how long the training took.

    ``count`` is the number of samples that the report should look at.
    """

    experiment: Experiment
    model: nn.Module
    folder: Path
    seconds: float
    count: int

    def sample(self, n: int | None = None) -> Tensor:
        """n samples (``count`` by default) in the model's units, on the CPU, drawn as the experiment says."""
        return self.experiment._sample(self.model, n or self.count)

    def walk(self, n: int) -> list[State]:
        """The states of n walks, on the CPU."""
        each = self.experiment
        return list(each.drawing.walk(self.model, n, shape=each.data.shape, seed=each.seed))

    def save(self, picture: "Figure", name: str) -> Path:
        """The picture as a file of the run. Raises: StorageError."""
        return plots.save(picture, self.place(name))

    def place(self, name: str) -> Path:
        """Where a file of this name goes; its folder is there. Raises: StorageError."""
        with files.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name


class Stop:
    """Ctrl-C and SIGTERM, noted during a step and raised as KeyboardInterrupt after it; the second one at once.

    An exception raised at any moment may fall into a callback that swallows it, or between two halves of a step.
    """

    def __init__(self) -> None:
        self.patient = False
        self.asked = False

    def __call__(self, number: int, frame: object) -> None:
        """The handler of the signals."""
        if not self.patient or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def between(self, steps: Iterable[Progress]) -> Iterator[Progress]:
        """The same steps, left by KeyboardInterrupt after one in which a signal came."""
        self.patient = True
        try:
            for each in steps:
                yield each
                if self.asked:
                    raise KeyboardInterrupt
        finally:
            self.patient = False


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Inside the block Ctrl-C and SIGTERM are `Stop`'s, so that a machine that shuts down saves as Ctrl-C does."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # A signal that is ignored, as in a background job of a shell, stays so.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, stop) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
