"""The Python that a field's picture and numbers come from: the density, the score by the chosen method, and what is printed."""

import json

from . import densities, learned, methods, sources
from . import held as holding
from .densities import Chosen
from .fields import GROUND, TESTED, FieldRequest
from .held import Opened
from .snippets import Snippet

FORMULAS = {
    "exact": "p_σ(x) = ∫ p(x₀) N(x; x₀, σ²I) dx₀,   s(x) = ∇ log p_σ(x) = (E[x₀ | x] − x) / σ²",
    "kernel": "s = b − g(L) ζ,   L f = E K(·, X) f(X),   ζ = E [div K(·, X) + K(·, X) b(X)]",
    "energy": "s(x) = −∇E(x, σ), trained by  min E ½ w(σ) ‖x̂(x₀ + σz) − x₀‖²,   x̂ = x + σ² s",
    "network": "s(x) = (x̂(x, σ) − x) / σ², trained by  min E ½ w(σ) ‖x̂(x₀ + σz) − x₀‖²",
    "run": "s_σ(x) = α s_t(αx)  at the time t with σ(t)/α(t) = σ",
}
ONE = "s(x), a static score: it was learned at one noise level"
SOURCES = {
    "exact": (sources.TWEEDIE.at("eq. 1.4"),),
    "kernel": (sources.KERNELS.at("section 3"),),
    "energy": (sources.VINCENT.at("section 4.2"), sources.EDM.at("eq. 7")),
    "network": (sources.VINCENT.at("section 4.2"), sources.EDM.at("eq. 7")),
    "run": (sources.TWEEDIE.at("eq. 1.4"),),
}


def field(wanted: FieldRequest, known: Opened | None = None) -> Snippet:
    """The lines for one request of the field; they print its largest arrow, and its Fisher divergence where there is one.

    ``known`` is the run that it is about, if it is about one.

    >>> field(FieldRequest()).code.count("score")  > 1
    True
    """
    one = None if known is None or wanted.method != "run" else known.level
    sigma, itself = wanted.sigma if one is None else one, one is not None and wanted.density.name == "run"
    level = f"{sigma:g}" if sigma else "0.0"
    sharp = wanted.density.name in ("run", "table", "checkerboard")
    begin = head(wanted.density, "from scorefield import plots", "from scorefield.tensors import Streams, normal")
    lines = [begin, density(wanted.density, wanted.run, known), f"sigma = {level}", *score(wanted, known), ""]
    lines += ["x = plots.fields.lattice((-3.0, 3.0, -3.0, 3.0), 40).double()"]
    lines += ['print(f"largest arrow {score(x).norm(dim=1).max():.3g}")']
    if wanted.method != "exact" and not itself and not (sharp and sigma == 0):
        lines += [
            f"rows = Streams(1, range({TESTED}))",
            f"x0 = density.sample({TESTED}, rows).double()",
            "x = x0 + sigma * normal(x0, rows)",
            "gap = sf.metrics.fisher_divergence(score, lambda x: density.score(x, 1.0, sigma), x)",
            'print(f"Fisher divergence {gap}")',
        ]
    shown = f"{GROUND:g}" if itself or (sharp and sigma == 0) else "sigma"
    lines += [
        f"log_p = lambda x: density.log_density(x, 1.0, {shown})",
        'plots.save(plots.field(score, log_density=log_p, n=40), "field.png")',
    ]
    return Snippet("\n".join(lines), FORMULAS[wanted.method] if one is None else ONE, SOURCES[wanted.method])


def head(chosen: Chosen, *others: str) -> str:
    """The imports, and an empty line.

    >>> head(Chosen(name="rings"))
    'import torch\\nimport scorefield as sf\\nfrom scorefield import plane\\n'
    """
    own = ["from scorefield import plane"] if chosen.name in densities.TOYS else []
    return "\n".join(["import torch", "import scorefield as sf", *own, *others, ""])


def density(chosen: Chosen, run: str = "", known: Opened | None = None) -> str:
    """The line that makes a density; ``known`` is the run whose draws it is, if it is that.

    >>> density(Chosen(name="rings"))
    'density = plane.Rings()'
    """
    if chosen.name == "mixture":
        weights, means = [m.weight for m in chosen.modes], [[m.x, m.y] for m in chosen.modes]
        stds = [mode.std for mode in chosen.modes]
        return (
            f"means = torch.tensor({means})\n"
            f"covariances = torch.tensor({stds})[:, None, None] ** 2 * torch.eye(2)\n"
            f"density = sf.exact.Mixture(torch.tensor({weights}), means, covariances)"
        )
    if chosen.name == "table":
        first, second = (json.dumps(name) for name in chosen.columns)
        return (
            "from pathlib import Path\nfrom scorefield.explorer.tables import read\n"
            f'points = read(Path("your.csv").read_text()).points({first}, {second})\n'
            f"density = sf.exact.Empirical(points[:{densities.MOST_ROWS}])"
        )
    if chosen.name == "run":
        name, rows = json.dumps(run or (known.name if known else "moons")), densities.MOST_ROWS
        if known is not None and known.drawing is None:
            how = (
                f"{rows}"
                if known.level is None
                else f"{holding.ROWS}, sampler=Langevin({holding.SIZE:g}), steps={holding.STEPS}"
            )
            begin = "" if known.level is None else "from scorefield.samplers import Langevin\n"
            return f"{begin}density = sf.exact.Empirical(sf.sample(sf.load({name}), {how}, shape=(2,)))"
        return (
            f'drawing = sf.checkpoints.facts({name})["sampling"]\n'
            f"density = sf.exact.Empirical(drawing.sample(sf.load({name}), {rows}, shape=(2,)))"
        )
    return {
        "moons": "density = plane.moons()",
        "rings": "density = plane.Rings()",
        "spirals": "density = plane.spirals()",
        "checkerboard": "density = plane.Checkerboard()",
    }[chosen.name]


def score(wanted: FieldRequest, known: Opened | None = None) -> list[str]:
    """The lines that make ``score`` at ``sigma``.

    >>> score(FieldRequest())
    ['score = lambda x: density.score(x, 1.0, sigma)']
    """
    if wanted.method == "exact":
        return ["score = lambda x: density.score(x, 1.0, sigma)"]
    if wanted.method == "kernel":
        return [
            f"rows = Streams(0, range({methods.KERNEL_ROWS}))",
            f"x0 = density.sample({methods.KERNEL_ROWS}, rows).double()",
            "x = x0 + sigma * normal(x0, rows)",
            f"kernel = sf.closed.CurlFree(sf.closed.IMQ({wanted.width:g} * sf.closed.median_width(x)))",
            f"score = sf.closed.KernelScore(kernel, sf.closed.NuMethod({methods.KERNEL_STEPS})).fit(x)",
        ]
    if wanted.method == "run" and known is not None and known.level is not None:
        return [*model(wanted, known), "score = lambda x: model(x.float()).to(x)"]
    return [*model(wanted, known), *_LEVEL]


def model(wanted: FieldRequest, known: Opened | None = None) -> list[str]:
    """The lines that make ``model``, a denoiser: a run's, or one that learns from the density.

    >>> model(FieldRequest(method="run", run="rings"))
    ['model = sf.load("rings")']
    """
    if wanted.method == "run":
        return [f"model = sf.load({json.dumps(wanted.run or (known.name if known else 'moons'))})"]
    network = f"sf.MLP(2, {learned.WIDTH}, {learned.DEPTH}{', out=1' if wanted.method == 'energy' else ''})"
    network = f"sf.Energy({network})" if wanted.method == "energy" else network
    return [
        "torch.manual_seed(0)",
        f"model = sf.Preconditioned({network}, sf.EDM({learned.SIGMA_MAX}), sf.models.edm)",
        f"data = sf.data.batches(density.sample({learned.ROWS}, Streams(0, range({learned.ROWS}))), {learned.BATCH})",
        f"model = sf.fit(model, sf.Diffusion(), data, steps={learned.STEPS}, learning_rate={learned.RATE:g})",
    ]


_LEVEL = [
    "t = model.noise.time(torch.tensor(sigma, dtype=torch.float64))",
    "alpha = float(model.noise.scales(t)[0])",
    "score = lambda x: alpha * model.score((alpha * x).float(), t).to(x)",
]
