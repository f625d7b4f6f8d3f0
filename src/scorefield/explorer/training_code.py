"""The Python that a contest's numbers come from: one network, the same points and noise, and every objective for its own steps."""

from collections.abc import Sequence

from pydantic import Field

from . import contest, fields_code, sources
from .contest import Setting
from .densities import Chosen
from .snippets import Snippet
from .sources import Citation
from .wire import Wire

LINES = {
    "exact": "exact = lambda model, x, generator=None: sf.Implicit()(model, x + sigma * normal(x, generator), generator)",
    "sliced": "sliced = lambda model, x, generator=None: sf.Sliced()(model, x + sigma * normal(x, generator), generator)",
    "denoising": "denoising = lambda model, x, generator=None: sf.Denoising(sigma)(model, x, generator)",
}
FORMULAS = {
    "exact": "exact      E ½‖s(x)‖² + div s(x),   x = x₀ + σz",
    "sliced": "sliced     E ½(v·s(x))² + v·∇(v·s(x)),   v = ±1",
    "denoising": "denoising  E ½‖s(x₀ + σz) + z/σ‖²",
}
SOURCES: dict[str, Citation] = {
    "exact": sources.HYVARINEN.at("eq. 4"),
    "sliced": sources.SLICED.at("eq. 7"),
    "denoising": sources.VINCENT.at("section 4.2"),
}


class Stand(Wire):
    """How far one objective has come: its steps, and after which of them the noise level was turned to what."""

    name: contest.Name
    steps: int = Field(ge=0, le=contest.STEPS)
    turns: tuple[tuple[int, float], ...] = Field(default=(), max_length=1000)


def train(density: Chosen, run: str, setting: Setting, stands: Sequence[Stand]) -> Snippet:
    """The lines that train each objective as far as it stands, and print its Fisher divergence at the last noise level.

    >>> stand = Stand(name="denoising", steps=100)
    >>> "denoising, 100" in train(Chosen(name="moons"), "", Setting(), [stand]).code
    True
    """
    seed = f", seed={setting.seed}" if setting.seed else ""
    turned, some = any(stand.turns for stand in stands), not all(stand.steps for stand in stands)
    runs = ", ".join(_entry(stand, turned) for stand in stands)
    last = next((stand.turns[-1][1] for stand in stands if stand.turns), setting.sigma)
    lines = [
        fields_code.head(density, "from scorefield.tensors import Streams, normal"),
        fields_code.density(density, run),
        f"x = density.sample({setting.rows}, Streams({setting.seed}, range({setting.rows}))).float()",
        f"rows = torch.arange({contest.HELD_OUT})",
        f"held_out = density.sample({contest.HELD_OUT}, Streams({setting.seed}, 2**50 + rows)).float()",
        f"noisy = held_out + {last:g} * normal(held_out, Streams({setting.seed}, 2**51 + rows))",
        *(LINES[stand.name] for stand in stands),
        "",
        f"for name, objective, steps{', turns' if turned else ''} in [{runs}]:",
        f"    sigma = {f'turns.get(0, {setting.sigma:g})' if turned else f'{setting.sigma:g}'}",
        f"    torch.manual_seed({setting.seed})",
        f"    model, batches = sf.MLP(2, {setting.width}, {setting.depth}), sf.data.batches(x, {setting.batch}{seed})",
        f"    how = dict(learning_rate={setting.learning_rate:g}, warmup=0.0, decay=sf.training.constant{seed})",
    ]
    if turned:
        lines += [
            "    score = model",
            f"    for progress in sf.train(model, objective, batches, steps=steps, **how){' if steps else []' if some else ''}:",
            "        sigma, score = turns.get(progress.step, sigma), progress.average",
        ]
    else:
        lines += [
            f"    score = sf.fit(model, objective, batches, steps=steps, **how){' if steps else model' if some else ''}"
        ]
    lines += [f"    print(name, sf.metrics.fisher_divergence(score, lambda x: density.score(x, 1.0, {last:g}), noisy))"]
    formula = "\n".join(FORMULAS[stand.name] for stand in stands)
    return Snippet("\n".join(lines), formula, tuple(SOURCES[stand.name] for stand in stands))


def _entry(stand: Stand, turned: bool) -> str:
    turns = f", {dict(stand.turns)}" if turned else ""
    return f'("{stand.name}", {stand.name}, {stand.steps}{turns})'
