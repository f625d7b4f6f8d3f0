"""Fidelity and diversity from balls around rows: B(x_i) reaches from x_i to its k-th nearest other row.

    density  = (1/kM) Σ_j Σ_i 1[y_j ∈ B(x_i)]        coverage = (1/N) Σ_i 1[∃ j: y_j ∈ B(x_i)]

for N real rows x and M samples y. Density is 1 and coverage 1 − Π_{j<k} (N − 1 − j)/(N − 1 + M − j) when both come from
one distribution, whatever it is. A coverage that falls short of this tells of dropped modes.

Naeem, Oh, Uh, Choi and Yoo (2020), arXiv:2002.09797, eqs. 3–4 and lemma 2.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import RangeError
from .pairs import nearest_others, rows, squared_distances


@dataclass(frozen=True)
class Coverage:
    """How well samples fill the data: density (1 is ideal), coverage, and the coverage that fresh data would have.

    >>> print(Coverage(density=0.98, coverage=0.93, expected=0.97))
    density 0.98, coverage 0.93 (fresh data 0.97)
    """

    density: float
    coverage: float
    expected: float

    def __str__(self) -> str:
        return f"density {self.density:.2f}, coverage {self.coverage:.2f} (fresh data {self.expected:.2f})"


def coverage(samples: Float[Tensor, "m *event"], real: Float[Tensor, "n *event"], *, neighbours: int = 5) -> Coverage:
    """density = (1/kM) Σ_ij 1[y_j ∈ B(x_i)] and coverage = (1/N) Σ_i 1[∃ j: y_j ∈ B(x_i)], balls of the k-th neighbour.

    Use it on features for images. Naeem et al. (2020), eqs. 3–4. Not symmetric: the balls are around ``real``.

    Raises: ShapeError, DataError for samples that cannot be compared; RangeError unless 1 ≤ neighbours < n.

    >>> real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> coverage(torch.tensor([[0.5], [0.6]]), real, neighbours=1).coverage
    0.5
    """
    samples, real = rows(samples, real)
    radius = nearest_others(real, neighbours)[0][:, -1]
    inside = torch.cat(
        [(block <= radius[part, None].square()).sum(1) for part, block in squared_distances(real, samples)]
    )
    return Coverage(
        density=float(inside.sum()) / (neighbours * len(samples)),
        coverage=float((inside > 0).double().mean()),
        expected=expected_coverage(len(samples), len(real), neighbours),
    )


def expected_coverage(samples: int, real: int, neighbours: int) -> float:
    """1 − Π_{j<k} (N − 1 − j)/(N − 1 + M − j), the coverage of N rows by M more of the same continuous distribution.

    It is the probability that the k rows nearest to a real one are not all real. Naeem et al. (2020), lemma 2.

    >>> expected_coverage(1, 2, 1)
    0.5
    """
    if not 1 <= neighbours < real:
        raise RangeError(
            f"expected_coverage(neighbours={neighbours}) of {real} rows: must lie between 1 and {real - 1}."
        )
    return 1 - math.prod((real - 1 - j) / (real - 1 + samples - j) for j in range(neighbours))


def entropy(labels: Int[Tensor, "n"], classes: int) -> float:
    """−Σ_c p_c log p_c in nats of the frequencies of the labels 0 … classes − 1; at most log(classes).

    Use it for dropped classes. From n labels it is too small by about (classes − 1)/2n nats (Miller 1955).

    Raises: RangeError for a label outside 0 … classes − 1, or fewer than two classes, or no labels.

    >>> round(entropy(torch.tensor([0, 1, 0, 1]), 2), 6) == round(math.log(2), 6)
    True
    """
    if classes < 2 or len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise RangeError(f"entropy of {len(labels)} labels in {classes} classes: need labels from 0 to classes − 1.")
    p = torch.bincount(labels, minlength=classes).double() / len(labels)
    return float(-torch.special.xlogy(p, p).sum()) + 0.0


def entropy_ratio(labels: Int[Tensor, "n"], classes: int) -> float:
    """entropy / log(classes): 1 if every class is as frequent, 0 if there is one class alone.

    >>> entropy_ratio(torch.tensor([2, 2]), 3)
    0.0
    """
    return entropy(labels, classes) / math.log(classes)
