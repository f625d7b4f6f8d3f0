"""The noise-conditional score network and annealed Langevin dynamics, as textbooks have them.

    train   E_l E ½ σ_l² |s(x + σ_l z, σ_l) + z/σ_l|²      Song & Ermon 2019, eq. 5–6, arXiv:1907.05600
    walk    x ← x + ε σ_l² s(x, σ_l) + √(2ε) σ_l z          ibid., algorithm 1; k steps a level, then x + σ² s
    levels  σ₁ = the largest distance in the data, σ_l/σ_{l+1} = γ(d)     Song & Ermon 2020, techniques 1–2, arXiv:2006.09011

If s is a gradient of log densities, E|s|² = (d − lost)/σ²: its length stays just below √d/σ where noise hides the data.
"""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .. import metrics
from ..checkpoints import Run, read_log
from ..data import digits
from ..doctor import ladder
from ..errors import RangeError
from ..grids import logsnr
from ..models import Denoiser, Preconditioned, epsilon
from ..networks import EncoderDecoder
from ..noises import EDM
from ..objectives import Diffusion, Levels, weights
from ..samplers import AnnealedLangevin
from ..tensors import Streams, sum_event
from ..training import constant
from .experiment import Experiment, Finished, seeded
from .measure import Measure, Measures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ncsn(
    *,
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
    seed: int = 0,
) -> Experiment:
    """Digits by the textbook: a noise-conditional score network, walked by annealed Langevin dynamics.

    Without options the noise levels follow the data: the largest distance between two digits at the top, and as many
    levels as let neighbours overlap in so many dimensions. ``--sigma-max 0.1 --sigma-min 0.00126 --levels 20`` is a
    widely copied schedule; ``scorefield doctor`` says what is wrong with it before anyone trains.

    Args:
        sigma_max: the largest noise level, in units of pixels in −1..1; by default the largest distance in the data.
        sigma_min: the smallest noise level.
        levels: the number of geometric noise levels; by default as the dimension asks (20 is the textbook's).
        width: channels of the network at full resolution.
        steps: training steps.
        batch: digits a step.
        learning_rate: of AdamW, constant.
        langevin_steps: Langevin steps at every noise level.
        step_size: of a Langevin step, in units of σ².
        samples: how many digits the report judges; 0 for none.
        seed: of weights, batches, noise and samples.

    Raises: RangeError unless 0 < sigma_min < sigma_max and there are at least 2 levels.

    >>> experiment = ncsn(levels=20, steps=10)
    >>> round(experiment.model.noise.sigma_max, 1), len(experiment.times)
    (29.6, 21)
    """
    data = digits(seed=seed)
    top, count = (sigma_max, levels) if sigma_max and levels else ladder(data.train, sigma_min)
    top, count = sigma_max if sigma_max is not None else top, levels if levels is not None else count
    if not 0 < sigma_min < top:
        raise RangeError(f"ncsn(sigma_min={sigma_min:g}, sigma_max={top:g}): 0 < sigma_min < sigma_max must hold.")
    if count > 1000:
        raise RangeError(
            f"ncsn(levels={count}): at most 1,000; in {data.train[0].numel()} dimensions 100 overlap well."
        )
    noise = EDM(top)
    with seeded(seed):
        network = EncoderDecoder(*data.shape[:2], width=width)
    return Experiment(
        model=Preconditioned(network, noise, epsilon),
        objective=Diffusion(Levels(count, sigma_min), weights.simple),
        data=data,
        steps=steps,
        batch=batch,
        training={"learning_rate": learning_rate, "warmup": 0.0, "decay": constant, "clip": 1.0},
        sampler=AnnealedLangevin(langevin_steps, step_size),
        times=logsnr(noise, count, floor=sigma_min),
        seed=seed,
        count=samples,
        report=report,
    )


def report(finished: Finished) -> Measures:
    """norms.png, a line of score norms in log.jsonl, and what a judge trained apart says of the samples."""
    data = finished.experiment.data
    norms = score_norms(finished.model, data.held_out[:256], finished.experiment.times[:-1])
    finished.save(norm_picture(norms, data.held_out[0].numel()), "norms.png")
    log = read_log(finished.folder)
    if log and "score_norm" not in log[-1]:
        step, seconds = log[-1].get("step", 0), log[-1].get("seconds", 0.0)
        line = {f"{level:.4g}": norm for level, norm in norms.items()}
        Run(finished.folder).log({"step": step, "seconds": seconds, "score_norm": line})
    if not finished.count or data.labels is None:
        return {}
    judge = metrics.Judge.fit(data.train, data.labels)
    found = metrics.report(judge, finished.sample(), data.held_out, data.train)
    return {
        "confident": Measure(found["confident"], None, found["confident_real"], "a judge of real digits is > 0.9 sure"),
        "entropy": Measure(found["entropy"], None, found["entropy_real"], "of the classes drawn, 1 = all ten equally"),
        "frechet": Measure(
            found["frechet"], found["frechet_error"], found["frechet_floor"], "distance in the judge's features"
        ),
        "copies": Measure(found["copies"], None, found["copies_held_out"], "samples that copy a training digit"),
    }


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
