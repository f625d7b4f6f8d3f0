"""The kernel exponential family as a scikit-learn estimator: log p = log N(x̄, S) + Σ θ_j k(x, z_j) − log Z by one linear solve.

Sriperumbudur, Fukumizu, Gretton, Hyvärinen and Kumar (2017), JMLR 18(57), theorem 5, arXiv:1312.3516.
"""

from typing import Any

import numpy as np
import torch

from .. import closed
from ..errors import ShapeError
from ..exact import Gaussian
from ..tensors import Streams, normal
from .base import DensityEstimator, seed_of
from .densities import FromEnergy, Standardised


class KernelExponentialFamily(DensityEstimator):
    """log p = log b + Σ θ_j k(x, z_j) − log Z on standardised columns, b a Gaussian: `closed.KernelExponentialFamily`.

        A nonparametric density for tables of a few columns. ``bandwidth`` is the width of the kernel in median distances between rows,
    ``penalty`` is λ; None tries several and takes what rows held out in ``folds`` prefer, so that nothing must be tuned; numbers are
    for a grid search by `held_out_loss`. ``caution``: kernels must gain so many standard errors over the simplest of ``bases``, or
    it stays alone. ``kernel`` (`RBF()`, `IMQ()`, `Matern()`, but for its width), ``basis`` (`Nystrom`, `Fourier`) as in `closed`.

    Rows that are equal to others, as rounding makes them, are moved by noise of ``floor`` standard deviations, for equal rows have
    no density; so are all rows if columns determine each other. After ``fit``: `model_`, the density of standardised rows;
    `choice_`, what was chosen; `notes_`, what to know before using it, such as modes far apart; `log_normaliser_` ±
    `log_normaliser_error_`, found when first asked for. Raises, by ``fit``: RangeError for numbers out of range; DataError for fewer
    than 5 rows, and with floor = 0 for equal rows and columns that determine each other; by `score_samples`: DataError if log Z
    cannot be found.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 1)) / 4 + np.repeat([[-1.0], [1.0]], 100, axis=0)
    >>> model = KernelExponentialFamily().fit(x)
    >>> low, high = model.score_samples([[0.0], [1.0]])
    >>> bool(high - low > 2)
    True
    """

    def __init__(
        self,
        bandwidth: float | None = None,
        penalty: float | None = None,
        kernel: closed.Kernel | None = None,
        basis: closed.Nystrom | closed.Fourier | None = None,
        bases: tuple[closed.Shrunk | Gaussian, ...] | None = None,
        folds: int = 5,
        caution: float = 2.0,
        floor: float = 0.02,
        random_state: Any = 0,
    ):
        self.bandwidth = bandwidth
        self.penalty = penalty
        self.kernel = kernel
        self.basis = basis
        self.bases = bases
        self.folds = folds
        self.caution = caution
        self.floor = floor
        self.random_state = random_state

    model_: closed.KernelDensity

    def fit(self, X: Any, y: Any = None) -> "KernelExponentialFamily":
        """The density of the rows of X. Raises: as the class says."""
        x, _ = self._learn(X)
        seed = seed_of(self.random_state)
        given: dict[str, Any] = {
            "kernel": self.kernel,
            "basis": self.basis,
            "bases": self.bases,
            "multiples": None if self.bandwidth is None else (float(self.bandwidth),),
            "ridges": None if self.penalty is None else (float(self.penalty),),
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        family = closed.KernelExponentialFamily(**chosen, folds=self.folds, caution=self.caution, seed=seed)
        z = self.scaling_.to_model(x)
        _, group, counts = z.unique(dim=0, return_inverse=True, return_counts=True)
        values = torch.linalg.eigvalsh(z.T @ z)
        moved = (counts[group] > 1) | (values[0] <= 1e-9 * values[-1])
        self.model_ = family.fit(z + self.floor * moved[:, None] * normal(z, Streams(seed, range(len(z)))))
        base = self.model_.base
        if not isinstance(base, Gaussian):
            raise ShapeError(
                f"KernelExponentialFamily(bases={self.bases}): wanted Shrunk(γ) or Gaussians of standardised columns, which can be "
                f"drawn from; got {type(base).__name__}."
            )
        self.density_ = Standardised(FromEnergy(self.model_, base, seed), self.scaling_)
        return self

    @property
    def choice_(self) -> closed.Choice | None:
        """Which base, kernel and λ the rows held out chose, and by how much."""
        return self.model_.choice

    @property
    def notes_(self) -> tuple[str, ...]:
        """What a reader should know before using the figures; empty if nothing stands out."""
        return self.model_.notes

    def losses(self, X: Any) -> np.ndarray:
        x = self._read(X)
        return self.model_.losses(self.scaling_.to_model(x)).detach().numpy()
