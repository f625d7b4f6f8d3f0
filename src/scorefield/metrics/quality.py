"""How good generated images are, in one table, each number beside the one that real images get.

Fidelity by the confidence of a `Judge` trained apart, diversity by class entropy and coverage, both by the Fréchet
distance of its features, honesty by copies of training rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .coverage import coverage, entropy_ratio
from .frechet import frechet_distance
from .judge import Judge
from .memorization import copies


def report(
    judge: Judge,
    samples: Float[Tensor, "n *event"],
    real: Float[Tensor, "m *event"],
    train: Float[Tensor, "l *event"],
    *,
    confidence: float = 0.9,
) -> dict[str, float]:
    """The numbers that say how good samples are: plain floats under names that a table can print.

    ``real`` are held-out images, which neither the model nor the judge has seen; ``train`` those that the model learnt
    from. ``frechet_floor`` is the distance to ``real`` of as many random rows of ``train``, so that its bias is that of
    ``frechet``. Copies are sought in pixels, coverage in features. Confidence alone proves nothing: a classifier may be
    sure of images unlike any it has seen, which the Fréchet distance and the density notice.

    Raises: ShapeError, DataError for images that cannot be compared.
    """
    judge = judge.to(samples.device)
    drawn, kept = judge.features(samples), judge.features(real)
    p, p_real = judge.probabilities(samples), judge.probabilities(real)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(samples)].to(train.device)
    distance = frechet_distance(drawn, kept)
    floor = frechet_distance(judge.features(train[order]), kept)
    fill = coverage(drawn, kept)
    found = copies(samples, train, real)
    return {
        "confident": _above(p, confidence),
        "confident_real": _above(p_real, confidence),
        "entropy": entropy_ratio(p.argmax(1), judge.classes),
        "entropy_real": entropy_ratio(p_real.argmax(1), judge.classes),
        "frechet": distance.value,
        "frechet_error": distance.error,
        "frechet_floor": floor.value,
        "density": fill.density,
        "coverage": fill.coverage,
        "coverage_fresh": fill.expected,
        "copies": found.fraction,
        "copies_held_out": found.baseline,
        "copying_z": found.z,
    }


def _above(probabilities: Tensor, confidence: float) -> float:
    return float((probabilities.max(1).values > confidence).double().mean())
