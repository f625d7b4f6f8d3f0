"""Integers of eight bits in place of floats, layer by layer, as far as the denoising error allows.

    weights       w ≈ s_c q, one scale s_c an output channel, q in −127 … 127: in every convolution and linear layer
    activations   x ≈ s (q − z), fixed scale and zero from noisy data at every level of the walk: where it does little harm

Every layer is quantised alone first; its harm is max over levels of |x̂_int8 − x̂|² / |x̂ − x_0|². Layers are then taken in the
order of their harm, as many as keep that of all of them together below a bound; the others keep float activations. Jacob et
al. (2018), arXiv:1712.05877; one scale a channel: Krishnamoorthi (2018), arXiv:1806.08342.

ONNX Runtime's dynamic quantisation is not among the choices: it takes one scale from the whole batch, and then row i of an answer
depends on the other rows. That is the one thing no model of this library may do.
"""

import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import RangeError
from ..noises import Gaussian
from ..tensors import Streams, expand, normal
from .backend import session
from .graph import onnx
from .program import Program

if TYPE_CHECKING:
    from onnx import ModelProto

BOUND = 0.5
LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Noisy:
    """Rows of data at one noise level: x_t = α x_0 + σ z, with their labels if the model has some."""

    ratio: float
    t: float
    clean: Float[Tensor, "n *event"]
    x: Float[Tensor, "n *event"]
    label: Int[Tensor, "n"] | None

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What a denoiser's graph is given."""
        given = {"x": self.x.numpy(), "t": np.full(len(self.x), self.t)}
        return given if self.label is None else given | {"label": self.label.numpy()}


def noisy(
    walk: Program,
    noise: Gaussian,
    rows: Float[Tensor, "rows *event"],
    labels: Int[Tensor, "rows"] | None,
    *,
    n: int = 64,
    seed: int = 0,
) -> list[Noisy]:
    """n rows at each level of the walk, other rows at each, as far as there are: what the network sees when it draws.

    >>> from scorefield.noises import EDM
    >>> walk = Program(torch.eye(2).double(), torch.ones(2).double(), torch.tensor([1.0, 0.1]).double(), torch.ones(2).bool(), 1)
    >>> [round(level.ratio, 3) for level in noisy(walk, EDM(10.0), torch.zeros(5, 2), None, n=3)]
    [10.0, 1.0]
    """
    found = []
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    for k, t in enumerate(sorted(set(walk.times.tolist()), reverse=True)):
        chosen = order[(n * k + torch.arange(min(n, len(rows)))) % len(rows)]
        clean, at = rows[chosen].float(), torch.tensor(t, dtype=torch.float64)
        alpha, sigma = noise.scales(at)
        z = normal(clean, Streams(seed + 1 + k, chosen))
        x = expand(alpha, clean).float() * clean + expand(sigma, clean).float() * z
        found.append(Noisy(float(sigma / alpha), t, clean, x, None if labels is None else labels[chosen]))
    return found


@dataclass(frozen=True)
class Quantised:
    """The graph, which layers compute in integers, and which keep float activations beside int8 weights, most harmful first."""

    graph: "ModelProto"
    integer: tuple[str, ...]
    floating: tuple[str, ...]
    harm: dict[str, float]


class Quantiser:
    """A denoiser's graph and noisy rows; ``within(bound)`` is the graph whose int8 arithmetic adds at most so much to the error.

    Calibration and the harm of each layer alone are found once. Raises: RangeError for no data, or a graph without convolutions and
    linear layers with weights of their own. Use it as a context: it keeps files in a temporary folder.
    """

    def __init__(self, denoiser: "ModelProto", data: Sequence[Noisy]):
        self.denoiser, self.data = denoiser, list(data)
        names = _layers(denoiser)
        if not names or not data:
            raise RangeError(
                f"Quantiser({len(names)} layers, {len(self.data)} levels): a convolution or linear layer with weights of its own "
                "and one level of data wanted."
            )
        self._folder = tempfile.TemporaryDirectory()
        self._make = _Maker(denoiser, self.data, Path(self._folder.name))
        plain = session(denoiser.SerializeToString())
        self._answers = [plain.run(None, level.inputs)[0] for level in self.data]
        self._errors = [_mean(answer - level.clean.numpy()) for answer, level in zip(self._answers, self.data)]
        self.alone = {name: self.harm([name]) for name in names}

    def __enter__(self) -> "Quantiser":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def harm(self, layers: Sequence[str]) -> float:
        """max over levels of |x̂_int8 − x̂|² / |x̂ − x_0|² with int8 arithmetic in these layers."""
        made = session(self._make(layers).SerializeToString())
        found = [_mean(made.run(None, level.inputs)[0] - answer) for level, answer in zip(self.data, self._answers)]
        return max(added / max(error, 1e-12) for added, error in zip(found, self._errors))

    def within(self, bound: float = BOUND) -> Quantised:
        """int8 weights everywhere, and int8 arithmetic in the most layers that together do no more harm than ``bound``.

        ``bound`` is a part of the denoising error, at the level where it is largest; 0 leaves all activations in float.
        Raises: RangeError for a negative bound.
        """
        if not 0 <= bound < float("inf"):
            raise RangeError(f"Quantiser.within(bound={bound:g}): a part of the denoising error, 0 or more, wanted.")
        order = sorted(self.alone, key=lambda name: self.alone[name])
        low, high = 0, len(order)
        while low < high:  # the most layers that stay within the bound together
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.harm(order[:middle]) <= bound else (low, middle - 1)
        graph = _integer_weights(self._make(order[:low]))
        del graph.metadata_props[:]
        graph.metadata_props.extend(self.denoiser.metadata_props)
        onnx().checker.check_model(graph)
        return Quantised(graph, tuple(order[:low]), tuple(reversed(order[low:])), self.alone)


def quantised(denoiser: "ModelProto", data: Sequence[Noisy], *, bound: float = BOUND) -> Quantised:
    """One graph of `Quantiser`, for one bound; arguments and errors as there."""
    with Quantiser(denoiser, data) as chooser:
        return chooser.within(bound)


class _Maker:
    """The graph with some layers quantised; ranges of activations are found once."""

    def __init__(self, denoiser: "ModelProto", data: Sequence[Noisy], folder: Path):
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.data, self.folder = data, folder
        onnx().save(denoiser, folder / "float.onnx")
        quant_pre_process(str(folder / "float.onnx"), str(folder / "ready.onnx"), skip_symbolic_shape=True)

    def __call__(self, layers: Sequence[str]) -> "ModelProto":
        from onnxruntime import quantization as q

        cache, made = self.folder / "ranges.json", self.folder / "int8.onnx"
        if not layers:
            return onnx().load(self.folder / "ready.onnx")
        with redirect_stderr(StringIO()):
            q.quantize_static(
                str(self.folder / "ready.onnx"), str(made), None if cache.exists() else _reader(self.data),
                quant_format=q.QuantFormat.QDQ, per_channel=True, activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8, calibrate_method=q.CalibrationMethod.MinMax,
                nodes_to_quantize=list(layers), calibration_cache_path=cache,
            )  # fmt: skip
        return onnx().load(made)


def _reader(data: Sequence[Noisy]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([level.inputs for level in data])

        def get_next(self):
            return next(self.left, None)

    return Reader()


def _layers(graph: "ModelProto") -> list[str]:
    weights = {each.name for each in graph.graph.initializer}
    return [node.name for node in graph.graph.node if node.op_type in LAYERS and node.input[1] in weights]


def _integer_weights(graph: "ModelProto") -> "ModelProto":
    """int8 weights for the layers that are still float: cast and scaled when the graph is loaded, so that they cost no time."""
    known = onnx()
    held = {each.name: each for each in graph.graph.initializer}
    nodes: list[Any] = []
    for node in graph.graph.node:
        name = node.input[1] if node.op_type in LAYERS else ""
        weight = known.numpy_helper.to_array(held[name]) if name in held else np.zeros(0)
        if name not in held or weight.dtype != np.float32 or weight.ndim < 2:
            continue
        axis = _output_axis(node)
        others = tuple(k for k in range(weight.ndim) if k != axis)
        scale = np.maximum(np.abs(weight).max(others, keepdims=True), 1e-12) / 127
        integers = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
        graph.graph.initializer.remove(held.pop(name))
        for suffix, values in (("_int8", integers), ("_scale", scale.astype(np.float32))):
            graph.graph.initializer.append(known.numpy_helper.from_array(values, name + suffix))
        make = known.helper.make_node
        nodes += [
            make("Cast", [name + "_int8"], [name + "_whole"], to=known.TensorProto.FLOAT),
            make("Mul", [name + "_whole", name + "_scale"], [name]),
        ]
    nodes += list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def _output_axis(node: Any) -> int:
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if node.op_type == "Conv" or turned else -1


def _mean(x: np.ndarray) -> float:
    return float(np.square(x, dtype=np.float64).mean())
