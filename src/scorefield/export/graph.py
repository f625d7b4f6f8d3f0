"""Two graphs in ONNX: the denoiser, and the whole walk from normal draws to samples in the data's units.

    denoiser   x (batch, *event) float32, t (batch) float64, label (batch) int64   →   denoised (batch, *event)
    sampler    noise (batch, draws, *event) float32, label (batch) int64           →   samples (batch, *event)

The walk is a `Loop` around the one denoiser, driven by the matrix of `program`: weights and operations are stored once, however
many steps. t is float64, as everywhere in this library: near the noise end of a bounded schedule float32 would move σ/α. So are
the sums of the walk, which cost nothing beside the network; it alone computes in float32.
ONNX: https://onnx.ai/onnx/operators/ (Loop, ScatterND).
"""

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checkpoints import versions
from ..data import Scaling
from ..describe import describe
from ..errors import MissingPackageError, RangeError, ShapeError
from ..models import Denoiser
from .program import Program

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
OLDEST = 18
PREFIX = "scorefield."


def onnx() -> Any:
    """The module onnx. Raises: MissingPackageError if what exports is not installed."""
    try:
        found = [importlib.import_module(name) for name in ("onnx", "onnxruntime", "onnxscript")]
    except ImportError as error:
        raise MissingPackageError(f"export needs {error.name}: pip install 'scorefield[export]'.") from error
    return found[0]


def classes_of(model: nn.Module) -> int | None:
    """The number of labels that a model was trained on, where one of its parts tells; None else.

    >>> from scorefield.networks import UNet
    >>> classes_of(UNet(size=8, width=4, classes=10)), classes_of(UNet(size=8, width=4))
    (10, None)
    """
    known = [each for each in (getattr(part, "classes", None) for part in model.modules()) if isinstance(each, int)]
    return min(known, default=None)


def in_float32(model: nn.Module) -> nn.Module:
    """A copy on the CPU whose inside computes in float32 too, where `networks.precision` had chosen bfloat16.

    >>> from scorefield.networks import UNet
    >>> in_float32(UNet(size=8, width=4, compute=torch.bfloat16)).compute is None
    True
    """
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    part: Any
    for part in model.modules():
        if isinstance(getattr(part, "compute", None), torch.dtype):
            part.compute = None
    return model


def denoiser_graph(model: Denoiser, shape: tuple[int, ...], *, opset: int = OPSET) -> "ModelProto":
    """x̂(x, t, label) in float32 for batches of any size; ``label`` only where the model has classes, the last for "none".

    Its ``metadata_props`` tell noise, shape, classes, parameterisation and versions. Raises: RangeError for an opset older than 18
    or operations that ONNX lacks; ShapeError for a model that is no denoiser; MissingPackageError without onnx and onnxscript.
    """
    known = onnx()
    if not isinstance(model, Denoiser):
        raise ShapeError(f"export of {type(model).__name__}: a denoiser wanted; wrap the network in Preconditioned.")
    newest = known.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise RangeError(
            f"export(opset={opset}): operator sets {OLDEST} to {newest} can be written; {OPSET} suits most."
        )
    classes = classes_of(model)
    wrapped = _Labelled(in_float32(model)) if classes else _Plain(in_float32(model))
    batch = torch.export.Dim("batch", min=1)
    inputs = {"x": torch.zeros(3, *shape), "t": torch.full((3,), 0.5, dtype=torch.float64)}
    inputs |= {"label": torch.zeros(3, dtype=torch.int64)} if classes else {}
    try:
        with _quiet(), torch.no_grad():
            made: Any = torch.onnx.export(
                wrapped, tuple(inputs.values()), dynamo=True, optimize=True, verbose=False, opset_version=opset,
                input_names=list(inputs), output_names=["denoised"],
                dynamic_shapes={name: {0: batch} for name in inputs},
            )  # fmt: skip
    except Exception as error:
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise RangeError(f"export of {_names(model)}: it cannot be written as an ONNX graph: {reason[:300]}") from error
    graph = made.model_proto
    _strip(graph)
    if len(graph.graph.input) != len(inputs) or graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        raise RangeError(
            f"export of {_names(model)}: its graph fixes the size of the batch; write x.shape[0] in place of len(x) in forward."
        )
    tell(graph, {"kind": "denoiser", "shape": list(shape), "classes": classes, "noise": describe(model.noise),
                 "model": describe_or_name(model), "versions": versions()})  # fmt: skip
    known.checker.check_model(graph)
    return graph


def sampler_graph(denoiser: "ModelProto", walk: Program, scaling: Scaling) -> "ModelProto":
    """The whole walk as one graph: normal draws and labels in, samples in the units of the data out.

    ``noise`` is `draws(walk.draws, shape, seed, rows)` for the samples of a seed; ``denoiser`` is a `denoiser_graph`, quantised or not.
    """
    known = onnx()
    helper, numpy_helper = known.helper, known.numpy_helper
    about = told(denoiser)
    shape, classes = list(about["shape"]), about["classes"]
    calls, memory = walk.inputs.shape
    rank = len(shape) + 1
    kept = {
        "walk_inputs": walk.inputs, "walk_end": walk.end[None], "walk_times": walk.times,
        "walk_told": walk.told, "walk_draws": torch.tensor(walk.draws), "walk_calls": torch.tensor(calls),
        "walk_null": torch.tensor([classes or 0]), "walk_yes": torch.tensor(True), "walk_one": torch.tensor([1]),
        "walk_zero": torch.tensor([0]), "walk_two": torch.tensor([2]), "walk_rows": torch.tensor([memory, -1]),
        "walk_event": torch.tensor([-1, *shape]), "walk_index": torch.tensor([1, 1]), "walk_nothing": torch.zeros(1).double(),
        "walk_unheard": torch.tensor([calls]), "walk_shape": torch.tensor(shape),
        "walk_scale": _broadcast(scaling.scale, rank), "walk_shift": _broadcast(scaling.shift, rank),
    }  # fmt: skip
    node, kinds = helper.make_node, known.TensorProto
    label = [
        node("Gather", ["walk_told", "walk_k"], ["walk_tells"]),
        node("Where", ["walk_tells", "label", "walk_null"], ["walk_label"]),
    ]
    body = [
        node("Gather", ["walk_inputs", "walk_k"], ["walk_row"]),
        node("Unsqueeze", ["walk_row", "walk_zero"], ["walk_row2"]),
        node("Reshape", ["walk_memory", "walk_rows"], ["walk_flat"]),
        node("MatMul", ["walk_row2", "walk_flat"], ["walk_sum"]),
        node("Reshape", ["walk_sum", "walk_event"], ["walk_x"]),
        node("Cast", ["walk_x"], ["x"], to=kinds.FLOAT),
        node("Gather", ["walk_times", "walk_k"], ["walk_t"]),
        node("Expand", ["walk_t", "walk_batch"], ["t"]),
        *(label if classes else []),
        *_renamed(denoiser.graph.node, {"label": "walk_label"}),
        node("Cast", ["denoised"], ["walk_denoised"], to=kinds.DOUBLE),
        node("Unsqueeze", ["walk_denoised", "walk_zero"], ["walk_answer"]),
        node("Add", ["walk_k", "walk_draws"], ["walk_place"]),
        node("Reshape", ["walk_place", "walk_index"], ["walk_place2"]),
        node("ScatterND", ["walk_memory", "walk_place2", "walk_answer"], ["walk_next"]),
        node("Identity", ["walk_go"], ["walk_on"]),
    ]
    info = helper.make_tensor_value_info
    states = [info(name, kinds.DOUBLE, [memory, "batch", *shape]) for name in ("walk_memory", "walk_next")]
    loop = helper.make_graph(
        body, "step",
        [info("walk_k", kinds.INT64, []), info("walk_go", kinds.BOOL, []), states[0]],
        [info("walk_on", kinds.BOOL, []), states[1]],
        initializer=list(denoiser.graph.initializer),
    )  # fmt: skip
    nodes = [
        node("Shape", ["noise"], ["walk_sizes"]),
        node("Slice", ["walk_sizes", "walk_zero", "walk_one"], ["walk_batch"]),
        node("Concat", ["walk_unheard", "walk_batch", "walk_shape"], ["walk_empty"], axis=0),
        node("Expand", ["walk_nothing", "walk_empty"], ["walk_answers"]),
        node("Cast", ["noise"], ["walk_noise"], to=kinds.DOUBLE),
        node("Transpose", ["walk_noise"], ["walk_drawn"], perm=[1, 0, *range(2, rank + 1)]),
        node("Concat", ["walk_drawn", "walk_answers"], ["walk_start"], axis=0),
        node("Loop", ["walk_calls", "walk_yes", "walk_start"], ["walk_done"], body=loop),
        node("Reshape", ["walk_done", "walk_rows"], ["walk_last"]),
        node("MatMul", ["walk_end", "walk_last"], ["walk_total"]),
        node("Reshape", ["walk_total", "walk_event"], ["walk_model_units"]),
        node("Mul", ["walk_model_units", "walk_scale"], ["walk_scaled"]),
        node("Add", ["walk_scaled", "walk_shift"], ["walk_data_units"]),
        node("Cast", ["walk_data_units"], ["samples"], to=kinds.FLOAT),
    ]
    inputs = [info("noise", kinds.FLOAT, ["batch", walk.draws, *shape])]
    inputs += [info("label", kinds.INT64, ["batch"])] if classes else []
    graph = helper.make_graph(
        nodes, "sampler", inputs, [info("samples", kinds.FLOAT, ["batch", *shape])],
        initializer=[numpy_helper.from_array(value.numpy(), name) for name, value in kept.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=list(denoiser.opset_import), ir_version=denoiser.ir_version)
    made.functions.extend(denoiser.functions)
    tell(made, about | {"kind": "sampler", "draws": walk.draws, "calls": int(calls), "scaling": describe(scaling)})
    known.checker.check_model(made)
    return made


def tell(graph: "ModelProto", about: dict[str, Any]) -> None:
    """Facts into ``metadata_props``, each as JSON under ``scorefield.``; known ones are replaced."""
    kept = {each.key: each.value for each in graph.metadata_props}
    del graph.metadata_props[:]
    for key, value in (kept | {PREFIX + key: json.dumps(value) for key, value in about.items()}).items():
        graph.metadata_props.add(key=key, value=value)


def told(graph: "ModelProto") -> dict[str, Any]:
    """What `tell` wrote."""
    return facts_in({each.key: each.value for each in graph.metadata_props})


def facts_in(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The facts among a graph's metadata; what other programs wrote there is left alone.

    >>> facts_in({"scorefield.classes": "10", "onnx.infer": "onnxruntime.quant"})
    {'classes': 10}
    """
    return {key.removeprefix(PREFIX): json.loads(text) for key, text in metadata.items() if key.startswith(PREFIX)}


def describe_or_name(model: nn.Module) -> Any:
    """The description of a model, or the name of its class where it has none: the graph needs it for information only.

    >>> describe_or_name(nn.Identity())
    'Identity'
    """
    try:
        return describe(model)
    except RangeError:
        return type(model).__name__


class _Labelled(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x, t, label):
        return self.model(x, t, label=label)


class _Plain(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x, t):
        return self.model(x, t)


def _names(model: nn.Module) -> str:
    network = getattr(model, "network", None)
    return type(model).__name__ + ("" if network is None else f"({type(network).__name__})")


def _strip(graph: "ModelProto") -> None:
    """Leaves out where in the source each node came from: half of a small file, and paths of this machine."""
    graph.producer_name, graph.doc_string, graph.graph.doc_string = "scorefield", "", ""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for each in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        each.doc_string = ""
        del each.metadata_props[:]


def _renamed(nodes: Any, names: dict[str, str]) -> Iterator[Any]:
    for each in nodes:
        mine = type(each)()
        mine.CopyFrom(each)
        for k, name in enumerate(mine.input):
            mine.input[k] = names.get(name, name)
        yield mine


def _broadcast(numbers: Any, rank: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).reshape(*(1,) * (rank - 1), -1)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of torch's own future and of packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
