"""Everything that can be said about data, a recipe or a trained run, in seconds: a list of findings.

data      distances, and the noise levels they ask for
recipe    + noise range, gaps between levels, prior at t = 1, row dependence          nothing has been trained yet
run       + held-out loss by level, gradient field, step size, copies                 with the trained model
"""

from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from ..data import Dataset
from ..errors import DataError
from ..models import Denoiser
from ..noises import Gaussian
from ..samplers import Multistep, Sampler
from ..tensors import Streams
from . import fields, levels, trained
from .finding import Finding

TRIED = 4


class Subject(NamedTuple):
    """What an examination looks at: rows, and for a recipe or run its model, sampler, grid and training levels."""

    train: Float[Tensor, "train *event"]
    held_out: Float[Tensor, "held *event"]
    model: Any = None
    sampler: Sampler | None = None
    grid: Float[Tensor, "times"] | None = None
    ladder: Float[Tensor, "levels"] | None = None
    samples: Float[Tensor, "n *event"] | None = None


def examine(target: Any, *, samples: int = 128, rows: int = 16, seed: int = 0) -> list[Finding]:
    """What data, a recipe or a run would do wrong, and the remedies: see the module for the checks of each.

    Args:
        target: rows as a tensor or `Dataset`; an `Experiment` that nobody has trained; a `Finished` run, or its folder.
        samples: how many are drawn of a run to look for copies; 0 for none.
        rows: at how many rows Jacobians are tried.

    Raises: DataError for a target of another kind; RunError for a folder that is no run; as the checks do.

    >>> import torch
    >>> [str(finding.what) for finding in examine(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))]
    ['distances']
    """
    if isinstance(target, str | Path):
        target = opened(Path(target))
    if isinstance(target, Tensor):
        return [levels.advice(target)]
    if isinstance(target, Dataset):
        return [levels.advice(target.train)]
    experiment = getattr(target, "experiment", target)
    if not all(hasattr(experiment, name) for name in ("model", "data", "objective", "drawing")):
        raise DataError(f"doctor of {type(target).__name__}: wanted rows, a Dataset, an Experiment or a run.")
    drawn = target.sample(samples) if target is not experiment and samples else None
    subject = _subject(experiment, getattr(target, "model", experiment.model), drawn)
    findings = [levels.advice(subject.train), *_before_training(subject, seed)]
    return findings if target is experiment else findings + _after_training(subject, rows, seed)


def opened(folder: Path) -> Any:
    """The `Finished` run of a folder, its recipe called again with the arguments that the run recorded.

    Raises: RunError if the folder is no run or has no weights yet; UnknownNameError if its recipe is gone.
    """
    from ..checkpoints import facts
    from ..recipes.find import find, names

    about = facts(folder)
    if "recipe" not in about:
        raise DataError(f"run {folder}: no recipe made it, so its data are unknown; examine the parts by themselves.")
    if about["recipe"] not in names():  # a folder's word alone makes no code run
        raise DataError(
            f"run {folder}: your own recipe made it ({about['recipe']}); call it and pass its Finished run."
        )
    return find(about["recipe"])(**about.get("arguments", {})).finished(folder)  # type: ignore[attr-defined]


def _subject(experiment: Any, model: Any, samples: Tensor | None) -> Subject:
    drawing = experiment.drawing
    data, sampler, grid, ladder = experiment.data, drawing.sampler, None, None
    if isinstance(model, Denoiser):
        sampler = sampler or Multistep()
        grid = sampler.times(model, drawing.steps) if drawing.times is None else drawing.times
        chosen = getattr(getattr(experiment.objective, "times", None), "levels", None)
        ladder = chosen(model.noise) if chosen is not None and isinstance(model.noise, Gaussian) else None
    return Subject(data.train, data.held_out, model, sampler, grid, ladder, samples)


def _before_training(subject: Subject, seed: int) -> list[Finding]:
    model, findings = subject.model, []
    place = next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    x = subject.train[:2].to(place)
    if subject.grid is not None:
        noise, positive = model.noise, subject.grid[subject.grid > 0]
        visited = noise.ratio(positive)
        floor = float(visited.min() if subject.ladder is None else subject.ladder.min())
        findings.append(levels.noise_range(subject.train, noise, floor, seed=seed))
        if subject.ladder is not None:
            findings.append(levels.level_gaps(subject.ladder, x[0].numel()))
        findings.append(levels.prior_mismatch(subject.train, noise))
    arguments = () if subject.grid is None else (subject.grid[0].to(place),)
    return [*findings, fields.row_dependence(model, x, *arguments)]


def _after_training(subject: Subject, rows: int, seed: int) -> list[Finding]:
    model, x = subject.model, levels.thinned(subject.held_out, rows)
    place = next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    draws, x = Streams(seed, range(len(x))), x.to(place)
    findings = []
    if subject.grid is None:
        named, points = {"the data": (model, x)}, {0.0: x}
    else:
        findings.append(trained.better_than_zero(model, subject.held_out))
        positive = subject.grid[subject.grid > 0]
        times = levels.thinned(positive, TRIED)
        points = {float(t): model.noise.perturb(x, t.to(x.device), draws) for t in times}
        named = {f"sigma/alpha {float(model.noise.ratio(t)):.3g}": (_at(model, t), points[float(t)]) for t in times}
    findings.append(fields.gradient_field(named, generator=draws))
    if subject.sampler is not None:
        findings.append(fields.stability(subject.sampler, model, points, generator=draws))
    if subject.samples is not None:
        findings.append(trained.copied(subject.samples, subject.train, subject.held_out))
    return findings


def _at(model: Denoiser, t: Tensor):
    return lambda x: model.score(x, t.to(x.device))
