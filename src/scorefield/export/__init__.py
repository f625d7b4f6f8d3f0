"""Trained models elsewhere: ONNX graphs of the denoiser and of the whole walk, and what computes them."""

from .backend import OnnxDenoiser, OnnxSampler, about
from .compact import Compact, compact
from .equal import Equality, require_equal
from .graph import denoiser_graph, sampler_graph
from .int8 import Noisy, Quantised, noisy, quantised
from .program import Program, draws, program
from .quality import Quality, compared, plain_distance
from .timing import Timing, timed
from .writing import Written, export, graphs

__all__ = [
    "Compact",
    "Equality",
    "Noisy",
    "OnnxDenoiser",
    "OnnxSampler",
    "Program",
    "Quality",
    "Quantised",
    "Timing",
    "Written",
    "about",
    "compact",
    "compared",
    "denoiser_graph",
    "draws",
    "export",
    "graphs",
    "noisy",
    "plain_distance",
    "program",
    "quantised",
    "require_equal",
    "sampler_graph",
    "timed",
]
