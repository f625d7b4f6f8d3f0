"""Scores without gradient descent: exponential families with standard errors."""

from .asymptotic import asymptotic
from .base import Shrunk
from .causal import CausalGraph, causal_graph
from .compositional import Dirichlet, PolynomialTilt
from .directional import Bingham, FisherBingham, VonMisesFisher
from .family import Exponential, Family, LogDensity
from .features import Fourier, Nystrom, evenly, leverage, pivoted
from .fields import CurlFree, Diagonal
from .fitted import Fitted
from .graph import Graph
from .inference import Estimates, Inference
from .kernel import KernelField, KernelScore, choose, widths
from .kernel_family import Choice, KernelDensity, KernelExponentialFamily
from .kernels import IMQ, RBF, Kernel, Matern, median_width
from .matching import fit
from .moments import Moments, Stream
from .normal import Independent, Normal
from .ordering import causal_order, curvatures
from .oriented import AxialBingham, AxialFisherBingham, Concentration, Kent, hybrid
from .pairwise import Pairwise
from .path import GraphPath, graph_path
from .robust import windham
from .rows import Problem, along
from .selection import CrossValidated, Stability, cross_validate, stability
from .spectral import CutOff, Landweber, NuMethod, Tikhonov

__all__ = [
    "IMQ",
    "RBF",
    "AxialBingham",
    "AxialFisherBingham",
    "Bingham",
    "CausalGraph",
    "Choice",
    "Concentration",
    "CrossValidated",
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
    "Graph",
    "GraphPath",
    "Independent",
    "Inference",
    "Kent",
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
    "Stability",
    "Stream",
    "Tikhonov",
    "VonMisesFisher",
    "along",
    "asymptotic",
    "causal_graph",
    "causal_order",
    "choose",
    "cross_validate",
    "curvatures",
    "evenly",
    "fit",
    "graph_path",
    "hybrid",
    "leverage",
    "median_width",
    "pivoted",
    "stability",
    "widths",
    "windham",
]
