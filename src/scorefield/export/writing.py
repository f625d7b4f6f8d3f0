"""From a model to files: two graphs, checked against it, with all that is known in their metadata."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
from torch import nn

from .. import files
from ..data import Scaling
from ..errors import RunError
from ..models import Denoiser
from ..recipes.drawing import Drawing
from .equal import TOLERANCE, Equality, require_equal
from .graph import OPSET, denoiser_graph, sampler_graph, tell
from .program import program

if TYPE_CHECKING:
    from onnx import ModelProto

DENOISER, SAMPLER = "denoiser.onnx", "sampler.onnx"


@dataclass(frozen=True)
class Written:
    """The files of an export, and how far their graphs are from PyTorch."""

    files: tuple[Path, ...]
    equality: Equality


def export(
    model: nn.Module,
    folder: str | Path,
    *,
    how: Drawing,
    shape: tuple[int, ...],
    scaling: Scaling | None = None,
    run: str = "",
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
) -> Written:
    """``denoiser.onnx`` and ``sampler.onnx`` in the folder, equal to the model within ``tolerance`` or not written.

    ``how`` is the run's way of drawing: sampler, times, guidance; ``scaling`` leads from the model's units to those of the samples.
    Raises: ExportError if a graph differs from the model; RangeError for a sampler or an operation that no graph has, or an opset
    too old; RunError for a model that is no denoiser; MissingPackageError without the packages of ``scorefield[export]``.
    """
    denoiser, sampler, equality = graphs(
        model, how=how, shape=shape, scaling=scaling, run=run, opset=opset, tolerance=tolerance
    )
    folder = Path(folder)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = folder / DENOISER, folder / SAMPLER, folder / "export.json"
    files.replace(written[0], denoiser.SerializeToString())
    files.replace(written[1], sampler.SerializeToString())
    files.replace(written[2], (json.dumps({"run": run, "equality": asdict(equality)}, indent=2) + "\n").encode())
    return Written(written, equality)


def graphs(
    model: nn.Module,
    *,
    how: Drawing,
    shape: tuple[int, ...],
    scaling: Scaling | None = None,
    run: str = "",
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
) -> tuple["ModelProto", "ModelProto", Equality]:
    """The two graphs and their differences from the model, in memory. Arguments and errors as `export`."""
    if not isinstance(model, Denoiser):
        raise RunError(
            f"export of {type(model).__name__}: it has no noise levels to walk down; a run of a denoiser wanted."
        )
    scaling = scaling or Scaling.identity()
    walk = program(model, how)
    denoiser = denoiser_graph(model, shape, opset=opset)
    tell(denoiser, {"run": run, "sha256": fingerprint(model)})
    sampler = sampler_graph(denoiser, walk, scaling)
    n = 16
    labels = how.labels(n) if how.classes is not None else None
    return denoiser, sampler, require_equal(model, walk, labels, scaling, denoiser, sampler, tolerance=tolerance, n=n)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights, names and shapes with them.

    >>> import torch
    >>> fingerprint(nn.Identity())[:8]
    '9bbcbf73'
    """
    state = {name: value.detach().cpu().contiguous() for name, value in sorted(model.state_dict().items())}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()
