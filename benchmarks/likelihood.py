"""Log-densities with an error bar, against k-diffusion's ``log_likelihood`` on the same denoisers, in one run.

    gaussian   correlated, d = 64 (and 16), exact score: the default; and as many Jacobian products as the peer spends on one probe
    mixture    eight narrow modes in 2-d, exact score
    network    trained on moons for some hundred steps; the truth is the same flow in 384 steps with the exact trace

For each: standard deviation of value − truth, largest error, the standard deviation of z = (value − truth)/error (1 for an
honest error; the peer tells none), Jacobian products and evaluations per row, seconds. Both start at σ/α = 0.002.

    pip install --no-deps k-diffusion torchsde torchdiffeq trampoline

Only k-diffusion's ``sampling.py`` is loaded: the package itself imports far more than it needs here.
"""

import argparse
import importlib.util
import math
import sys
import time
import types
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

import scorefield as sf
from scorefield.calculus import orthogonal
from scorefield.tensors import Streams

FLOOR = 2e-3


def peer() -> types.ModuleType:
    """k_diffusion.sampling with the one helper of its ``utils`` that it uses."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pip install --no-deps k-diffusion torchsde torchdiffeq trampoline")
    folder = next(iter(found.submodule_search_locations))
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__ = [folder]
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    package.utils = utils
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", f"{folder}/sampling.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


class Counted(sf.Denoiser):
    """A denoiser that counts rows evaluated and rows pulled back."""

    def __init__(self, model: sf.Denoiser):
        super().__init__()
        self.model, self.noise, self.evaluations, self.products = model, model.noise, 0, 0

    @property
    def shape(self):
        return self.model.shape

    def forward(self, xt, t, **cond):
        self.evaluations += len(xt)
        return self.model(xt, t, **cond)


def counted_forms(model: Counted) -> None:
    """Counts the quadratic forms that `log_density` takes."""
    from scorefield.likelihood import flow, trace

    def forms(f, x, probes):
        model.products += probes.shape[0] * len(x)
        return trace.forms(f, x, probes)

    flow.forms = forms


def measured(title: str, x: Tensor, truth: Tensor, run: Callable[[Counted], tuple], model: sf.Denoiser) -> float:
    """One line of the table; returns the Jacobian products per row."""
    counted = Counted(model)
    counted_forms(counted)
    start = time.perf_counter()
    value, error = run(counted)
    seconds = time.perf_counter() - start
    gap = value.double() - truth
    z = f"{float((gap / error).std()):5.2f}" if error is not None else "    –"
    products = counted.products / len(x)
    print(
        f"{title:44s} {float(gap.std()):10.2g} {float(gap.abs().max()):10.2g} {z} {products:9.0f} "
        f"{counted.evaluations / len(x):9.0f} {seconds:8.2f}",
        flush=True,
    )
    return products


def ours(x: Tensor, **options) -> Callable[[Counted], tuple]:
    def run(model: Counted) -> tuple:
        found = sf.log_density(model, x, floor=FLOOR, generator=Streams(1, range(len(x))), **options)
        return found.value, found.error

    return run


def theirs(sampling: types.ModuleType, x: Tensor) -> Callable[[Counted], tuple]:
    """One Rademacher probe for the whole path, dopri5 at its default tolerances; EDM noise is k-diffusion's own."""

    def run(model: Counted) -> tuple:
        torch.manual_seed(0)
        top = float(model.noise.ratio(torch.ones((), dtype=torch.float64)))

        def denoised(y: Tensor, sigma: Tensor) -> Tensor:
            model.products += len(y)
            return model(y, (sigma / top).double())

        value, _ = sampling.log_likelihood(denoised, x, FLOOR, top)
        return value, None

    return run


def few(products: float, steps: int = 20) -> int:
    """Probes a step so that the fine path, the coarse one's two and the one along y cost at most so many products."""
    return max(2, int((products - 1 - 2 * (steps // 2)) // (steps + 1)))


def compared(sampling: types.ModuleType, title: str, model: sf.Denoiser, x: Tensor, truth: Tensor) -> None:
    print(
        f"\n{title}\n{'':44s} {'sd error':>10s} {'max error':>10s} {'sd z':>5s} {'products':>9s} {'evals':>9s} {'seconds':>8s}"
    )
    spent = measured("k-diffusion log_likelihood, one probe", x, truth, theirs(sampling, x), model)
    measured("scorefield log_density, default", x, truth, ours(x), model)
    size = math.prod(x.shape[1:])
    if size > 2:
        probes = few(spent)
        options = {"divergence": sf.Hutchinson(min(probes, size - 1), orthogonal), "tolerance": math.inf, "steps": 20}
        measured(f"scorefield, {probes} probes a step: at its products", x, truth, ours(x, **options), model)
    if size > 8:
        options = {"divergence": sf.Hutchinson(8, orthogonal), "tolerance": math.inf}
        measured("scorefield, 8 probes a step", x, truth, ours(x, **options), model)


def correlated(size: int) -> sf.exact.Gaussian:
    """N(0, C) with C = A Aᵀ/d + 0.05 I, A standard normal."""
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return sf.exact.Gaussian(torch.zeros(size).double(), a @ a.T / size + 0.05 * torch.eye(size).double())


def ring() -> sf.exact.Mixture:
    """Eight modes on a circle of radius 2, sd 0.1, weights 1 2 3 4 4 3 2 1."""
    angle = torch.arange(8).double() * (math.pi / 4)
    weights = torch.tensor([1.0, 2, 3, 4, 4, 3, 2, 1]).double()
    return sf.exact.Mixture(weights, 2 * torch.stack([angle.cos(), angle.sin()], 1), 0.01 * torch.eye(2).double())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600, help="training steps of the network on moons")
    options = parser.parse_args()
    sampling, noise = peer(), sf.EDM(80.0)
    for size in (16, 64):
        known = correlated(size)
        x = known.sample(options.rows, Streams(0, range(options.rows)))
        title = f"correlated Gaussian, d = {size}, exact score, {options.rows} rows"
        compared(sampling, title, known.denoiser(noise), x, known.log_density(x))
    known = ring()
    x = known.sample(options.rows, Streams(0, range(options.rows)))
    compared(sampling, "ring of eight modes, exact score", known.denoiser(noise), x, known.log_density(x))
    data = sf.data.moons(20_000)
    model = sf.fit(
        sf.Preconditioned(sf.MLP(2), noise), sf.Diffusion(), sf.data.batches(data, 512), steps=options.steps
    ).double()
    x = sf.data.moons(options.rows, generator=torch.Generator().manual_seed(9)).double()
    fine = sf.log_density(model, x, steps=384, tolerance=math.inf, floor=FLOOR)
    compared(sampling, f"moons, a network trained for {options.steps} steps", model, x, fine.value)
    print("there the truth is that of the flow: z is small because error also counts prior and floor;")
    found = sf.log_density(model, x, floor=FLOOR)
    z = (found.value - fine.value) / found.solver
    print(f"against the solver's part alone, root mean square z = {float(z.square().mean().sqrt()):.2f}")


if __name__ == "__main__":
    main()
