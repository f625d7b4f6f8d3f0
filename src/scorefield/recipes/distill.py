"""A student that draws in one, two or four evaluations what its teacher draws in dozens.

The student starts as a copy of the teacher and learns from walks of the teacher to jump to their ends
(`distillation.TrajectoryDistillation`); the teacher's guidance is then in its weights. It draws by `distillation.Renoise`.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..checkpoints import facts, load
from ..data import batches
from ..distillation import Critic, Neighbours, Renoise, TrajectoryDistillation, nodes, trajectories
from ..errors import RangeError, RunError
from ..guidance import Free
from ..models import Denoiser
from ..samplers import Multistep
from ..tensors import seeded
from ..training import Power
from .drawing import Drawing
from .experiment import Experiment, Finished, Show
from .fidelity import fidelity
from .find import find, names
from .measure import Measure, Measures, distances


def distill(
    *,
    teacher: str = "runs/digits",
    levels: tuple[float, ...] = (80.0, 3.8, 1.6, 0.66),
    first: float = 0.4,
    walks: int = 20_000,
    steps: int = 3000,
    batch: int = 64,
    learning_rate: float = 2e-3,
    beta: float = 0.0,
    adversarial: float = 0.3,
    features: float = 1.0,
    penalty: float = 0.1,
    critic_width: int = 32,
    samples: int = 2000,
    judge_steps: int = 600,
    seed: int = 0,
) -> Experiment:
    """A student that draws in one to four evaluations what a trained run of images draws in dozens.

    Args:
        teacher: the folder of a run of a denoiser of square images, such as one of the recipe digits
        levels: noise levels from which the student learns to jump to the data, the largest first; moved to the teacher's grid
        first: part of the training spent on the first of them, which the first evaluation needs most
        walks: number of the teacher's walks that the student learns from
        steps: training steps
        batch: walks in each step
        learning_rate: of AdamW, for student and critic, after warming up and before decaying to zero
        beta: memory of the optimiser for the mean of the gradient
        adversarial: weight of the critic's judgement; 0, with features 0, is regression
        features: weight of the distance in the critic's features
        penalty: weight of the critic's squared slope
        critic_width: channels of the critic at its finest level
        samples: number of samples that the report judges, for each number of evaluations
        judge_steps: training steps of the classifier that judges
        seed: of the walks, the batches and the samples
    """
    about, model = facts(teacher), load(teacher)
    shape = getattr(model, "shape", None)
    if not isinstance(model, Denoiser) or about.get("recipe") not in names() or shape is None or len(shape) != 3:
        raise RunError(
            f"distill(teacher={teacher}): wanted the run of a built-in recipe for images; train one by: scorefield train digits."
        )
    if not 0 < first < 1:
        raise RangeError(f"distill(first={first:g}): first is a part of the training, between 0 and 1.")
    if walks < batch:
        raise RangeError(f"distill(walks={walks}): at least one batch of {batch} walks is needed.")
    data = cast(Experiment, find(about["recipe"])(**about["arguments"])).data
    how = cast(Drawing, about["sampling"])
    sampler = how.sampler or Multistep()
    times = sampler.times(model, how.steps) if how.times is None else how.times
    kept = nodes(model, times, levels)
    starts = Neighbours(torch.cat([times[kept], times.new_zeros(1)]), _shares(first, len(kept)))
    with seeded(seed):
        critic = Critic(shape[0], shape[1], critic_width, how.classes)

    def source(show: Show) -> Any:
        show(f"{walks:,} walks of the teacher, {len(times) - 1} steps each, to learn from.")
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        guided: Denoiser = model
        cond: dict[str, Any] = {}
        if how.classes is not None:
            guided = Free(model, how.weight, how.low, how.high)
            cond = {"label": how.labels(walks, seed + 1).to(place)}
        like = torch.empty(walks, *shape, device=place)
        found = trajectories(guided.to(place), sampler, times, kept, like, seed=seed + 1, **cond)
        return batches(found.pop("x"), batch, seed=seed, **found)

    return Experiment(
        copy.deepcopy(model).requires_grad_(True),
        TrajectoryDistillation(starts, critic, adversarial=adversarial, features=features, penalty=penalty),
        data,
        steps=steps,
        batch=batch,
        training={
            "learning_rate": learning_rate,
            "optimizer": partial(short_memory, beta=beta),
            "average": Power(8.0),
            "clip": None,
            "held_out": None,  # the loss of a game says nothing about its players; the report does
        },
        drawing=Drawing(Renoise(tuple(model.noise.ratio(times[kept]).tolist())), len(kept), classes=how.classes),
        seed=seed,
        count=samples,
        report=partial(beside, teacher=model, how=how, judge_steps=judge_steps),
        source=source,
    )


def short_memory(params: Iterable[nn.Parameter], *, lr: float, beta: float = 0.0) -> torch.optim.Optimizer:
    """AdamW with β = (beta, 0.99): what a player of a game remembers of the other must not be old.

    >>> short_memory([nn.Parameter(torch.ones(1))], lr=0.1).defaults["betas"]
    (0.0, 0.99)
    """
    return torch.optim.AdamW(params, lr=lr, betas=(beta, 0.99), weight_decay=0.0, fused=True)


def beside(finished: Finished, *, teacher: Denoiser, how: Drawing, judge_steps: int = 600) -> Measures:
    """The Fréchet distance to held-out images after 1, 2, 4, … evaluations, and the teacher's; distances without labels.

    The teacher draws as its run says, and in twice as many steps; its evaluations are counted, those of guidance with them.
    """
    experiment = finished.experiment
    student, device = experiment.drawing, next(finished.model.parameters()).device
    model = cast(Denoiser, finished.model)
    plans = {f"student_{n}": (model, in_steps(student, n)) for n in (1, 2, 4, 8, 16) if n <= student.steps}
    for plan in (how, in_steps(how, 2 * how.steps)):
        plans[f"teacher_{plan.steps}"] = teacher.to(device), plan
    judged = _judge(finished, judge_steps)
    found: dict[str, Measure] = {}
    for name, (model, plan) in plans.items():
        samples = plan.sample(model, finished.count, shape=experiment.data.shape, seed=experiment.seed)
        words = f"{evaluations(model, plan, experiment.data.shape)} evaluations"
        found |= {f"{name}{end}": replace(m, meaning=f"{m.meaning}; {words}") for end, m in judged(samples).items()}
    return found | {"training_seconds": Measure(finished.seconds, meaning="seconds of training, after the walks")}


def in_steps(drawing: Drawing, steps: int) -> Drawing:
    """The same drawing in so many steps, on the grid that its sampler chooses.

    >>> in_steps(Drawing(), 3).steps
    3
    """
    return replace(drawing, steps=steps, times=None)


def evaluations(model: Denoiser, drawing: Drawing, shape: tuple[int, ...]) -> int:
    """How often one sample asks the network, counted.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> known.weight = nn.Parameter(torch.zeros(()))
    >>> evaluations(known, Drawing(steps=5), (2,))
    5
    """
    seen: list[int] = []
    hook = model.register_forward_hook(lambda *_: seen.append(1))
    try:
        drawing.sample(model, 1, shape=shape)
    finally:
        hook.remove()
    return len(seen)


def _shares(first: float, count: int) -> Tensor:
    """How often each of ``count`` levels is trained: the first so often, the others alike."""
    return torch.tensor([first] + [(1 - first) / (count - 1)] * (count - 1)) if count > 1 else torch.ones(1)


def _judge(finished: Finished, judge_steps: int) -> Callable[[Tensor], Measures]:
    rows, seed = finished.experiment.data, finished.experiment.seed
    if rows.labels is None:
        judged = partial(distances, real=rows.held_out, fresh=[rows.train[: len(rows.held_out)]])
        return lambda samples: {f"_{name}": each for name, each in judged(samples).items()}
    distance = fidelity(rows, count=finished.count, judge_steps=judge_steps, seed=seed)
    return lambda samples: {"": distance(samples)}
