"""The noise-conditional score network and annealed Langevin dynamics, as textbooks have them.

    train   E_l E ½ σ_l² |s(x + σ_l z, σ_l) + z/σ_l|²      Song & Ermon 2019, eq. 5–6, arXiv:1907.05600
    walk    x ← x + ε σ_l² s(x, σ_l) + √(2ε) σ_l z          ibid., algorithm 1; k steps a level, then x + σ² s
    levels  σ₁ = the largest distance in the data, σ_l/σ_{l+1} = γ(d)     Song & Ermon 2020, techniques 1–2, arXiv:2006.09011

If s is a gradient of log densities, E|s|² = (d − lost)/σ²: its length stays just below √d/σ where noise hides the data.
"""

import math
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..checkpoints import Run, read_log
from ..data import open_data
from ..doctor import distances, rungs
from ..errors import RangeError, ShapeError
from ..grids import logsnr
from ..models import Denoiser, Preconditioned, epsilon
from ..networks import EncoderDecoder
from ..noises import EDM
from ..objectives import Diffusion, Levels, weights
from ..samplers import AnnealedLangevin
from ..tensors import Streams, seeded, sum_event
from ..training import constant
from .digits import judged
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ncsn(
    *,
    data: str = "digits",
    sigma_max: float | None = None,
    sigma_min: float = 0.01,
    levels: int | None = None,
    width: int = 32,
    steps: int = 40_000,
    batch: int = 128,
    learning_rate: float = 1e-4,
    langevin_steps: int = 20,
    step_size: float = 0.1,
    samples: int = 256,
    judge_steps: int = 600,
    seed: int = 0,
) -> Experiment:
    """Digits by the textbook: a noise-conditional score network, walked by annealed Langevin dynamics.

    Without options the noise levels follow the data: the largest distance between two digits at the top, and as many
    levels as let neighbours overlap in so many dimensions. ``--sigma-max 0.1 --sigma-min 0.00126 --levels 20`` is a
    widely copied schedule; ``scorefield doctor`` says what is wrong with it before anyone trains.

    Args:
        data: digits, digits8, a folder of IDX files or of images, a .npy or .npz file, or hf:NAME from Hugging Face
        sigma_max: the largest noise level, in units of pixels in −1..1; by default the largest distance in the data
        sigma_min: the smallest noise level
        levels: number of geometric noise levels; by default what the dimension asks for (the textbook's is 20)
        width: channels of the network at full resolution
        steps: training steps
        batch: images in each step
        learning_rate: of AdamW, constant
        langevin_steps: Langevin steps at every noise level
        step_size: of a Langevin step, in units of σ²
        samples: number of samples that the report judges; 0 for none
        judge_steps: training steps of the classifier that judges
        seed: of the weights, the batches, the noise and the samples

    Raises: RangeError unless 0 < sigma_min < sigma_max and there are at least 2 levels.

    >>> experiment = ncsn(levels=20, steps=10)
    >>> round(experiment.model.noise.sigma_max, 1), len(experiment.drawing.times)
    (29.6, 21)
    """
    rows = open_data(data)
    if len(rows.shape) != 3 or rows.shape[1] != rows.shape[2]:
        raise ShapeError(
            f"ncsn(data={data!r}): events of shape {rows.shape}; square images (channels, size, size) wanted."
        )
    if sigma_max is None:
        sigma_max = distances(rows.train).largest
    if not 0 < sigma_min < sigma_max:
        raise RangeError(
            f"ncsn(sigma_min={sigma_min:g}, sigma_max={sigma_max:g}): 0 < sigma_min < sigma_max must hold."
        )
    if levels is None:
        levels = rungs(sigma_max, sigma_min, rows.train[0].numel())
    if levels > 1000:
        raise RangeError(f"ncsn(levels={levels}): more noise levels than make sense; choose at most 1,000.")
    noise = EDM(sigma_max)
    with seeded(seed):
        network = EncoderDecoder(*rows.shape[:2], width=width)
    return Experiment(
        model=Preconditioned(network, noise, epsilon),
        objective=Diffusion(Levels(levels, sigma_min), weights.simple),
        data=rows,
        steps=steps,
        batch=batch,
        training={"learning_rate": learning_rate, "warmup": 0.0, "decay": constant, "clip": 1.0},
        drawing=Drawing(AnnealedLangevin(langevin_steps, step_size), levels, logsnr(noise, levels, floor=sigma_min)),
        seed=seed,
        count=samples,
        report=partial(report, judge_steps=judge_steps),
    )


def report(finished: Finished, *, judge_steps: int = 600) -> Measures:
    """norms.png, a line of score norms in log.jsonl, and what a judge trained apart says of the samples."""
    data = finished.experiment.data
    model, times = cast(Denoiser, finished.model), cast(Tensor, finished.experiment.drawing.times)
    norms = score_norms(model, data.held_out[:256], times[:-1])
    finished.save(norm_picture(norms, data.held_out[0].numel()), "norms.png")
    log = read_log(finished.folder)
    if log and "score_norm" not in log[-1]:
        step, seconds = log[-1].get("step", 0), log[-1].get("seconds", 0.0)
        line = {f"{level:.4g}": norm for level, norm in norms.items()}
        Run(finished.folder).log({"step": step, "seconds": seconds, "score_norm": line})
    return judged(finished, judge_steps=judge_steps) if finished.count else {}


def score_norms(
    model: Denoiser, x: Float[Tensor, "batch *event"], times: Float[Tensor, "levels"], *, seed: int = 0
) -> dict[float, float]:
    """σ/α -> √E|s(x_t, t)|² over noisy rows: at most √d/σ for the true score, by Jensen's inequality.

    >>> from scorefield.exact import Gaussian
    >>> model = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(3.0))
    >>> norms = score_norms(model, torch.randn(4000, 2), torch.ones(1))
    >>> abs(norms[3.0] - math.sqrt(2 / 10)) < 0.03
    True
    """
    draws, found = Streams(seed, range(len(x))), {}
    device = next((parameter.device for parameter in model.parameters()), x.device)
    with torch.no_grad():
        for t in times:
            xt = model.noise.perturb(x.to(device), t.to(device), draws)
            square = sum_event(model.score(xt, t.to(device)) ** 2).double().mean()
            found[float(model.noise.ratio(t))] = math.sqrt(float(square))
    return found


def norm_picture(norms: dict[float, float], dim: int) -> "Figure":
    """The norm of the predicted score against the noise level, beside √d/σ.

    >>> len(norm_picture({0.1: 9.0, 1.0: 1.0}, 1).axes[0].lines)
    2
    """
    from ..plots.style import BLUE, GREY, axes, figure, legend

    picture = figure(5.2, 3.6)
    ax = axes(picture, title="length of the predicted score", xlabel="noise level σ", ylabel="√E‖s‖²")
    ax.plot(list(norms), [math.sqrt(dim) / level for level in norms], color=GREY, linestyle="--", label="√d/σ")
    ax.plot(list(norms), list(norms.values()), color=BLUE, marker="o", markersize=3, label="model")
    ax.set_xscale("log")
    ax.set_yscale("log")
    legend(ax)
    return picture
