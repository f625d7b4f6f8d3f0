"""Where data live: ``project``, ``tangent``, ``exp``, ``log`` and a reference distribution."""

from .base import Space
from .euclidean import Euclidean
from .sphere import Sphere
from .torus import Torus

__all__ = ["Euclidean", "Space", "Sphere", "Torus"]
