"""How near drawn images are to real ones, whatever drew them: a network, its quantised copy, an endpoint.

    judge = fidelity(open_data("digits"));    judge(samples)  ->  Fréchet distance ± error (real: the floor)

One classifier is trained on the training rows, once, and its features serve every comparison: the figures of samplers and
backends judged by the same call stand side by side. Heusel et al. (2017), eq. 6, arXiv:1706.08500.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import Dataset
from ..errors import DataError
from ..metrics import Judge, frechet_distance
from .measure import Measure


def fidelity(
    data: Dataset, *, count: int = 2000, judge_steps: int = 600, seed: int = 0
) -> Callable[[Float[Tensor, "n channels height width"]], Measure]:
    """Samples in the model's units -> their Fréchet distance to the held-out images, beside that of ``count`` training images.

    Draw ``count`` samples: the distance has a bias that falls with their number, and the reference shares it. Training the judge
    takes about ten seconds for 600 steps. Raises: DataError for data without labels, or none held out.

    >>> from scorefield.data import open_data
    >>> rows = open_data("digits8")
    >>> judged = fidelity(rows, count=300, judge_steps=20)
    >>> judged(rows.train[:300]).value < judged(rows.train[:300] * 0.5).value
    True
    """
    if data.labels is None or len(data.held_out) < 4:
        raise DataError(f"fidelity({data}): wanted labelled images, for a judge to learn from, and some held out.")
    classes = int(data.labels.max()) + 1
    judge = Judge.fit(data.train, data.labels, classes=classes, steps=judge_steps, seed=seed)
    real = judge.features(data.held_out)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:count]
    floor = frechet_distance(judge.features(data.train[order]), real).value

    def distance(samples: Float[Tensor, "n channels height width"]) -> Measure:
        found = frechet_distance(judge.features(samples), real)
        return Measure(found.value, found.error, floor, "Fréchet distance to held-out images")

    return distance
