"""What a trained model learnt, level by level, and whether its samples are its training rows.

L_j = E ½|ε̂ − z|² at level j   against the zero score's   ½ E|z|²        `training.HeldOut`
r(x) = distance to the nearest training row / mean distance to the k nearest   `metrics.copies`
"""

import math

from jaxtyping import Float
from torch import Tensor

from ..metrics import copies
from ..models import Denoiser
from ..objectives import Diffusion
from ..training import HeldOut
from .finding import Finding, Verdict

Values = Float[Tensor, "rows *event"]


def better_than_zero(model: Denoiser, held_out: Values, *, tolerance: float = 0.01) -> Finding:
    """L_j < L_j(zero score) on rows never trained on, at every noise level; the levels where it fails are named.

    BAD where the loss exceeds the zero score's by more than ``tolerance`` of it; LOOK where it lies within, which is
    natural at levels far below the detail of the data. Raises: DataError for fewer than two rows.

    >>> import torch
    >>> from scorefield.exact import Gaussian
    >>> from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(9.0))
    >>> better_than_zero(known, torch.randn(64, 2, generator=torch.Generator().manual_seed(0))).verdict.value
    'look'
    """
    measured = HeldOut(held_out, Diffusion())(model)
    ratios = {level: loss / measured.zero[level] for level, loss in measured.levels.items()}
    numbers = {f"at {level:.2g}": ratio for level, ratio in ratios.items()}
    worse = [f"{level:.2g}" for level, ratio in ratios.items() if ratio > 1 + tolerance]
    equal = [f"{level:.2g}" for level, ratio in ratios.items() if 1 - tolerance <= ratio <= 1 + tolerance]
    what = "held-out loss"
    if worse:
        words = f"At noise level {', '.join(worse)} the model is worse than a score of zero: train it there, or longer."
        return Finding(what, Verdict.BAD, numbers, words)
    if equal:
        words = f"At noise level {', '.join(equal)} the model is no better than a score of zero; below the detail of "
        return Finding(what, Verdict.LOOK, numbers, words + "the data nothing can be learnt, elsewhere train longer.")
    return Finding(what, Verdict.GOOD, numbers, "The model beats a score of zero at every noise level.")


def copied(
    samples: Float[Tensor, "n *event"],
    train: Float[Tensor, "m *event"],
    held_out: Float[Tensor, "l *event"],
    *,
    neighbours: int = 50,
) -> Finding:
    """Are samples closer to training rows than new data are? `metrics.copies` as a finding.

    BAD if the fraction of copies exceeds that of held-out rows by three standard errors and one percent; LOOK if the
    ranks of nearest distances say so (z < −3). ``neighbours`` is lowered to the rows there are. Raises: as `copies`.

    >>> import torch
    >>> train = torch.arange(20.0)[:, None]
    >>> copied(train + 0.01, train, train + 0.5, neighbours=3).verdict
    <Verdict.BAD: 'bad'>
    """
    found = copies(samples, train, held_out, neighbours=min(neighbours, len(train)))
    pooled = (found.fraction * len(samples) + found.baseline * len(held_out)) / (len(samples) + len(held_out))
    error = math.sqrt(pooled * (1 - pooled) * (1 / len(samples) + 1 / len(held_out)))
    numbers = {"copies": found.fraction, "held-out rows": found.baseline, "standard error": error, "z": found.z}
    excess = found.fraction - found.baseline
    if excess > 3 * error and excess > 0.01:
        words = f"{found.fraction:.1%} of the samples copy a training row: train shorter, or on more data."
        return Finding("copies", Verdict.BAD, numbers, words)
    if found.z < -3:
        words = "Samples lie closer to the training rows than new data do: watch for copies, or stop training earlier."
        return Finding("copies", Verdict.LOOK, numbers, words)
    return Finding("copies", Verdict.GOOD, numbers, "Samples are no closer to training rows than new data are.")
