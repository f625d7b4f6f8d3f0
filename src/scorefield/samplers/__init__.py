"""Walks from noise to data: one file an idea, one ``step`` a sampler."""

from .base import Past, Sampler, State
from .flow import Ancestral, Heun, Multistep
from .langevin import MALA, AnnealedLangevin, Langevin, PredictorCorrector, Underdamped
from .reverse import Churn, EulerMaruyama

__all__ = [
    "MALA",
    "Ancestral",
    "AnnealedLangevin",
    "Churn",
    "EulerMaruyama",
    "Heun",
    "Langevin",
    "Multistep",
    "Past",
    "PredictorCorrector",
    "Sampler",
    "State",
    "Underdamped",
]
