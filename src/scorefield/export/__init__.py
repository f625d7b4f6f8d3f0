"""Trained models elsewhere: ONNX graphs of the denoiser and of the whole walk, and what computes them."""

from .backend import OnnxDenoiser, OnnxSampler, about
from .compact import Compact, compact
from .equal import Equality, require_equal
from .folders import to_diffusers, to_pt
from .foreign import Azula, DiffusersUNet, Stepped, Tabulated, flow, turned
from .graph import denoiser_graph, sampler_graph
from .importing import Imported, from_diffusers
from .int8 import Noisy, Quantised, Quantiser, noisy, quantised
from .program import Program, draws, program
from .quality import Quality, compared, drawn_distance, plain_distance
from .timing import Timing, timed
from .writing import Written, export, graphs

__all__ = [
    "Azula",
    "Compact",
    "DiffusersUNet",
    "Equality",
    "Imported",
    "Noisy",
    "OnnxDenoiser",
    "OnnxSampler",
    "Program",
    "Quality",
    "Quantised",
    "Quantiser",
    "Stepped",
    "Tabulated",
    "Timing",
    "Written",
    "about",
    "compact",
    "compared",
    "denoiser_graph",
    "drawn_distance",
    "draws",
    "export",
    "flow",
    "from_diffusers",
    "graphs",
    "noisy",
    "plain_distance",
    "program",
    "quantised",
    "require_equal",
    "sampler_graph",
    "timed",
    "to_diffusers",
    "to_pt",
    "turned",
]
