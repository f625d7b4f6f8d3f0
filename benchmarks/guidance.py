"""Guidance and composition against closed forms, and on digits.

    python benchmarks/guidance.py                    the table, in about a minute
    python benchmarks/guidance.py runs/digits        a picture of weights and products of a trained run: guidance.png
    python benchmarks/guidance.py runs/digits --classifier runs/classifier    guided by labels and by a classifier, judged

The table gives the largest |z| among the entries of mean and covariance, z = (estimate − closed form)/standard error, and the
energy distance to 4,000 exact draws with its standard error. Right means |z| below about 4 and a distance within 3 errors of 0.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield.exact import Gaussian, Mixture
from scorefield.guidance import Free, Given, Metropolis, Product, Tilt
from scorefield.metrics import energy_distance
from scorefield.models import Denoiser
from scorefield.plots import mosaic, save
from scorefield.samplers import Ancestral, PredictorCorrector
from scorefield.tensors import Streams

NOISE, DOUBLE = sf.VP(), torch.float64
CORRECTED = Metropolis(width=0.3, steps=8)
SAMPLERS = {
    "naive, flow": None,
    "naive, Ancestral": Ancestral(),
    "PredictorCorrector(steps=8)": PredictorCorrector(steps=8),
}
SAMPLERS |= {"Metropolis(steps=8)": CORRECTED}


def normal(mean: list[float], covariance: list[list[float]]) -> Gaussian:
    """N(mean, covariance) in float64."""
    return Gaussian(torch.tensor(mean, dtype=DOUBLE), torch.tensor(covariance, dtype=DOUBLE))


def mixture(parts: list[Gaussian], weights: list[float] | None = None) -> Mixture:
    """Σ w_k N_k."""
    each = torch.ones(len(parts), dtype=DOUBLE) if weights is None else torch.tensor(weights, dtype=DOUBLE)
    return Mixture(each, torch.stack([p.mean for p in parts]), torch.stack([p.covariance for p in parts]))


def product(a: list[Gaussian], b: list[Gaussian]) -> Mixture:
    """The density ∝ (Σ a_i)(Σ b_j): a mixture of all pairs, N_i N_j = N(m_i; m_j, C_i + C_j) N(m, C), precisions add."""
    parts, weights = [], []
    for i in a:
        for j in b:
            first, second = torch.linalg.inv(i.covariance), torch.linalg.inv(j.covariance)
            covariance = torch.linalg.inv(first + second)
            parts.append(Gaussian(covariance @ (first @ i.mean + second @ j.mean), covariance))
            weights.append(math.exp(float(Gaussian(j.mean, i.covariance + j.covariance).log_density(i.mean[None]))))
    return mixture(parts, weights)


PARTS = [normal([-1.0, 0.0], [[0.5, 0.2], [0.2, 0.3]]), normal([1.5, 0.5], [[0.3, 0.0], [0.0, 0.3]])]
WHOLE = mixture(PARTS)


class Labelled(Denoiser):
    """The exact denoiser of the mixture, and of one component where a label is given."""

    noise, shape = NOISE, (2,)

    def forward(self, xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        if label is None:
            return WHOLE.denoiser(NOISE)(xt, t)
        return torch.stack([part.denoiser(NOISE)(xt, t) for part in PARTS])[label, torch.arange(len(xt))]


def classifier(xt: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """log p(label | x_t), exactly."""
    joint = torch.stack([-part.denoiser(NOISE).energy(xt, t) for part in PARTS], 1)
    return joint.log_softmax(1)[torch.arange(len(xt)), label]


def line(name: str, x: Tensor, truth: Mixture, seconds: float) -> None:
    """One row of the table: how x compares with the true density."""
    weights = truth.weights / truth.weights.sum()
    mean = weights @ truth.means
    away = truth.means - mean
    covariance = torch.einsum("k,kij->ij", weights, truth.covariances + away[:, :, None] * away[:, None, :])
    centred = x - mean
    errors = [centred, centred[:, :, None] * centred[:, None, :] - covariance]
    z = [float((e.mean(0) / (e.std(0) / len(x) ** 0.5)).abs().max()) for e in errors]
    distance = energy_distance(x[:4000], truth.sample(4000, Streams(99, range(4000))))
    print(
        f"  {name:<34}{z[0]:>9.1f}{z[1]:>9.1f}   {distance.value:>8.4f} ± {distance.error:.4f}{seconds:>8.1f}",
        flush=True,
    )


def heading(title: str) -> None:
    """The head of a part of the table."""
    print(f"\n{title}\n  {'':<34}{'mean |z|':>9}{'cov |z|':>9}   {'energy distance':>17}{'seconds':>8}")


def table(n: int) -> None:
    """Guidance equals the conditional in closed form; products are right with the corrector alone."""
    torch.set_default_dtype(DOUBLE)
    heading(f"Label 0 of two classes, {n:,} samples, 40 steps")
    guides = {
        "exact classifier, weight 1": Tilt(WHOLE.denoiser(NOISE), classifier),
        "classifier-free, weight 1": Free(Labelled(), 1.0),
        "classifier-free, weight 2": Free(Labelled(), 2.0),
    }
    for name, guided in guides.items():
        start = time.perf_counter()
        x = sf.sample(guided, n, steps=40, label=torch.zeros(n, dtype=torch.long))
        line(name, x, mixture(PARTS[:1]), time.perf_counter() - start)
    narrow = [[0.3, 0.0], [0.0, 0.3]]
    wide = [[0.4, 0.0], [0.0, 0.4]]
    cases = {
        "Product of two Gaussians of one variable": ([normal([-1.0], [[1.0]])], [normal([2.0], [[0.25]])]),
        "Product of two Gaussians of the plane": (
            [normal([-1.0, 0.5], [[1.0, 0.6], [0.6, 0.8]])],
            [normal([1.0, 1.0], [[0.5, -0.3], [-0.3, 1.2]])],
        ),
        "Product of two mixtures that share one mode of two": (
            [normal([-2.0, 0.0], narrow), normal([2.0, 0.0], narrow)],
            [normal([2.0, 0.5], wide), normal([2.0, 4.0], wide)],
        ),
        "The same, with a ghost of the other mode: 0.2 % of the product, far more of it at large noise": (
            [normal([-2.0, 0.0], narrow), normal([2.0, 0.0], narrow)],
            [normal([2.0, 0.5], wide), normal([2.0, 4.0], wide), normal([-2.0, -3.0], wide)],
        ),
    }
    for title, (a, b) in cases.items():
        heading(f"{title}, {n:,} samples, 40 steps")
        composed = Product((mixture(a).denoiser(NOISE), mixture(b).denoiser(NOISE)))
        for name, sampler in SAMPLERS.items():
            start = time.perf_counter()
            x = sf.sample(composed, n, steps=40, sampler=sampler)
            line(name, x, product(a, b), time.perf_counter() - start)


WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)
BOTH = ((3, 8), (4, 9), (1, 7), (0, 6))


def picture(run: Path, out: Path, columns: int = 10) -> Path:
    """The classes at growing weights from the same noise; and products of two classes, drawn naively and with the corrector."""
    model = sf.load(run)
    label = torch.arange(10).repeat(len(WEIGHTS))
    one = {"floor": 0.02}
    times = sf.grids.logsnr(model.noise, 20, **one)
    rows = [sf.sample(Free(model, w), 10, times=times, label=label[:10], seed=4) for w in WEIGHTS]
    times = sf.grids.logsnr(model.noise, 40, **one)
    naive, right = [], []
    for a, b in BOTH:
        plain = Given(model, {"label": None})
        both = Product((Given(model, {"label": a}), Given(model, {"label": b}), plain), (1.0, 1.0, -1.0))
        naive.append(sf.sample(both, columns, times=times, seed=7))
        right.append(sf.sample(both, columns, times=times, seed=7, sampler=Metropolis(steps=4)))
    from scorefield.plots.style import INK, figure

    image = figure(10.0, 2.4)
    panels = (
        ("one class, weight 0 to 8", rows, [f"{w:g}" for w in WEIGHTS]),
        ("two classes: the naive sum", naive, [f"{a} and {b}" for a, b in BOTH]),
        ("two classes: Metropolis steps", right, [f"{a} and {b}" for a, b in BOTH]),
    )
    for k, (title, lines, names) in enumerate(panels):
        ax = image.add_subplot(1, 3, k + 1)
        pixels = mosaic(torch.cat(lines), columns=columns)
        ax.imshow(pixels, interpolation="nearest")
        ax.set_title(title, fontsize=9, color=INK)
        ax.set_xticks([])
        ax.set_yticks([(i + 0.5) * pixels.shape[0] / len(lines) for i in range(len(lines))], names, fontsize=8)
        ax.tick_params(length=0)
        for side in ax.spines.values():
            side.set_visible(False)
    return save(image, out)


def guided(run: Path, by: Path, n: int) -> None:
    """How often a judge trained apart sees the label that was asked for, and the Fréchet distance, n samples in 20 steps each."""
    from scorefield.data import open_data
    from scorefield.metrics import Judge, frechet_distance

    model, judging = sf.load(run), sf.load(by)
    rows = open_data("digits")
    judge = Judge.fit(rows.train, rows.labels)
    real = judge.features(rows.held_out)
    label = torch.arange(n) % 10
    plain = Given(model, {"label": None})
    ways = {
        "no guidance, no label": plain,
        "the label (classifier-free, weight 1)": Free(model, 1.0),
        "classifier-free, weight 2": Free(model, 2.0),
        "classifier, weight 1": Tilt(plain, judging),
        "classifier, weight 2": Tilt(plain, judging, 2.0),
        "classifier, weight 4": Tilt(plain, judging, 4.0),
    }
    print(f"{'':<40}{'label seen':>16}{'Fréchet distance':>20}")
    for name, way in ways.items():
        times = sf.grids.logsnr(model.noise, 20, floor=0.02)
        x = sf.sample(way, n, times=times, label=label)
        seen = float((judge.probabilities(x).argmax(1) == label).double().mean())
        print(
            f"{name:<40}{seen:>8.3f} ± {math.sqrt(seen * (1 - seen) / n):.3f}{frechet_distance(judge.features(x), real)!s:>20}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", type=Path, help="a run of the recipe digits: draw the picture instead")
    parser.add_argument("--out", type=Path, default=Path("guidance.png"))
    parser.add_argument("--n", type=int, default=20_000, help="samples for each line of the table")
    parser.add_argument(
        "--classifier", type=Path, help="a run of the recipe classifier: compare guides of the digits instead"
    )
    options = parser.parse_args()
    if options.run is None:
        table(options.n)
    elif options.classifier is not None:
        guided(options.run, options.classifier, min(options.n, 500))
    else:
        print(picture(options.run, options.out))


if __name__ == "__main__":
    main()
