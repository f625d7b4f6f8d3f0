"""Walks from noise to data: one file an idea, one ``step`` a sampler."""

from .base import Past, Sampler, State
from .default import default
from .flow import Ancestral, Heun, Midpoint
from .langevin import MALA, AnnealedLangevin, Langevin, PredictorCorrector, Underdamped
from .multistep import Corrected, Multistep
from .reverse import Churn, EulerMaruyama
from .runge import Adaptive

__all__ = [
    "MALA",
    "Adaptive",
    "Ancestral",
    "AnnealedLangevin",
    "Churn",
    "Corrected",
    "EulerMaruyama",
    "Heun",
    "Langevin",
    "Midpoint",
    "Multistep",
    "Past",
    "PredictorCorrector",
    "Sampler",
    "State",
    "Underdamped",
    "default",
]
