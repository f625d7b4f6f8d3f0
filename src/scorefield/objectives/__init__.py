"""(model, x, generator) -> one loss per example, in nats."""

from . import weights
from .base import Objective
from .noisy import AcrossNoise, Diffusion, Dropout
from .static import Denoising, Implicit, Sliced
from .times import EvenLevels, Importance, Levels, LogNormal, Times, Uniform

__all__ = [
    "AcrossNoise",
    "Denoising",
    "Diffusion",
    "Dropout",
    "EvenLevels",
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
