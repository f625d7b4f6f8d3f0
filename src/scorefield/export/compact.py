"""``scorefield export RUN --to int8``: quantise, compare, and write only what is still fine."""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .. import files, plots
from ..data import Dataset
from ..recipes.drawing import Drawing
from ..recipes.fidelity import fidelity
from .equal import Equality
from .graph import OPSET, classes_of, sampler_graph, tell
from .int8 import BOUND, Quantised, noisy, quantised
from .program import program
from .quality import RATIO, WORST, Quality, compared, plain_distance
from .writing import graphs

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
    bound: float = BOUND,
    ratio: float = RATIO,
    opset: int = OPSET,
    seed: int = 0,
) -> Compact:
    """``denoiser-int8.onnx`` and ``sampler-int8.onnx``, with ``int8.json`` and ``int8.png`` that compare them with float32.

    Calibrated and chosen on training rows at the noise levels of the walk, compared on held-out rows. ``bound`` is the part that
    int8 arithmetic may add to the denoising error, ``ratio`` the largest ratio of Fréchet distances that counts as fine.
    Raises: ExportError if quantisation ruins the model: then only the report is written; and as `export`.
    """
    denoiser, sampler, equality = graphs(model, how=how, shape=data.shape, scaling=data.scaling, run=run, opset=opset)
    walk = program(model, how)  # type: ignore[arg-type]
    labelled = classes_of(model) is not None
    rows = noisy(walk, model.noise, data.train, data.labels if labelled else None, seed=seed)  # type: ignore[arg-type]
    chosen = quantised(denoiser, rows, bound=bound)
    held = data.held_out_labels if labelled else None
    test = noisy(walk, model.noise, data.held_out, held, n=128, seed=seed + 1)  # type: ignore[arg-type]
    distance = plain_distance(data.held_out) if data.labels is None else fidelity(data, count=samples)
    tell(chosen.graph, {"integer": list(chosen.integer), "floating": list(chosen.floating)})
    small = chosen.graph, sampler_graph(chosen.graph, walk, data.scaling)
    labels = how.labels(samples, seed)
    quality = compared(
        (denoiser, sampler), small, test, distance, labels, data.scaling, bound=ratio,
        error_bound=max(WORST, 1 + 2 * bound), seed=seed,
    )  # fmt: skip
    folder = Path(folder)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run, "integer": chosen.integer, "floating": chosen.floating, "harm": chosen.harm}
    report = folder / "int8.json"
    files.replace(report, (json.dumps(about | quality.plain(), indent=2) + "\n").encode())
    picture = plots.save(quality.picture(), folder / "int8.png")
    quality.require_fine()
    files.replace(folder / DENOISER, small[0].SerializeToString())
    files.replace(folder / SAMPLER, small[1].SerializeToString())
    return Compact((folder / DENOISER, folder / SAMPLER, report, picture), quality, chosen, equality)
