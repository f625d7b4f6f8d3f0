"""A classifier that knows the noise level, trained on the noise of a model that it will guide."""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .. import files, plots
from ..checkpoints import Run, facts, load, read_log
from ..data import Dataset, batches, open_data
from ..errors import DataError, RangeError, RunError, ShapeError
from ..guidance.classifier import Classifier, CrossEntropy, Encoder
from ..noises import EDM
from ..objectives import LogNormal
from ..tensors import Streams, normal, seeded
from ..training import bar, train
from .digits import fast_bfloat16
from .experiment import interruptible
from .measure import Measure, Measures, plain, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Lesson:
    """A classifier, its data and how it is trained; `run` leaves a folder like that of an `Experiment`, without samples."""

    model: Classifier
    objective: CrossEntropy
    data: Dataset
    steps: int
    batch: int
    learning_rate: float
    seed: int

    def run(
        self,
        out: Path,
        *,
        resume: bool = False,
        previous: bool = False,
        show: Callable[[str], object] = print,
        about: Mapping[str, Any] | None = None,
    ) -> Measures:
        """Train in the folder ``out``, then loss.png, levels.png and report.json. Errors as `Experiment.run`."""
        with self._opened(out, resume or previous, dict(about or {})) as run, interruptible() as stop:
            state = run.load_state(previous=previous) if resume or previous else None
            show(f"{self.data}; {self.steps:,} steps of {self.batch} rows, into {out}.")
            progress = train(
                self.model,
                self.objective,
                batches(self.data.train, self.batch, seed=self.seed, label=cast(Tensor, self.data.labels)),
                steps=self.steps,
                learning_rate=self.learning_rate,
                seed=self.seed,
                save=run.save_state,
                save_every=max(1, self.steps // 10),
                state=state,
            )
            with closing(run.record(progress, every=max(1, self.steps // 2000))) as steps:  # type: ignore[type-var]
                deque(stop.between(bar(steps)), maxlen=0)
        return self.finish(out, show)

    def finish(self, out: Path, show: Callable[[str], object] = print) -> Measures:
        """The pictures and the report of a trained run."""
        model = cast(Classifier, load(out))
        plots.save(plots.losses(read_log(out)), out / "loss.png")
        measures = by_level(model, self.data)
        plots.save(picture(measures), out / "levels.png")
        content = json.dumps({"measures": plain(measures)}, indent=2, ensure_ascii=False) + "\n"
        files.replace(out / "report.json", content.encode())
        show(table(measures))
        return measures

    def _opened(self, out: Path, resume: bool, about: dict[str, Any]) -> Run:
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint, "shape": list(self.data.shape)}
        if not resume:
            return Run.create(out, self.model, **about, seed=self.seed, data=data, scaling=self.data.scaling)
        recorded = facts(out).get("data", {}).get("fingerprint")
        if recorded not in (None, self.data.fingerprint):
            raise RunError(f"run {out}: its data were {recorded}, these are {self.data.fingerprint}: other rows.")
        return Run.open(out)


def classifier(
    *,
    data: str = "digits",
    width: int = 24,
    multipliers: tuple[int, ...] = (1, 2, 4),
    blocks: int = 1,
    patch: int = 2,
    steps: int = 3000,
    batch: int = 64,
    learning_rate: float = 4e-3,
    bfloat16: bool | None = None,
    data_std: float = 0.6,
    sigma_max: float = 80.0,
    level_mean: float = 0.0,
    level_std: float = 1.6,
    seed: int = 0,
) -> Lesson:
    """A classifier of noisy images, to guide a model that was trained without labels, or with them.

    Args:
        data: digits, digits8, a folder of IDX files, a .npz file with labels, or hf:NAME from Hugging Face
        width: channels of the network at its finest level
        multipliers: channels at each level in multiples of the width, finest first; each halves the resolution
        blocks: residual blocks at each level
        patch: side of the squares of pixels that are folded into channels first
        steps: training steps
        batch: images in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        bfloat16: compute inside the network in bfloat16; by default where the processor is fast at it
        data_std: standard deviation of the pixels
        sigma_max: the largest noise level; that of the model to be guided
        level_mean: mean of the logarithm of the noise levels trained on
        level_std: standard deviation of the logarithm of the noise levels trained on
        seed: of the weights, the batches and the noise

    >>> classifier(data="digits8", patch=1, width=8, steps=10).data
    digits8: 1618 rows of shape (1, 8, 8), 179 held out
    """
    rows = open_data(data)
    if len(rows.shape) != 3 or rows.shape[1] != rows.shape[2]:
        raise ShapeError(f"classifier(data={data!r}): events of shape {rows.shape}; square images wanted.")
    if rows.labels is None or rows.held_out_labels is None:
        raise DataError(
            f"classifier(data={data!r}): these rows have no labels, so that there is nothing to tell apart."
        )
    if steps < 1 or batch < 1:
        raise RangeError(f"classifier(steps={steps}, batch={batch}): both must be at least 1.")
    compute = torch.bfloat16 if (fast_bfloat16() if bfloat16 is None else bfloat16) else None
    with seeded(seed):
        network = Encoder(
            rows.shape[0], rows.shape[1], width, multipliers, blocks, patch, int(rows.labels.max()) + 1, compute
        )
    model = Classifier(network, EDM(sigma_max), data_std)
    return Lesson(model, CrossEntropy(LogNormal(level_mean, level_std)), rows, steps, batch, learning_rate, seed)


def by_level(model: Classifier, data: Dataset) -> Measures:
    """Accuracy and cross-entropy on noised held-out rows at each noise level, with those of knowing nothing but the classes' shares."""
    x, labels = data.held_out, cast(Tensor, data.held_out_labels)
    share = labels.bincount() / len(labels)
    chance, entropy = float(share.max()), float(-(share[share > 0] * share[share > 0].log()).sum())
    place = next(model.parameters()).device
    top = float(model.noise.ratio(torch.ones((), dtype=torch.float64)))
    found = {}
    for level in (each for each in LEVELS if each <= top):
        t = model.noise.time(torch.tensor(level, dtype=torch.float64))
        alpha, sigma = model.noise.at(t, x)
        noised = alpha * x + sigma * normal(x, Streams(0, range(len(x))))
        with torch.no_grad():
            logs = torch.cat([model.all(part.to(place), t).cpu() for part in noised.split(500)])
        right = float((logs.argmax(1) == labels).double().mean())
        loss = -logs.gather(1, labels[:, None])[:, 0].double()
        error = math.sqrt(right * (1 - right) / len(x))
        found[f"accuracy_at_{level:g}"] = Measure(right, error, chance, "part of noised held-out rows told right")
        found[f"nats_at_{level:g}"] = Measure(
            float(loss.mean()), float(loss.std()) / math.sqrt(len(x)), entropy, "cross-entropy there, in nats"
        )
    return found


def picture(measures: Measures) -> "Figure":
    """Accuracy and cross-entropy by noise level, with standard errors, and dotted what chance gives."""
    from ..plots.style import BLUE, INK, dress, figure

    image = figure(8.4, 3.4)
    for k, (kind, words) in enumerate((("accuracy_at_", "accuracy"), ("nats_at_", "cross-entropy (nats)"))):
        points = {float(name.removeprefix(kind)): each for name, each in measures.items() if name.startswith(kind)}
        ax = dress(image.add_subplot(1, 2, k + 1), title=f"{words}, held out", xlabel="noise level σ/α", ylabel=words)
        values, errors = [p.value for p in points.values()], [p.error or 0.0 for p in points.values()]
        ax.errorbar(list(points), values, yerr=errors, color=BLUE, marker="o", markersize=4, capsize=3)
        ax.axhline(next(iter(points.values())).reference or 0.0, color=INK, linestyle=":", linewidth=1.2)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
    return image
