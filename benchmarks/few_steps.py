"""Quality against evaluations: the Fréchet distance of a digits run for every sampler, and of students that jump.

Every sampler walks the same network from the same noise with the same labels and guidance, on the grid it chooses itself; annealed
Langevin 20 levels, with fewer and fewer steps at each. Evaluations are counted at the network, those of guidance with them; of
`Adaptive` those of the slowest row. The judge is the recipe's: a classifier trained apart on the training digits, its features
compared with those of held-out ones.

    python benchmarks/few_steps.py runs/digits --student runs/distill

prints a table, writes OUT.json and draws OUT.png. With --only, the lines of other samplers are kept as they were.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from scorefield import laws, plots, samplers
from scorefield.checkpoints import facts, load
from scorefield.guidance import Free
from scorefield.metrics import Judge, frechet_distance
from scorefield.plots.style import GREY, INK, PALETTE, dress, figure
from scorefield.recipes import find
from scorefield.samplers import Adaptive, Ancestral, AnnealedLangevin, Corrected, Multistep, Sampler
from scorefield.tensors import Streams

BUDGETS = (1, 2, 3, 4, 5, 8, 12, 20, 40)


def every_sampler() -> dict[str, Sampler]:
    """The exported samplers of denoisers as they come, and variants that go by names of their own."""
    found = {kind.__name__: kind() for kind in laws.exported(samplers, Sampler)}
    found = {name: each for name, each in found.items() if laws.takes_denoiser(each)}
    found |= {"Ancestral, eta 0 (DDIM)": Ancestral(eta=0.0), "Multistep, 2 points": Multistep(2)}
    found |= {"AnnealedLangevin, size 0.5": AnnealedLangevin(size=0.5)}
    return found


def ladder(name: str, sampler: Sampler) -> list[tuple[str, Sampler, int]]:
    """(name, sampler, steps) at every budget that it can spend."""
    if isinstance(sampler, Adaptive):
        return [(name, replace(sampler, tolerance=tolerance), 2) for tolerance in (0.1, 0.03, 0.01)]
    if isinstance(sampler, AnnealedLangevin):
        return [(name, replace(sampler, steps=k), 20) for k in (1, 2, 5, 10)]
    each = sampler.evaluations
    steps = sorted({budget // each for budget in BUDGETS if budget >= each})
    if isinstance(sampler, Multistep | Corrected):  # a polynomial through no more points than there are
        least = 2 if isinstance(sampler, Corrected) else 1
        return [(name, replace(sampler, points=min(sampler.points, n)), n) for n in steps if n >= least]
    return [(name, sampler, n) for n in steps]


class Counting:
    """How often a network is asked, while it is open."""

    def __init__(self, model: torch.nn.Module):
        self.model, self.calls = model, 0

    def __enter__(self) -> "Counting":
        self.hook = self.model.register_forward_hook(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _called(self, *_: object) -> None:
        self.calls += 1


def walked(model: torch.nn.Module, drawing, sampler: Sampler, times: Tensor, n: int, shape: tuple[int, ...]) -> Tensor:
    """Where n walks end, with the labels and the guidance of the run."""
    guided, cond = model, {}
    if drawing.classes is not None:
        guided, cond = Free(model, drawing.weight, drawing.low, drawing.high), {"label": drawing.labels(n)}
    draws = Streams(0, range(n))
    x = model.noise.prior(torch.empty(n, *shape), draws)
    for state in sampler.walk(guided, x, times, draws, **cond):
        x = state.x
    return x


def picture(rows: list[dict], floor: float) -> "plots.style.Figure":
    """The Fréchet distance against evaluations, one line a sampler, students as stars."""
    fig = figure(8.4, 4.4)
    ax = dress(
        fig.add_subplot(), title="few evaluations", xlabel="network evaluations a sample", ylabel="Fréchet distance"
    )
    names = list(dict.fromkeys(row["name"] for row in rows))
    others = [name for name in names if not name.startswith("student")]
    for name in names:
        mine = sorted((row["evaluations"], row["frechet"]) for row in rows if row["name"] == name)
        if name.startswith("student"):
            ax.plot(*zip(*mine), color=INK, marker="*", markersize=12, linewidth=1.2, label=name, zorder=5)
        else:
            place = others.index(name)
            how = {"color": PALETTE[place % len(PALETTE)], "linestyle": ("-", "--", ":")[place // len(PALETTE)]}
            ax.plot(*zip(*mine), marker="o", markersize=3, label=name, **how)
    ax.axhline(floor, color=GREY, linewidth=1.0, linestyle="--", label="real training digits")
    ax.set(xscale="log", yscale="log")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", type=Path, nargs="*", default=[])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--only", nargs="*", help="names of samplers")
    parser.add_argument("--out", type=Path, default=Path("runs/few_steps"))
    options = parser.parse_args()
    about, model = facts(options.run), load(options.run)
    experiment = find(about["recipe"])(**about["arguments"])
    data, drawing, n = experiment.data, about["sampling"], options.samples
    classes = int(data.labels.max()) + 1
    judge = Judge.fit(data.train, data.labels, classes=classes)
    real = judge.features(data.held_out)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:n]
    floor = frechet_distance(judge.features(data.train[order]), real).value
    print(f"{n} samples a line; floor, as many training digits: {floor:.3f}", flush=True)

    plans = [(*each, model, drawing) for name, one in every_sampler().items() for each in ladder(name, one)]
    plans += [("default", samplers.default(k), k, model, drawing) for k in BUDGETS]
    plans = [plan for plan in plans if not options.only or plan[0] in options.only]
    for folder in options.student:
        how = facts(folder)["sampling"]
        steps = [k for k in (1, 2, 4, 8) if k <= how.steps]
        plans += [(f"student {folder.name}", how.sampler, k, load(folder), how) for k in steps]
    rows: list[dict] = []
    written = options.out.with_suffix(".json")
    if options.only and written.exists():
        rows = [row for row in json.loads(written.read_text())["rows"] if row["name"] not in options.only]
    for name, sampler, steps, network, how in plans:
        began = time.perf_counter()
        with Counting(network) as counted, torch.no_grad():
            try:
                x = walked(network, how, sampler, sampler.times(network, steps), n, data.shape)
                found = frechet_distance(judge.features(x), real)
            except ArithmeticError:
                continue  # a walk that leaves the data has no distance
        row = {"name": name, "steps": steps, "evaluations": counted.calls, "frechet": found.value, "error": found.error}
        rows.append(row | {"seconds": time.perf_counter() - began})
        print(
            f"{name:32} {steps:3} steps {counted.calls:4} evaluations   {found.value:9.3f} ± {found.error:.3f}",
            flush=True,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"run": options.run.name, "samples": n, "floor": floor, "rows": rows}
    written.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    plots.save(picture([row for row in rows if math.isfinite(row["frechet"])], floor), options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
