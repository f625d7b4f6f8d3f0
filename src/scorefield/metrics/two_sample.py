"""The classifier two-sample test: if p = q, no classifier is right about unseen rows more than half the time.

The number right among N balanced held-out rows is then Binomial(N, ½). Lopez-Paz and Oquab (2017), arXiv:1610.06545,
section 3. Over the folds of a cross-validation the rows are not quite independent; permuted labels give an exact level.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import MissingPackageError, RangeError
from .pairs import rows


@runtime_checkable
class Classifier(Protocol):
    """What the test asks of a classifier: ``fit(x, labels)`` and ``predict(x)``, as all of scikit-learn's have."""

    def fit(self, x: Any, labels: Any) -> Any:
        """Learn to tell labels from x."""

    def predict(self, x: Any) -> Any:
        """One label per row of x."""


@dataclass(frozen=True)
class TwoSample:
    """The held-out accuracy â ± √(â(1 − â)/N), ½ if p = q, and the probability of one as high by chance.

    >>> print(TwoSample(accuracy=0.52, error=0.01, p_value=0.02))
    accuracy 0.520 ± 0.010 (p = 0.02)
    """

    accuracy: float
    error: float
    p_value: float

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.3f} ± {self.error:.3f} (p = {self.p_value:.2g})"


def two_sample(
    x: Float[Tensor, "n *event"],
    y: Float[Tensor, "m *event"],
    *,
    classifier: Classifier | None = None,
    folds: int = 5,
    permutations: int = 0,
    seed: int = 0,
) -> TwoSample:
    """â = the cross-validated accuracy of a classifier of X against Y; p = P(Binomial(N, ½) ≥ N â).

    Use it to learn whether samples differ from data in any way a classifier sees. The default classifier votes among
    the √N nearest neighbours (Lopez-Paz and Oquab 2017, section 5); ``LogisticRegression()`` sees differences in the
    mean, ``RandomForestClassifier()`` those in single coordinates. Of the larger sample a random part of the size of
    the smaller is used, so that chance is one half. With ``permutations`` > 0 the p-value is the rank of â among the
    accuracies under that many permuted labellings, which is exact.

    Raises: ShapeError, DataError for samples that cannot be compared; RangeError for fewer than two folds or more than
    rows; MissingPackageError without scikit-learn.

    >>> x = torch.arange(40.0)[:, None]
    >>> two_sample(x, x + 1000).accuracy
    1.0
    """
    x, y = rows(x, y, least=2)
    size = min(len(x), len(y))
    if not 2 <= folds <= size or permutations < 0:
        raise RangeError(
            f"two_sample(folds={folds}, permutations={permutations}) of {size} rows each: "
            f"folds must lie between 2 and {size}, and permutations be at least 0."
        )
    random = np.random.default_rng(seed)
    both = np.concatenate([z[torch.as_tensor(random.permutation(len(z))[:size])].cpu().numpy() for z in (x, y)])
    labels = np.repeat([0, 1], size)
    judge = classifier if classifier is not None else _neighbours(round(math.sqrt(2 * size * (folds - 1) / folds)))
    right = _right(judge, both, labels, folds)
    if permutations:
        chance = [_right(judge, both, random.permutation(labels), folds) for _ in range(permutations)]
        p_value = (1 + sum(r >= right for r in chance)) / (1 + permutations)
    else:
        p_value = _binomial_tail(right, 2 * size)
    accuracy = right / (2 * size)
    return TwoSample(accuracy, math.sqrt(accuracy * (1 - accuracy) / (2 * size)), p_value)


def _neighbours(k: int) -> Classifier:
    try:
        from sklearn.neighbors import KNeighborsClassifier
    except ImportError as error:
        raise MissingPackageError("two_sample needs scikit-learn: pip install 'scorefield[metrics]'.") from error
    return KNeighborsClassifier(n_neighbors=k + (k % 2 == 0))


def _right(classifier: Classifier, x: np.ndarray, labels: np.ndarray, folds: int) -> int:
    """How many rows a classifier fitted to the other folds labels rightly; folds are balanced."""
    fold = np.empty(len(x), dtype=int)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        fold[members] = np.arange(len(members)) % folds
    right = 0
    for k in range(folds):
        classifier.fit(x[fold != k], labels[fold != k])
        right += int((classifier.predict(x[fold == k]) == labels[fold == k]).sum())
    return right


def _binomial_tail(right: int, total: int) -> float:
    """P(Binomial(total, ½) ≥ right), by logarithms of binomial coefficients."""
    counts = torch.arange(right, total + 1, dtype=torch.float64)
    n = torch.tensor(float(total), dtype=torch.float64)
    log = torch.lgamma(n + 1) - torch.lgamma(counts + 1) - torch.lgamma(n - counts + 1) - n * math.log(2)
    return min(1.0, float(log.logsumexp(0).exp()))
