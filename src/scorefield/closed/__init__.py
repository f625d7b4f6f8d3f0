"""Scores without gradient descent: exponential families with standard errors."""

from .asymptotic import asymptotic
from .base import Shrunk
from .compositional import Dirichlet, PolynomialTilt
from .directional import Bingham, Concentration, FisherBingham, VonMisesFisher, hybrid
from .family import Exponential, Family, LogDensity
from .features import Fourier, Nystrom, evenly, leverage, pivoted
from .fields import CurlFree, Diagonal
from .fitted import Fitted
from .inference import Estimates, Inference
from .kernel import KernelField, KernelScore, choose, widths
from .kernel_family import Choice, KernelDensity, KernelExponentialFamily
from .kernels import IMQ, RBF, Kernel, Matern, median_width
from .matching import fit
from .moments import Moments, Stream
from .normal import Normal
from .pairwise import Pairwise
from .rows import Problem, along
from .spectral import CutOff, Landweber, NuMethod, Tikhonov

__all__ = [
    "IMQ",
    "RBF",
    "Bingham",
    "Choice",
    "Concentration",
    "CurlFree",
    "CutOff",
    "Diagonal",
    "Dirichlet",
    "Estimates",
    "Exponential",
    "Family",
    "FisherBingham",
    "Fitted",
    "Fourier",
    "Inference",
    "Kernel",
    "KernelDensity",
    "KernelExponentialFamily",
    "KernelField",
    "KernelScore",
    "Landweber",
    "LogDensity",
    "Matern",
    "Moments",
    "Normal",
    "NuMethod",
    "Nystrom",
    "Pairwise",
    "PolynomialTilt",
    "Problem",
    "Shrunk",
    "Stream",
    "Tikhonov",
    "VonMisesFisher",
    "along",
    "asymptotic",
    "choose",
    "evenly",
    "fit",
    "hybrid",
    "leverage",
    "median_width",
    "pivoted",
    "widths",
]
