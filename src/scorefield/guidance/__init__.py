"""Functions from denoisers to a denoiser."""

from .auto import Auto
from .classifier import Classifier, CrossEntropy, Encoder
from .compose import Given, Mixture, Product
from .covariances import Covariance, Dense, Isotropic, Krylov, RowSums
from .ddrm import DDRM
from .dps import DPS
from .free import Free
from .measurement import Measurement
from .metropolis import Metropolis
from .moments import MomentMatching
from .operators import Composed, Linear, Matrix, Operator, require_transpose
from .particles import Particles, twisted
from .pixels import Blur, Downsample, Mask
from .proximal import Proximal, Refresh
from .reconstruction import Guide, Reconstruction
from .replacement import Replacement
from .tilt import Tilt

__all__ = [
    "DDRM",
    "DPS",
    "Auto",
    "Blur",
    "Classifier",
    "Composed",
    "Covariance",
    "CrossEntropy",
    "Dense",
    "Downsample",
    "Encoder",
    "Free",
    "Given",
    "Guide",
    "Isotropic",
    "Krylov",
    "Linear",
    "Mask",
    "Matrix",
    "Measurement",
    "Metropolis",
    "Mixture",
    "MomentMatching",
    "Operator",
    "Particles",
    "Product",
    "Proximal",
    "Reconstruction",
    "Refresh",
    "Replacement",
    "RowSums",
    "Tilt",
    "require_transpose",
    "twisted",
]
