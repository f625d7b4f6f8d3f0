"""Forward processes x_0 → x_t. One who writes ``scales(t) -> (α, σ)`` has written a noise."""

from .base import Gaussian, Noise
from .schedules import EDM, VE, VP, Cosine, Rectified, SubVP

__all__ = ["EDM", "VE", "VP", "Cosine", "Gaussian", "Noise", "Rectified", "SubVP"]
