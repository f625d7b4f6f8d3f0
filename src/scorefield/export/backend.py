"""A graph as a model: ONNX Runtime computes, and the samplers, the server and the benchmarks see a `Denoiser`.

A session's answers are those of PyTorch within the error that was checked at export. `run` of a session may be called from
several threads at once; ``threads`` is how many one call uses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data import Scaling
from ..describe import build
from ..errors import DamagedError, MissingPackageError, RangeError, RunError, ShapeError
from ..models import Denoiser, Times, Values, require_labels
from .graph import facts_in
from .program import draws


class OnnxDenoiser(Denoiser):
    """x̂(x_t, t) by ONNX Runtime, from a file that `scorefield export` wrote: float32 or int8, a denoiser for any sampler.

    ``threads``: processor cores that one evaluation uses. It knows noise, event shape and labels from the file. No gradient.
    Raises: RunError for a file that is no exported denoiser; DamagedError for one that cannot be read; MissingPackageError.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        super().__init__()
        self.path, self.threads = Path(path), threads
        self.session, self.about = _opened(self.path, threads, "denoiser")
        self.noise = build(self.about["noise"])
        self.classes: int | None = self.about["classes"]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.about["shape"])

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        if tuple(xt.shape[1:]) != self.shape:
            raise ShapeError(
                f"OnnxDenoiser({self.path.name}): x of shape {tuple(xt.shape)}; (batch, *{self.shape}) wanted."
            )
        n = xt.shape[0]
        times = torch.as_tensor(t, dtype=torch.float64, device="cpu").expand(n)
        inputs = {"x": _array(xt, torch.float32), "t": _array(times, torch.float64)}
        if self.classes is not None:
            inputs["label"] = _labels(cond.get("label"), n, self.classes)
        elif "label" in cond:
            raise ShapeError(f"OnnxDenoiser({self.path.name}): a label was given; this model has none.")
        return torch.from_numpy(self.session.run(None, inputs)[0]).to(xt)


class OnnxSampler:
    """Samples in the data's units from one graph: sample i of a seed is that of ``scorefield sample``, within the checked error.

    Raises: RunError for a file that is no exported sampler; DamagedError for one that cannot be read; MissingPackageError.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        self.path, self.threads = Path(path), threads
        self.session, self.about = _opened(self.path, threads, "sampler")
        self.classes: int | None = self.about["classes"]
        self.scaling: Scaling = build(self.about["scaling"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of one sample."""
        return tuple(self.about["shape"])

    def __call__(
        self, rows: range, labels: Int[Tensor, "batch"] | None = None, *, seed: int = 0
    ) -> Float[Tensor, "batch *event"]:
        """Samples number ``rows`` of a seed. Raises: RangeError for no rows, missing labels, or labels that are none."""
        if len(rows) < 1:
            raise RangeError(f"OnnxSampler({self.path.name}): rows={rows} is empty; ask for one sample at least.")
        return self.run(draws(self.about["draws"], self.shape, seed, rows), labels)

    def run(
        self, noise: Float[Tensor, "batch draws *event"], labels: Int[Tensor, "batch"] | None = None
    ) -> Float[Tensor, "batch *event"]:
        """The samples that these normal draws lead to."""
        inputs = {"noise": _array(noise, torch.float32)}
        if self.classes is not None:
            inputs["label"] = _labels(labels, len(noise), self.classes)
        return torch.from_numpy(self.session.run(None, inputs)[0])


def about(path: str | Path) -> Mapping[str, Any]:
    """What an exported file says about itself: kind, run, shape, classes, noise, model, versions."""
    return _opened(Path(path), 1, None)[1]


def session(content: str | bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU of a file or of a model's bytes. Raises: MissingPackageError, RangeError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("ONNX graphs need onnxruntime: pip install 'scorefield[export]'.") from error
    if threads < 1:
        raise RangeError(f"OnnxDenoiser(threads={threads}): at least 1 thread.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _opened(path: Path, threads: int, kind: str | None) -> tuple[Any, dict[str, Any]]:
    if not path.is_file():
        raise RunError(f"{path}: no file of that name; write it with: scorefield export RUN.")
    try:
        made = session(str(path), threads)
        known = facts_in(made.get_modelmeta().custom_metadata_map)
    except (MissingPackageError, RangeError):
        raise
    except Exception as error:
        raise DamagedError(f"{path}: ONNX Runtime cannot read it: {str(error).splitlines()[0][:200]}") from error
    if "kind" not in known or kind not in (None, known["kind"]):
        raise RunError(f"{path}: this is no exported {kind} but {known.get('kind', 'a graph of other origin')}.")
    return made, known


def _array(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    return x.detach().to("cpu", dtype).contiguous().numpy()


def _labels(label: Any, n: int, classes: int) -> np.ndarray:
    if label is None:
        return np.full(n, classes, dtype=np.int64)
    label = torch.as_tensor(label)
    if bool(((label < 0) | (label > classes)).any()):
        require_labels(_Known(classes), label)
    return _array(label.expand(n), torch.int64)


class _Known(torch.nn.Module):
    """Something that knows its number of classes, as `require_labels` asks."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes
