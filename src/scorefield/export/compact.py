"""``scorefield export RUN --to int8``: quantise, compare, and write only what is still fine."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from .. import files, plots
from ..data import Dataset
from ..recipes.drawing import Drawing
from ..recipes.fidelity import fidelity
from .equal import Equality
from .graph import OPSET, classes_of, sampler_graph, tell
from .int8 import BOUND, Quantised, Quantiser, noisy
from .program import program
from .quality import RATIO, WORST, Quality, compared, drawn_distance, plain_distance
from .writing import graphs

LADDER = (BOUND, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
DENOISER, SAMPLER = "denoiser-int8.onnx", "sampler-int8.onnx"


@dataclass(frozen=True)
class Compact:
    """The files that were written, what int8 costs and saves, and which layers it is in."""

    files: tuple[Path, ...]
    quality: Quality
    chosen: Quantised
    equality: Equality


def compact(
    model: nn.Module,
    folder: str | Path,
    *,
    how: Drawing,
    data: Dataset,
    run: str = "",
    samples: int = 2000,
    bound: float | None = None,
    ratio: float = RATIO,
    opset: int = OPSET,
    seed: int = 0,
) -> Compact:
    """``denoiser-int8.onnx`` and ``sampler-int8.onnx``, with ``int8.json`` and ``int8.png`` that compare them with float32.

    Calibrated and chosen on training rows at the noise levels of the walk, compared on held-out rows. ``bound`` is the part that
    int8 arithmetic may add to the denoising error; None takes the first of `LADDER` whose samples are fine, down to 0, float
    arithmetic with int8 weights. ``ratio`` is the largest ratio of Fréchet distances that counts as fine.
    Raises: ExportError if quantisation ruins the model: then only the report is written; and as `export`.
    """
    denoiser, sampler, equality = graphs(model, how=how, shape=data.shape, scaling=data.scaling, run=run, opset=opset)
    walk = program(model, how)  # type: ignore[arg-type]
    labelled = classes_of(model) is not None
    rows = noisy(walk, model.noise, data.train, data.labels if labelled else None, seed=seed)  # type: ignore[arg-type]
    held = data.held_out_labels if labelled else None
    test = noisy(walk, model.noise, data.held_out, held, n=128, seed=seed + 1)  # type: ignore[arg-type]
    distance = plain_distance(data.held_out) if data.labels is None else fidelity(data, count=samples)
    judged = partial(
        drawn_distance, distance=distance, labels=how.labels(samples, seed), scaling=data.scaling, seed=seed
    )
    before = judged(sampler)
    with Quantiser(denoiser, rows) as chooser:
        for most in LADDER if bound is None else (bound,):
            chosen = chooser.within(most)
            tell(chosen.graph, {"integer": list(chosen.integer), "floating": list(chosen.floating)})
            small = chosen.graph, sampler_graph(chosen.graph, walk, data.scaling)
            after = judged(small[1])
            if after.value <= ratio * before.value:
                break
    quality = compared(
        (denoiser, sampler), small, test, (before, after), samples=samples, bound=ratio,
        error_bound=max(WORST, 1 + 2 * most),
    )  # fmt: skip
    folder = Path(folder)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run, "added": most, "integer": chosen.integer, "floating": chosen.floating, "harm": chosen.harm}
    report = folder / "int8.json"
    files.replace(report, (json.dumps(about | quality.plain(), indent=2) + "\n").encode())
    picture = plots.save(quality.picture(), folder / "int8.png")
    quality.require_fine()
    files.replace(folder / DENOISER, small[0].SerializeToString())
    files.replace(folder / SAMPLER, small[1].SerializeToString())
    return Compact((folder / DENOISER, folder / SAMPLER, report, picture), quality, chosen, equality)
