"""Where data can be, and the weights that vanish at its boundary."""

from .base import Domain, Real
from .boxes import Box, Intervals
from .convex import Ball, HalfSpace
from .curved import PositiveSphere, Simplex, Sphere
from .polygons import Outline, Polygon
from .product import Product
from .weights import Axes, Distance, Logarithm, Power, Unit, Weight

__all__ = [
    "Axes",
    "Ball",
    "Box",
    "Distance",
    "Domain",
    "HalfSpace",
    "Intervals",
    "Logarithm",
    "Outline",
    "Polygon",
    "PositiveSphere",
    "Power",
    "Product",
    "Real",
    "Simplex",
    "Sphere",
    "Unit",
    "Weight",
]
