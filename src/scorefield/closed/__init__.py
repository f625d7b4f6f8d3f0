"""Scores without gradient descent: exponential families with standard errors."""

from .asymptotic import asymptotic
from .compositional import Dirichlet, PolynomialTilt
from .directional import Bingham, Concentration, FisherBingham, VonMisesFisher, hybrid
from .family import Exponential, Family, LogDensity
from .fitted import Fitted
from .inference import Estimates, Inference
from .matching import fit
from .moments import Moments, Stream
from .normal import Normal
from .pairwise import Pairwise
from .rows import Problem, along

__all__ = [
    "Bingham",
    "Concentration",
    "Dirichlet",
    "Estimates",
    "Exponential",
    "Family",
    "FisherBingham",
    "Fitted",
    "Inference",
    "LogDensity",
    "Moments",
    "Normal",
    "Pairwise",
    "PolynomialTilt",
    "Problem",
    "Stream",
    "VonMisesFisher",
    "along",
    "asymptotic",
    "fit",
    "hybrid",
]
