"""The Python that a walk's particles and distances come from: a score or a denoiser, each sampler, and what is printed."""

import dataclasses
import json
from collections.abc import Sequence

from .. import samplers
from ..samplers import (
    MALA,
    Adaptive,
    Ancestral,
    AnnealedLangevin,
    Churn,
    Corrected,
    EulerMaruyama,
    Heun,
    Langevin,
    Midpoint,
    Multistep,
    PredictorCorrector,
    Sampler,
    Underdamped,
)
from ..samplers.langevin import Static
from ..samplers.named import sampler as named
from . import fields_code, sources, walking
from .fields import FieldRequest
from .held import Opened
from .requests import WalkRequest
from .snippets import Snippet
from .sources import Citation

WRITTEN: dict[type[Sampler], tuple[str, Citation]] = {
    Langevin: ("x ← x + h s(x) + √(2h) z", sources.LANGEVIN.at("section 1.4.1")),
    MALA: (
        "the same step y, accepted with probability min(1, p(y) q(x|y) / p(x) q(y|x))",
        sources.LANGEVIN.at("section 1.4"),
    ),
    Underdamped: ("dX = V dτ,   dV = s(X) dτ − γV dτ + √(2γ) dW", sources.BAOAB.at("abstract")),
    AnnealedLangevin: ("k steps of Langevin of size εσ² at every noise level", sources.NCSN.at("algorithm 1")),
    EulerMaruyama: ("dX = (f X − g² s) dt + g dW̄,   backwards from t = 1", sources.SDE.at("eq. 6")),
    Ancestral: ("x_s ~ p(x_s | x_t, x̂)", sources.DDPM.at("algorithm 2")),
    Heun: ("dy/dr = (y − x̂)/r,   y = x/α,   r = σ/α", sources.EDM.at("algorithm 1")),
    Midpoint: ("dy/dr = (y − x̂)/r,   its slope taken at the middle of log r", sources.SOLVER.at("algorithm 1")),
    Multistep: ("dy/dr = (y − x̂)/r,   a polynomial through the last answers", sources.DEIS.at("section 3")),
    Corrected: (
        "dy/dr = (y − x̂)/r,   predicted, then corrected with the answer there",
        sources.UNIFIED.at("algorithm 1"),
    ),
    Churn: ("noise up to (1 + γ)σ/α, then a step of Heun down", sources.EDM.at("algorithm 2")),
    PredictorCorrector: ("a step down, then Langevin steps of size 2(snr·σ)²", sources.SDE.at("algorithms 1 and 4–5")),
    Adaptive: ("dy/dλ = x̂ − y,   in steps as long as the tolerance allows", sources.PAIR.at("abstract")),
}


def walk(wanted: WalkRequest, others: Sequence[str] | None = None, known: Opened | None = None) -> Snippet:
    """The lines for one walk, or for several samplers on the same draws; they print each one's distance to its target.

    ``known`` is the run that they are about, if they are about one.

    >>> walk(WalkRequest(sampler="Heun()")).formula
    'dy/dr = (y − x̂)/r,   y = x/α,   r = σ/α'
    """
    chosen = [named(text) for text in others or [wanted.sampler]]
    names = sorted({kind for each in chosen for kind in kinds(each)})
    lines = [
        fields_code.head(
            wanted.density,
            f"from scorefield.samplers import {', '.join(names)}",
            "from scorefield.tensors import Streams, normal",
        ),
        fields_code.density(wanted.density, wanted.run, known),
        *_models(wanted, chosen, known),
        "",
        f"rows = Streams({wanted.seed}, 2**40 + torch.arange({walking.REFERENCE}))",
        f"target = density.sample({walking.REFERENCE}, rows).float()",
    ]
    if any(isinstance(each, Static) for each in chosen):
        itself = (
            known is not None and known.level is not None and (wanted.method, wanted.density.name) == ("run", "run")
        )
        lines += ["smoothed = target" if itself else "smoothed = target + sigma * normal(target, rows)"]
    lines += ["angles = lambda: torch.Generator().manual_seed(0)"]
    for each in chosen:
        lines += ["", *_released(wanted, each)]
    formulas, cited = zip(*(WRITTEN[type(each)] for each in chosen))
    return Snippet("\n".join(lines), "\n".join(dict.fromkeys(formulas)), tuple(dict.fromkeys(cited)))


def written(sampler: Sampler) -> str:
    """The call that makes it, with what differs from the defaults.

    >>> written(Langevin(0.5)), written(PredictorCorrector(Heun()))
    ('Langevin(size=0.5)', 'PredictorCorrector(predictor=Heun())')
    """
    given = []
    for each in dataclasses.fields(sampler):  # type: ignore[arg-type]
        value = getattr(sampler, each.name)
        default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        if value != default:
            shown = (
                written(value)
                if isinstance(value, Sampler)
                else 'float("inf")'
                if value == float("inf")
                else repr(value)
            )
            given.append(f"{each.name}={shown}")
    return f"{type(sampler).__name__}({', '.join(given)})"


def kinds(sampler: Sampler) -> set[str]:
    """The classes that its call names.

    >>> sorted(kinds(PredictorCorrector(Heun())))
    ['Heun', 'PredictorCorrector']
    """
    words = set(written(sampler).replace("(", " ").replace("=", " ").replace(",", " ").split())
    return words & set(samplers.__all__)


def _models(wanted: WalkRequest, chosen: Sequence[Sampler], known: Opened | None) -> list[str]:
    static, levels = (
        any(isinstance(each, Static) for each in chosen),
        any(not isinstance(each, Static) for each in chosen),
    )
    lines = [f"sigma = {wanted.sigma:g}"] if static else []
    if wanted.method == "exact":
        lines += ["score = lambda x: density.score(x, 1.0, sigma)"] if static else []
        lines += ["model = density.denoiser(sf.VP())"] if levels else []
    elif wanted.method == "run" and not static:
        lines += [f"model = sf.load({json.dumps(wanted.run or 'moons')})"]
    else:
        lines += fields_code.score(_field(wanted), known) if static else fields_code.model(_field(wanted), known)
    if (
        any(isinstance(each, MALA) for each in chosen)
        and wanted.method == "run"
        and known is not None
        and known.level is not None
    ):
        lines += ["score.energy = model.energy"]
    elif any(isinstance(each, MALA) for each in chosen):
        lines += ["score.energy = lambda x: -density.log_density(x, 1.0, sigma)"]
    return lines


def _field(wanted: WalkRequest) -> FieldRequest:
    return FieldRequest(density=wanted.density, method=wanted.method, width=wanted.width, run=wanted.run)


def _released(wanted: WalkRequest, sampler: Sampler) -> list[str]:
    static = isinstance(sampler, Static)
    model, target = ("score", "smoothed") if static else ("model", "target")
    steps = walking.steps(sampler, wanted.evaluations)
    if wanted.start is None:
        shape = ", shape=(2,)" if static else ""
        lines = [
            f"x = sf.sample({model}, {wanted.n}, sampler={written(sampler)}, steps={steps}, seed={wanted.seed}{shape})"
        ]
    else:
        lines = [
            f"sampler, rows = {written(sampler)}, Streams({wanted.seed}, range({wanted.n}))",
            f"x = torch.tensor({list(wanted.start)}) + {walking.SPREAD} * normal(torch.empty({wanted.n}, 2), rows)",
            f"*_, last = sampler.walk({model}, x, sampler.times({model}, {steps}), rows)",
            "x = last.x",
        ]
    name = type(sampler).__name__
    return [*lines, f'print("{name}", sf.metrics.sliced_wasserstein(x, {target}, projections=64, generator=angles()))']
