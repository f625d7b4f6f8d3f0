"""Batches for ever, and where their rows come from: toys, digits, IDX, pictures, arrays, tables, Hugging Face."""

from .arrays import arrays
from .batches import Batches, batches
from .check import check
from .dataset import Dataset, prepare
from .digits import digits, digits8
from .huggingface import huggingface
from .idx import idx
from .images import images
from .open import open_data
from .scaling import Scaling
from .simulators import GaussianLinear, Simulator, TwoMoons
from .split import split
from .streaming import HubStream, hub_stream
from .table import table
from .toys import checkerboard, mixture, moons, rings, spirals

__all__ = [
    "Batches",
    "Dataset",
    "GaussianLinear",
    "HubStream",
    "Scaling",
    "Simulator",
    "TwoMoons",
    "arrays",
    "batches",
    "check",
    "checkerboard",
    "digits",
    "digits8",
    "hub_stream",
    "huggingface",
    "idx",
    "images",
    "mixture",
    "moons",
    "open_data",
    "prepare",
    "rings",
    "spirals",
    "split",
    "table",
]
