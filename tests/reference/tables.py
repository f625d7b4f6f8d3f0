"""The data beside this file, as float64 tensors."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def table(name, header=1):
    return torch.tensor(np.loadtxt(FOLDER / f"{name}.csv", delimiter=",", skiprows=header, ndmin=2))


def legendre(*edges, count=200):
    """Nodes (k, 1) and masses of Gauss–Legendre quadrature on consecutive intervals."""
    x, w = np.polynomial.legendre.leggauss(count)
    pairs = list(pairwise(edges))
    nodes = np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairs])
    masses = np.concatenate([(b - a) / 2 * w for a, b in pairs])
    return torch.tensor(nodes)[:, None], torch.tensor(masses)
