"""How probable: log p(x) with an error bar, a bound on it without derivatives, and bits per dimension of integers."""

from .bound import Bound, elbo
from .density import LogDensity
from .flow import log_density
from .integers import Bits, Dequantisation, Dequantised, Flat, Learned, bits_per_dim, cellwise

__all__ = [
    "Bits",
    "Bound",
    "Dequantisation",
    "Dequantised",
    "Flat",
    "Learned",
    "LogDensity",
    "bits_per_dim",
    "cellwise",
    "elbo",
    "log_density",
]
