"""Discrete data: unnormalised models of states 0 … q − 1 at every site, fitted without their normalising constant.

The score of discrete data is the vector of log-ratios log p(y) − log p(x) to the neighbours y of x, those that differ from it
at one site. It needs no normaliser; conditionals, Gibbs walks and most objectives are functions of it.
"""

from .contrast import ConditionalContrast, Contrast, Independent, Normalised
from .enumerate import Likelihood, draw, log_normaliser, states
from .fitting import fit
from .gibbs import Gibbs, sample
from .models import Discrete, Ising, Potts
from .ratios import Flow, PseudoLikelihood, RatioMatching

__all__ = [
    "ConditionalContrast",
    "Contrast",
    "Discrete",
    "Flow",
    "Gibbs",
    "Independent",
    "Ising",
    "Likelihood",
    "Normalised",
    "Potts",
    "PseudoLikelihood",
    "RatioMatching",
    "draw",
    "fit",
    "log_normaliser",
    "sample",
    "states",
]
