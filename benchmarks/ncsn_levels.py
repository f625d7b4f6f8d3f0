"""What noise levels do to the textbook NCSN: a widely copied schedule beside the one that follows the data.

    copied    σ_l = 10^(−1 − 2l/L), l = 0 … L − 1, L = 20: from 0.1 to 0.00126
    default   from the largest distance in the data to 0.01, neighbours overlapping by half

Both networks are trained alike on the same digits, and their walks judged by the same classifier, trained apart.
Trained models are kept under --out and not trained again. Run: python benchmarks/ncsn_levels.py
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield import doctor, metrics, plots
from scorefield.checkpoints import load, save
from scorefield.grids import logsnr
from scorefield.recipes.experiment import Experiment
from scorefield.recipes.ncsn import ncsn, norm_picture, score_norms
from scorefield.tensors import Streams, normal
from scorefield.training import bar

COPIED = {"sigma_max": 0.1, "sigma_min": 10**-2.9, "levels": 20}


def trained(experiment: Experiment, folder: Path) -> torch.nn.Module:
    """The model of this folder, trained first if there is none."""
    if (folder / "average.safetensors").exists():
        return load(folder)
    data, held_out = experiment.data.batches(experiment.batch), experiment.data.held_out
    steps = sf.train(
        experiment.model,
        experiment.objective,
        data,
        steps=experiment.steps,
        held_out=held_out,
        evaluate_every=max(1, experiment.steps // 4),
        **experiment.training,
    )
    for progress in bar(steps, title=folder.name):
        average = progress.average
    save(average, folder, steps=experiment.steps, seconds=progress.seconds)
    return load(folder)


def walked(experiment: Experiment, model: torch.nn.Module, start: Tensor, times: Tensor) -> Tensor:
    """Where annealed Langevin dynamics leads from these starts."""
    for state in experiment.drawing.sampler.walk(model, start, times, Streams(1, range(len(start)))):
        x = state.x
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ncsn_levels"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    shared = {"steps": options.steps, "width": options.width, "learning_rate": options.learning_rate}
    experiments = {"copied": ncsn(**COPIED, **shared), "default": ncsn(**shared)}
    for name, experiment in experiments.items():
        for finding in doctor.examine(experiment):
            print(f"{name:8} {finding}")
    models = {name: trained(each, options.out / name) for name, each in experiments.items()}

    copied, default = experiments["copied"], experiments["default"]
    data, n = copied.data, options.samples
    z = normal(torch.empty(n, *data.shape), Streams(0, range(n)))
    real = data.held_out[torch.linspace(0, len(data.held_out) - 1, n).long()]
    top, twenty = default.model.noise.sigma_max, logsnr(default.model.noise, 20, floor=0.01)
    walks = {
        "copied, from N(0, I)": (copied, models["copied"], z, copied.drawing.times),
        "copied, from N(0, 0.1² I)": (copied, models["copied"], 0.1 * z, copied.drawing.times),
        "copied, from real digits + 0.1 z": (copied, models["copied"], real + 0.1 * z, copied.drawing.times),
        f"default, from N(0, {top:.1f}² I)": (default, models["default"], top * z, default.drawing.times),
        f"default network, 20 levels from {top:.1f}": (default, models["default"], top * z, twenty),
    }
    judge = metrics.Judge.fit(data.train, data.labels)
    rows, drawn = {}, {}
    for name, (experiment, model, start, times) in walks.items():
        began = time.perf_counter()
        drawn[name] = x = walked(experiment, model, start, times)
        found = metrics.report(judge, x, data.held_out, data.train)
        keys = ("confident", "confident_real", "entropy", "frechet", "frechet_error", "frechet_floor", "copies")
        rows[name] = {key: found[key] for key in keys} | {
            "rms": float(x.square().mean().sqrt()),
            "moved": float((x - start).square().mean().sqrt()),
            "evaluations": 20 * (len(times) - 1) + 1,
            "seconds": time.perf_counter() - began,
        }
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in rows[name].items()), flush=True)
    (options.out / "ncsn_levels.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for k, x in enumerate(drawn.values()):
        plots.sheet(x[:32], options.out / f"walk{k}.png", columns=8)
    for name, experiment in experiments.items():
        norms = score_norms(models[name], data.held_out[:256], experiment.drawing.times[:-1])
        plots.save(norm_picture(norms, data.held_out[0].numel()), options.out / f"norms_{name}.png")


if __name__ == "__main__":
    main()
