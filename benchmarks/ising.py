"""Ising models without their normaliser: the error of each objective beside maximum likelihood, on the same data sets.

    RMSE = √ mean (θ̂ − θ)² over couplings and fields, averaged over data sets; θ ~ N(0, scale²)

d = 10 and n = 5,000 exact draws a set; maximum likelihood sums over all 1,024 states. ``ratio`` is to maximum likelihood, paired by
data set; ``z`` is the standard deviation of (θ̂ − θ)/error, 1 if the sandwich errors are true. Run with ``python benchmarks/ising.py``;
``--scale``, ``--sets``, ``--d`` and ``--n`` change the set-up.
"""

import argparse
import time

import torch

from scorefield.discrete import (
    ConditionalContrast,
    Contrast,
    Flow,
    Independent,
    Ising,
    Likelihood,
    Normalised,
    PseudoLikelihood,
    RatioMatching,
    draw,
    fit,
    log_normaliser,
)
from scorefield.tensors import Streams, normal


def truth(d: int, scale: float, seed: int) -> Ising:
    """A model with all parameters from N(0, scale²)."""
    model = Ising(d)
    with torch.no_grad():
        for k, weight in enumerate(model.parameters()):
            weight.copy_(scale * normal(weight[None], Streams(2 * seed + k, [0]))[0])
    return model


def main() -> None:
    """Prints one line an objective."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--d", type=int, default=10)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--scale", type=float, default=0.3162)
    parser.add_argument("--objectives", type=int, default=6, help="the first so many of the table")
    asked = parser.parse_args()
    names = [
        "maximum likelihood",
        "pseudo-likelihood",
        "ratio matching",
        "minimum probability flow",
        "noise-contrastive, 10 times",
        "conditional contrast, 8 times",
    ]
    errors, scores, seconds = ({name: [] for name in names} for _ in range(3))
    normaliser = []
    for seed in range(asked.sets):
        model = truth(asked.d, asked.scale, seed)
        wanted = torch.cat([model.couplings, model.fields]).detach()
        x = draw(model, asked.n, Streams(1000 + seed, range(asked.n)))
        objectives = [
            Likelihood(),
            PseudoLikelihood(),
            RatioMatching(),
            Flow(),
            Contrast(Independent.of(x, 2), 10),
            ConditionalContrast(),
        ]
        for name, objective in zip(names, objectives[: asked.objectives]):
            started = time.perf_counter()
            contrast = isinstance(objective, Contrast)
            fitted = Ising(asked.d)
            if isinstance(objective, RatioMatching):  # it has other minima: start at the fit before it
                torch.nn.utils.vector_to_parameters(found.theta, list(fitted.parameters()))
            found = fit(Normalised(fitted) if contrast else fitted, objective, x, seed=seed)
            seconds[name].append(time.perf_counter() - started)
            gap = found.theta[contrast:] - wanted
            errors[name].append(float(gap.square().mean().sqrt()))
            scores[name].append(gap / found.standard_errors[contrast:])
            if contrast:
                normaliser.append((found["log Z"] - float(log_normaliser(model).detach())) / found.error("log Z"))
    names = names[: asked.objectives]
    best = torch.tensor(errors[names[0]])
    print(f"d = {asked.d}, n = {asked.n}, parameters of N(0, {asked.scale:g}²), {asked.sets} data sets")
    print(f"{'':30} {'RMSE':>7} {'±':>7} {'ratio':>6} {'±':>6} {'z':>5} {'seconds':>8}")
    for name in names:
        each = torch.tensor(errors[name])
        ratio, root = each / best, asked.sets**0.5
        z, mean = torch.cat(scores[name]).std(), sum(seconds[name]) / asked.sets
        print(
            f"{name:30} {each.mean():7.4f} {each.std() / root:7.4f} {ratio.mean():6.3f} {ratio.std() / root:6.3f} "
            f"{z:5.2f} {mean:8.2f}"
        )
    if normaliser:
        print("log Z by contrast, in standard errors:", " ".join(f"{z:.1f}" for z in normaliser))


if __name__ == "__main__":
    main()
