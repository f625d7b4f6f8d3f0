"""Pictures of scores, walks, images and losses: each function returns a figure, and `save` writes it."""

from .arrows import arrows
from .calibrated import calibrated
from .curves import compare, levels, losses
from .fields import around, embedding, field, scatter
from .images import grid, mosaic, sheet, walk
from .intervals import intervals
from .misfit import misfit
from .network import network
from .style import save

__all__ = [
    "around",
    "arrows",
    "calibrated",
    "compare",
    "embedding",
    "field",
    "grid",
    "intervals",
    "levels",
    "losses",
    "misfit",
    "mosaic",
    "network",
    "save",
    "scatter",
    "sheet",
    "walk",
]
