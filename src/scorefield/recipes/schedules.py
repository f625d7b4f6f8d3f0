"""Noise levels in equal steps against geometric ones, at the same compute, several seeds each.

    geometric   σ_l = σ₁ γ^{−l}                    as many levels in each decade
    even        σ_l = σ₁ − l (σ₁ − σ_L)/(L − 1)    nearly all of them in the first decade

Same network, same steps, same number of levels; each network is walked over the levels it was trained on. The held-out
loss is measured at the same eight noise levels for both, E ½|ε̂ − z|² in nats. Errors are standard errors over seeds.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import files, plots
from ..checkpoints import Run, facts
from ..data import Dataset, open_data
from ..doctor import distances
from ..doctor.levels import thinned
from ..errors import RangeError, RunError
from ..metrics.estimate import Estimate, mean
from ..models import Preconditioned, edm
from ..noises import EDM
from ..objectives import Diffusion, EvenLevels, Levels, weights
from ..samplers import Multistep
from ..tensors import seeded
from ..training import HeldOut
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measure, Measures, table
from .measure import distances as to_data
from .mlp import Flat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPACINGS: Mapping[str, type[Levels | EvenLevels]] = {"geometric": Levels, "even": EvenLevels}
LOSS_AT = "held_out_at_"


@dataclass(frozen=True)
class Study:
    """Experiments by name and seed, run one after the other; what is finished is never run again.

    Every training is a run of its own in a folder below ``out``; an interrupted one continues where it was.
    """

    experiments: Mapping[str, tuple[Experiment, ...]]

    def run(
        self,
        out: Path,
        *,
        resume: bool = False,
        previous: bool = False,
        show: Callable[[str], object] = print,
        about: Mapping[str, Any] | None = None,
    ) -> Measures:
        """Train all, compare: schedules.png, report.json and a table. Raises: RunError if the folder holds another study."""
        first = next(iter(self.experiments.values()))[0]
        with _opened(out, resume or previous, first, dict(about or {})):
            found = {
                name: [_part(out / f"{name}-{k}", each, previous, show) for k, each in enumerate(experiments)]
                for name, experiments in self.experiments.items()
            }
        measures = summary(found)
        plots.save(picture(found), out / "schedules.png")
        content = {"measures": {f"{name} {key}": vars(m) for name, each in measures.items() for key, m in each.items()}}
        files.replace(out / "report.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        flat = {f"{name}: {key}": m for name, each in measures.items() for key, m in each.items()}
        show(table(flat))
        return flat


def schedules(
    *,
    data: str = "digits8",
    levels: int = 20,
    sigma_min: float = 0.02,
    sigma_max: float | None = None,
    width: int = 128,
    steps: int = 1500,
    batch: int = 128,
    learning_rate: float = 2e-3,
    samples: int = 1000,
    seeds: int = 3,
) -> Study:
    """Geometric against even noise levels at the same compute: a study with error bars over seeds.

    Args:
        data: digits8, digits, a folder of IDX files or of images, a .npy or .npz file, or hf:NAME from Hugging Face
        levels: number of noise levels
        sigma_min: the smallest noise level
        sigma_max: the largest noise level; by default the largest distance in the data
        width: numbers in each hidden layer of the network
        steps: training steps of each network
        batch: rows in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        samples: number of samples drawn of each network
        seeds: networks for each spacing of levels, at least 2

    Raises: RangeError for fewer than 2 seeds, of which no error bar can be had.

    >>> study = schedules(steps=10, seeds=2)
    >>> [(name, len(each)) for name, each in study.experiments.items()]
    [('geometric', 2), ('even', 2)]
    """
    if seeds < 2:
        raise RangeError(f"schedules(seeds={seeds}): at least 2 are needed for an error bar.")
    rows = open_data(data)
    noise = EDM(distances(rows.train).largest if sigma_max is None else sigma_max)

    def build(spacing: type[Levels | EvenLevels], seed: int) -> Experiment:
        ladder = spacing(levels, sigma_min)
        with seeded(seed):
            network = Flat(rows.shape, width)
        return Experiment(
            Preconditioned(network, noise, partial(edm, data_std=0.6)),
            Diffusion(ladder, weights.simple),
            rows,
            steps=steps,
            batch=batch,
            training={"learning_rate": learning_rate},
            drawing=Drawing(
                Multistep(), times=torch.cat([noise.time(ladder.levels(noise)), torch.zeros(1, dtype=torch.float64)])
            ),
            seed=seed,
            count=samples,
            report=report,
        )

    return Study({name: tuple(build(spacing, seed) for seed in range(seeds)) for name, spacing in SPACINGS.items()})


def report(finished: Finished) -> Measures:
    """Distances of samples to held-out rows, and the held-out loss at eight noise levels."""
    data: Dataset = finished.experiment.data
    found = HeldOut(data.held_out, finished.experiment.objective)(finished.model)
    levels = {f"{LOSS_AT}{level:.3g}": Measure(loss) for level, loss in found.levels.items()}
    loss = Measure(sum(found.levels.values()) / len(found.levels), meaning="mean held-out loss over 8 levels (nats)")
    fresh = [thinned(data.train, len(data.held_out))]
    return {**to_data(finished.sample(), data.held_out, fresh), "held_out_loss": loss, **levels}


def summary(found: Mapping[str, list[dict[str, dict]]]) -> dict[str, dict[str, Measure]]:
    """Mean ± standard error over seeds of every measure but the single noise levels, by spacing.

    >>> summary({"even": [{"mmd2": {"value": 1.0}}, {"mmd2": {"value": 3.0}}]})["even"]["mmd2"].error
    1.0
    """
    result = {}
    for name, parts in found.items():
        keys = [key for key in parts[0] if not key.startswith(LOSS_AT)]
        result[name] = {key: _measure([part[key] for part in parts]) for key in keys}
    return result


def picture(found: Mapping[str, list[dict[str, dict]]]) -> "Figure":
    """Fidelity as bars with the floor of real data, and the held-out loss by noise level, with errors over seeds."""
    from ..plots.style import INK, PALETTE, dress, figure, legend

    image = figure(10.4, 3.8)
    left = dress(image.add_subplot(1, 2, 1), title="distance of samples to held-out rows", ylabel="MMD²")
    right = dress(image.add_subplot(1, 2, 2), title="held-out loss", xlabel="noise level σ", ylabel="nats per example")
    for k, (name, parts) in enumerate(found.items()):
        colour, fidelity = PALETTE[k], _over([part["mmd2"] for part in parts])
        left.bar(
            k, fidelity.value, yerr=fidelity.error, color=colour, width=0.6, error_kw={"ecolor": INK, "capsize": 4}
        )
        floor = parts[0]["mmd2"].get("reference")
        above = (k, max(fidelity.value + fidelity.error, floor or 0.0))
        left.annotate(str(fidelity), above, (0, 4), textcoords="offset points", ha="center", color=INK)
        keys = [key for key in parts[0] if key.startswith(LOSS_AT)]
        curve = [_over([part[key] for part in parts]) for key in keys]
        right.errorbar(
            [float(key.removeprefix(LOSS_AT)) for key in keys],
            [point.value for point in curve],
            yerr=[point.error for point in curve],
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            label=f"{name} levels",
        )
    if floor is not None:
        left.axhline(floor, color=INK, linestyle=":", linewidth=1.2, label="two sets of real rows")
    left.set_xticks(range(len(found)), [f"{name} levels" for name in found])
    left.margins(y=0.15)
    right.set_xscale("log")
    right.set_yscale("log")
    legend(left)
    legend(right)
    return image


def _part(folder: Path, experiment: Experiment, previous: bool, show: Callable[[str], object]) -> dict[str, dict]:
    """The measures of one training: read if it is finished, else made."""
    path = folder / "report.json"
    if not path.exists():
        begun = (folder / "run.json").exists()
        saved = begun and any((folder / "state").glob("step-*"))
        show(f"{folder.name}:")
        experiment.run(folder, resume=begun, previous=previous and bool(saved), show=lambda _: None)
    return json.loads(path.read_text())["measures"]


def _opened(out: Path, resume: bool, first: Experiment, about: dict[str, Any]) -> Run:
    if not resume:
        return Run.create(out, first.model, **about, data={"fingerprint": first.data.fingerprint})
    recorded = facts(out).get("data", {}).get("fingerprint")
    if recorded != first.data.fingerprint:
        raise RunError(f"study {out}: its data were {recorded}, these are {first.data.fingerprint}: other rows.")
    return Run.open(out)


def _over(entries: list[dict]) -> Estimate:
    return mean(torch.tensor([entry["value"] for entry in entries], dtype=torch.float64))


def _measure(entries: list[dict]) -> Measure:
    found = _over(entries)
    return Measure(found.value, found.error, entries[0].get("reference"), entries[0].get("meaning", ""))
