"""Trained models elsewhere: ONNX graphs of the denoiser and of the whole walk, and what computes them."""

from .backend import OnnxDenoiser, OnnxSampler, about
from .equal import Equality, require_equal
from .graph import denoiser_graph, sampler_graph
from .program import Program, draws, program
from .writing import Written, export, graphs

__all__ = [
    "Equality",
    "OnnxDenoiser",
    "OnnxSampler",
    "Program",
    "Written",
    "about",
    "denoiser_graph",
    "draws",
    "export",
    "graphs",
    "program",
    "require_equal",
    "sampler_graph",
]
