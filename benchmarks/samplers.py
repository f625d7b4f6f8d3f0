"""Samplers side by side: ours, azula's, k-diffusion's and diffusers' on the same density or network, draws and evaluations.

    python benchmarks/samplers.py                gaussian and mixture, a few minutes
    python benchmarks/samplers.py RUN            also the digits of a trained run, by Fréchet distance

gaussian  d = 8, mean linspace(−1, 1), sd logspace(−1.5, 0.3), σ from 80 to 0.002 on the grid of Karras et al. (ρ = 7), float64:
          root mean square error over 2,000 points to the exact probability-flow map.
mixture   eight modes at radius 2, sd 0.1, weights 1 2 3 4 4 3 2 1, from σ = 80: accuracy of 25 nearest neighbours, cross-validated,
          in telling 5,000 samples from 5,000 true ones. Peers use the grid they document; ours is `sample`, nothing chosen.
digits    Fréchet distance to held-out digits of 2,000 images from one network with one set of first draws.

    pip install azula diffusers; pip install --no-deps k-diffusion torchsde torchdiffeq trampoline
"""

import argparse
import importlib.util
import math
import sys
import types
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from scorefield import load, samplers
from scorefield.exact import Gaussian, Mixture
from scorefield.fitted import fitted_times
from scorefield.guidance import Free
from scorefield.metrics import Judge, frechet_distance
from scorefield.models import Denoiser
from scorefield.noises import EDM
from scorefield.recipes import digits
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Sampler
from scorefield.tensors import Streams, normal

TOP = 80.0


@lru_cache
def k_diffusion() -> types.ModuleType:
    """k-diffusion's samplers alone: its package imports an image stack that they do not need."""
    found = importlib.util.find_spec("k_diffusion")
    place = Path(next(iter(found.submodule_search_locations)))
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__, package.utils = [str(place)], utils
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    return importlib.import_module("k_diffusion.sampling")


class Counted:
    """x̂(x, σ) of a denoiser with σ as time, as peers call it, counting its evaluations."""

    def __init__(self, model: Denoiser, **cond):
        self.model, self.cond, self.count = model, cond, 0

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, **_) -> Tensor:
        self.count += 1
        t = (torch.as_tensor(sigma, dtype=torch.float64) / TOP).clamp(max=1)
        return self.model(x, t if t.ndim == 0 else t.expand(len(x)), **self.cond)


DETERMINISTIC = {
    "LMS": ("sample_lms", 1),
    "DPM++(2M)": ("sample_dpmpp_2m", 1),
    "Euler": ("sample_euler", 1),
    "Heun": ("sample_heun", 2),
    "DPM-2": ("sample_dpm_2", 2),
}
RANDOM = {
    "Euler ancestral": ("sample_euler_ancestral", 1),
    "DPM++(2M) SDE": ("sample_dpmpp_2m_sde", 1),
    "DPM++(3M) SDE": ("sample_dpmpp_3m_sde", 1),
}
AZULA = {
    "zEAB": "zEABSampler",
    "xEAB": "xEABSampler",
    "REAB": "REABSampler",
    "vAB": "vABSampler",
    "Heun": "HeunSampler",
}
OURS: list[Sampler] = [
    samplers.Ancestral(0.0),
    samplers.Heun(),
    samplers.Midpoint(),
    *(samplers.Multistep(points, spread) for spread in (0.0, 1.0, math.inf) for points in (2, 3, 4)),
    *(samplers.Corrected(points) for points in (2, 3, 4)),
]


def karras_sigmas(evaluations: int, each: int, low: float, to_zero: bool) -> Tensor:
    """σ from 80 to ``low`` for a sampler of ``each`` evaluations a step, then 0 (one evaluation) if asked."""
    count = (evaluations + each - 1) // each if to_zero else evaluations // each + 1
    ends = TOP ** (1 / 7), low ** (1 / 7)
    levels = torch.linspace(*ends, count, dtype=torch.float64) ** 7
    return torch.cat([levels, levels.new_zeros(1)]) if to_zero else levels


def with_k_diffusion(name: str, model: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
    """What k-diffusion's sampler makes of x at sigmas[0]."""
    torch.manual_seed(0)
    function = (DETERMINISTIC | RANDOM)[name][0]
    return getattr(k_diffusion(), function)(model, x, sigmas.to(x), disable=True)


def with_azula(name: str, model: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
    """What azula's sampler makes of x: its even times, on a schedule whose σ at even times are ``sigmas``."""
    from azula import sample as walks
    from azula.denoise import Denoiser as Base
    from azula.denoise import DiracPosterior
    from azula.noise import Schedule as BaseSchedule

    steps = len(sigmas) - 1

    class Schedule(BaseSchedule):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return torch.ones_like(t), sigmas.to(t)[((1 - t) * steps).round().long()]

    class Wrapped(Base):
        def __init__(self):
            super().__init__()
            self.schedule = Schedule()

        def forward(self, x_t: Tensor, t: Tensor, **_) -> DiracPosterior:
            return DiracPosterior(mean=model(x_t, self.schedule(t)[1].reshape(-1)[0]))

    return getattr(walks, AZULA[name])(Wrapped(), steps=steps, silent=True, dtype=torch.float64)(x)


def with_diffusers(order: int, model: Counted, x: Tensor, evaluations: int, low: float, data_std: float) -> Tensor:
    """What diffusers' DPM-Solver++ for EDM networks makes of x; it is told F, and preconditions it itself."""
    from diffusers import EDMDPMSolverMultistepScheduler

    solver = EDMDPMSolverMultistepScheduler(low, TOP, data_std, solver_order=order)
    solver.set_timesteps(evaluations)
    for k, t in enumerate(solver.timesteps):
        sigma = solver.sigmas[k]
        skip, out = data_std**2 / (sigma**2 + data_std**2), sigma * data_std / (sigma**2 + data_std**2).sqrt()
        answer = (model(x, sigma) - skip * x) / out
        x = solver.step(answer, t, x).prev_sample
    return x


def last(sampler: Sampler, model: Denoiser, x: Tensor, times: Tensor, **cond) -> Tensor:
    """Where our walk ends."""
    for state in sampler.walk(model, x, times, Streams(1, range(len(x))), **cond):
        x = state.x
    return x


def default_samples(model: Denoiser, x: Tensor, evaluations: int, **cond) -> Tensor:
    """What `sample` makes of x when nothing is chosen."""
    sampler = samplers.default(evaluations)
    return last(sampler, model, x, sampler.times(model, evaluations), **cond)


def told(name: str, figures: list[str]) -> None:
    """One line of a table."""
    print(f"{name:44s}" + "".join(f"{figure:>12s}" for figure in figures), flush=True)


def gaussian() -> None:
    """Root mean square error to the exact flow map, on the grid of Karras et al."""
    d, budgets = 8, (10, 20, 40, 80)
    mean = torch.linspace(-1, 1, d, dtype=torch.float64)
    std = torch.logspace(-1.5, 0.3, d, dtype=torch.float64)
    known = Gaussian(mean, (std**2).diag()).denoiser(EDM(TOP))
    x = TOP * normal(torch.empty(2000, d, dtype=torch.float64), Streams(0, range(2000)))

    def error(y: Tensor, level: float) -> str:
        exact = mean + (x - mean) * ((std**2 + level**2) / (std**2 + TOP**2)).sqrt()
        return f"{(y - exact).square().mean().sqrt():.3g}"

    told("gaussian: RMSE at evaluations", [str(b) for b in budgets])
    for name in AZULA:
        each = 2 if name == "Heun" else 1
        grid = [karras_sigmas(b, each, 0.002, False) for b in budgets]
        told(f"azula: {name}", [error(with_azula(name, Counted(known), x, g), 0.002) for g in grid])
    for name, (_, each) in DETERMINISTIC.items():
        grid = [karras_sigmas(b, each, 0.002, False) for b in budgets]
        told(f"k-diffusion: {name}", [error(with_k_diffusion(name, Counted(known), x, g), 0.002) for g in grid])
    for sampler in OURS:
        grid = [karras_sigmas(b, sampler.evaluations, 0.002, False) / TOP for b in budgets]
        told(f"{sampler}", [error(last(sampler, known, x, g), 0.002) for g in grid])
    grid = [karras_sigmas(b, 1, 0.002, False) / TOP for b in budgets]
    told("default sampler", [error(last(samplers.default(b), known, x, g), 0.002) for b, g in zip(budgets, grid)])
    own = [default_samples(known, x, b) for b in budgets]
    told("default sampler, own grid, to σ = 0", [error(y, 0.0) for y in own])


def neighbours(x: Tensor, y: Tensor) -> float:
    """Cross-validated accuracy of 25 nearest neighbours in telling x from y."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    rows, labels = torch.cat([x, y]).numpy(), [0] * len(x) + [1] * len(y)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(KNeighborsClassifier(25), rows, labels, cv=folds).mean())


def mixture(repeats: int = 10, n: int = 5000) -> None:
    """Accuracy of a classifier in telling samples from true ones: mean and standard error over repeats."""
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    means, weights = 2 * torch.stack([angle.cos(), angle.sin()], 1), torch.tensor([1.0, 2, 3, 4, 4, 3, 2, 1]).double()
    density = Mixture(weights, means, 0.01 * torch.eye(2, dtype=torch.float64))
    known, budgets = density.denoiser(EDM(TOP)), (5, 10, 20)

    def judged(draw: Callable[[Tensor, int], Tensor]) -> str:
        found = []
        for k in range(repeats):
            rows = range(k * n, (k + 1) * n)
            x = TOP * normal(torch.empty(n, 2, dtype=torch.float64), Streams(0, rows))
            found.append(neighbours(draw(x, k), density.sample(n, Streams(2, rows))))
        values = torch.tensor(found)
        return f"{values.mean():.3f}±{values.std() / repeats**0.5:.3f}"

    told("mixture: 25-NN accuracy at evaluations", [str(b) for b in budgets])
    floor = judged(lambda x, k: density.sample(n, Streams(3, range(k * n, (k + 1) * n))))
    told("true samples", [floor] * len(budgets))
    fine = 400
    told("exact flow (400 evaluations)", [judged(lambda x, k: default_samples(known, x, fine))] * len(budgets))
    for name in ("zEAB", "vAB"):
        grid = [karras_sigmas(b, 1, 0.002, False) for b in budgets]
        told(
            f"azula: {name}",
            [judged(lambda x, k, g=g, name=name: with_azula(name, Counted(known), x, g)) for g in grid],
        )
    for name, (_, each) in (DETERMINISTIC | RANDOM).items():
        grid = [karras_sigmas(b, each, 0.002, True) for b in budgets]
        told(
            f"k-diffusion: {name}",
            [judged(lambda x, k, g=g, name=name: with_k_diffusion(name, Counted(known), x, g)) for g in grid],
        )
    told(
        "scorefield: default",
        [judged(lambda x, k, b=b: default_samples(known, x, b)) for b in budgets],
    )


def images(run: Path, n: int, plain: bool) -> None:
    """Fréchet distance to held-out digits from one network and one set of first draws, guided as the run is or not."""
    model, recipe, budgets = load(run), digits(), (5, 10, 20)
    labels, data_std = Drawing(classes=10).labels(n), 0.6
    judge = Judge.fit(recipe.data.train, recipe.data.labels, classes=10, seed=2)
    real = judge.features(recipe.data.held_out)
    chosen = [("unguided", model)] if plain else [("guided", Free(model, 1.2, 0.2, 3.0))]
    first = TOP * normal(torch.empty(n, *model.shape), Streams(0, range(n)))
    for title, guided in chosen:
        drawn: dict[str, list[Tensor]] = {}

        def in_parts(walk: Callable[[Counted, Tensor], Tensor], guided: Denoiser = guided) -> Tensor:
            rows = range(0, n, 250)
            return torch.cat([walk(Counted(guided, label=labels[r : r + 250]), first[r : r + 250]) for r in rows])

        for low in (0.002, 0.02):
            for order in (2, 3):
                drawn[f"diffusers: DPM-Solver++({order}M), σ_min {low}"] = [
                    in_parts(lambda m, x, b=b, o=order, low=low: with_diffusers(o, m, x, b, low, data_std))
                    for b in budgets
                ]
            for name, (_, each) in (DETERMINISTIC | RANDOM).items():
                grid = [karras_sigmas(b, each, low, True) for b in budgets]
                drawn[f"k-diffusion: {name}, σ_min {low}"] = [
                    in_parts(lambda m, x, g=g, name=name: with_k_diffusion(name, m, x, g)) for g in grid
                ]
        drawn["scorefield: default"] = [
            in_parts(lambda m, x, b=b: default_samples(m.model, x, b, **m.cond)) for b in budgets
        ]
        grids = [fitted_times(guided, b, seed=1, label=Drawing(classes=10).labels(64, seed=1)) for b in budgets]
        drawn["scorefield: default, fitted times"] = [
            in_parts(lambda m, x, b=b, g=g: last(samplers.default(b), m.model, x, g, **m.cond))
            for b, g in zip(budgets, grids)
        ]
        for sampler in (samplers.Multistep(2, 0.0, 1.0), samplers.Multistep(2, 1.0, 0.5)):
            drawn[f"scorefield: {sampler}"] = [
                in_parts(lambda m, x, b=b, s=sampler: last(s, m.model, x, s.times(m.model, b), **m.cond))
                for b in budgets
            ]
        truth = in_parts(lambda m, x: default_samples(m.model, x, 120, **m.cond))
        told(f"{title} digits: Fréchet distance at evaluations", [str(b) for b in budgets])
        ours = [judge.features(y) for y in drawn["scorefield: default"]]
        for name, images in drawn.items():
            features = [judge.features(y) for y in images]
            cells = [f"{frechet_distance(f, real, folds=2).value:.3f}" for f in features]
            told(name, cells)
            told("    less than ours by (paired)", [difference(f, o, real) for f, o in zip(features, ours)])
            told("    RMSE to the flow", [f"{(y - truth).square().mean().sqrt():.4f}" for y in images])
        told("120 evaluations of Corrected(4)", [f"{frechet_distance(judge.features(truth), real, folds=2).value:.3f}"])


def difference(x: Tensor, y: Tensor, real: Tensor, folds: int = 20) -> str:
    """Fréchet distance of y less that of x, with a jackknife error that leaves out the same rows of both."""
    fold = torch.arange(len(x)) % folds
    value = [frechet_distance(z, real, folds=2).value for z in (x, y)]
    parts = [[frechet_distance(z[fold != k], real, folds=2).value for z in (x, y)] for k in range(folds)]
    gaps = torch.tensor([b - a for a, b in parts])
    return f"{value[1] - value[0]:+.2f}±{float(gaps.var(correction=0) * (folds - 1)) ** 0.5:.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, help="a trained run of the recipe digits")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--unguided", action="store_true", help="without guidance")
    options = parser.parse_args()
    if options.run is None:
        gaussian()
        mixture()
    else:
        images(options.run, options.samples, options.unguided)


if __name__ == "__main__":
    main()
