"""(model, x, generator) -> one loss per example, in nats."""

from . import weights
from .base import Objective
from .noisy import AcrossNoise, Diffusion
from .static import Denoising, Implicit, Sliced
from .times import Importance, Levels, LogNormal, Times, Uniform

__all__ = [
    "AcrossNoise",
    "Denoising",
    "Diffusion",
    "Implicit",
    "Importance",
    "Levels",
    "LogNormal",
    "Objective",
    "Sliced",
    "Times",
    "Uniform",
    "weights",
]
