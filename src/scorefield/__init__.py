"""scorefield: learn the score ∇log p from samples, and use it.

In the order of the story: where data come from and live, how noise takes them, what a network means, what it is trained on,
how its walks go, what it can tell, and the laws that all of it obeys.
"""

from . import (
    box,
    calculus,
    closed,
    data,
    discrete,
    distillation,
    domains,
    errors,
    exact,
    grids,
    guidance,
    inversion,
    laws,
    metrics,
    models,
    noises,
    objectives,
    posterior,
    samplers,
    spaces,
    tensors,
    training,
)
from .calculus import Difference, Exact, Hutchinson
from .checkpoints import load, save
from .likelihood import log_density
from .models import Denoiser, Energy, Preconditioned, Tangent
from .networks import MLP, DiT, UNet
from .noises import EDM, VE, VP, Cosine, Rectified, SubVP
from .objectives import AcrossNoise, Denoising, Diffusion, Implicit, Sliced
from .samplers import MALA, Ancestral, AnnealedLangevin, Heun, Langevin, Multistep, PredictorCorrector
from .sampling import sample, walk
from .spaces import Euclidean, Sphere, Torus
from .training import fit, train

__version__ = "0.1.0"

__all__ = [
    "EDM",
    "MALA",
    "MLP",
    "VE",
    "VP",
    "AcrossNoise",
    "Ancestral",
    "AnnealedLangevin",
    "Cosine",
    "Denoiser",
    "Denoising",
    "DiT",
    "Difference",
    "Diffusion",
    "Energy",
    "Euclidean",
    "Exact",
    "Heun",
    "Hutchinson",
    "Implicit",
    "Langevin",
    "Multistep",
    "Preconditioned",
    "PredictorCorrector",
    "Rectified",
    "Sliced",
    "Sphere",
    "SubVP",
    "Tangent",
    "Torus",
    "UNet",
    "box",
    "calculus",
    "closed",
    "data",
    "discrete",
    "distillation",
    "domains",
    "errors",
    "exact",
    "fit",
    "grids",
    "guidance",
    "inversion",
    "laws",
    "load",
    "log_density",
    "metrics",
    "models",
    "noises",
    "objectives",
    "posterior",
    "sample",
    "samplers",
    "save",
    "spaces",
    "tensors",
    "train",
    "training",
    "walk",
]


def __getattr__(name: str):
    """`scorefield.estimators` when it is first asked for: it needs scikit-learn, which is neither light nor always there."""
    if name == "estimators":
        from importlib import import_module

        return import_module(".estimators", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
