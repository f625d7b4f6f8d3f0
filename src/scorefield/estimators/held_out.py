"""Model selection without normalising constants: −E[½|s|² + div s] on rows that were not fitted.

It is −½ E|s − ∇ log p|² up to a constant of the data (Hyvärinen 2005, theorem 1, JMLR 6:695–709): largest at the truth.
"""

from typing import Any

from sklearn.pipeline import Pipeline

from ..errors import ShapeError
from .base import DensityEstimator


def held_out_loss(estimator: Any, X: Any, y: Any = None) -> float:
    """−mean(½|s|² + div s) over the rows of X: a scorer, ``GridSearchCV(estimator, grid, scoring=held_out_loss)``.

    The score s is that of the estimator in units of the standard deviations of its training columns, whatever the units of X; a
    Pipeline is followed to its last step, so that candidates must share what comes before it. Exact up to 128 columns, by 16
    orthogonal probes above. Raises: ShapeError for an estimator that is none of this package.

    >>> import numpy as np
    >>> from scorefield.estimators import KernelExponentialFamily
    >>> x = np.random.default_rng(0).normal(size=(200, 1))
    >>> held_out_loss(KernelExponentialFamily().fit(x[:100]), x[100:]) > 0.3
    True
    """
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        else:
            break
    if not isinstance(estimator, DensityEstimator):
        raise ShapeError(
            f"held_out_loss: {type(estimator).__name__} has no score that can be differentiated; "
            "give an estimator of scorefield.estimators, or compare mean log-densities."
        )
    return -float(estimator.losses(X).mean())
