"""The pictures of the documentation, made by what they show: ``python docs/images/make.py`` (half a minute)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch

import scorefield as sf
from scorefield import plots
from scorefield.plots.style import BLUE, GREY, INK, dress, figure

HERE = Path(__file__).parent


def moons() -> None:
    """Two moons out of noise, and the score that leads there."""
    x = sf.data.moons(20_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = sf.fit(sf.Preconditioned(sf.MLP(2), sf.VP()), sf.Diffusion(), sf.data.batches(x, 512), steps=3000)
    states = list(sf.walk(model, 1500, steps=20))
    picture = figure(11.0, 2.5)
    for k, step in enumerate((0, 12, 15, 20)):
        state = states[step]
        level = float(model.noise.ratio(state.t))
        ax = dress(picture.add_subplot(1, 5, k + 1), title=f"step {step}, σ/α = {level:.3g}")
        ax.scatter(*state.x.T, s=3, color=BLUE, alpha=0.5, linewidths=0)
        ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
    ax = picture.add_subplot(1, 5, 5)
    t = model.noise.time(torch.tensor(0.25, dtype=torch.float64))
    noised = model.noise.perturb(x[:800], t, torch.Generator().manual_seed(1))
    plots.field(
        lambda at: model.score(at.float(), t).detach(),
        limits=(-2.6, 2.6, -2.6, 2.6),
        points=noised,
        n=17,
        title="its score at σ/α = 0.25",
        ax=ax,
    )
    ax.set(xticks=[], yticks=[])
    plots.save(picture, HERE / "moons.png")


def noises() -> None:
    """α, σ and σ/α of every exported noise over time."""
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    kinds = sf.laws.exported(sf.noises, sf.noises.Gaussian)
    picture = figure(2.1 * len(kinds), 2.5)
    for k, kind in enumerate(kinds):
        noise = kind()
        alpha, sigma = noise.scales(t)
        ax = dress(picture.add_subplot(1, len(kinds), k + 1), title=kind.__name__, xlabel="t")
        ax.plot(t, alpha, color=INK, label="α")
        ax.plot(t, sigma, color=BLUE, label="σ")
        ax.plot(t[1:], noise.ratio(t)[1:], color=GREY, linestyle=":", label="σ/α")
        ax.set(yscale="log", ylim=(1e-3, 1.5e3))
        if k:
            ax.tick_params(labelleft=False)
        else:
            ax.legend(frameon=False, fontsize=8)
    plots.save(picture, HERE / "noises.png")


if __name__ == "__main__":
    noises()
    moons()
