"""Functions from denoisers to a denoiser."""

from .auto import Auto
from .compose import Given, Mixture, Product
from .free import Free
from .metropolis import Metropolis
from .tilt import Tilt

__all__ = ["Auto", "Free", "Given", "Metropolis", "Mixture", "Product", "Tilt"]
