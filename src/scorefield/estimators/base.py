"""What the four estimators share: scikit-learn's manners outside, scorefield's densities inside.

    score_samples(X)       log p(x) in nats, in the units of X          ± score_samples_error(X)
    score(X)               its mean: scikit-learn's meaning of the word, not ∇ log p
    grad_log_density(X)    ∇ log p(x): what this library calls the score
    losses(X)              ½|s|² + div s, Hyvärinen's loss of each row, s = ∇ log p in units of the standard deviations of the columns
                           that were fitted, so that losses of all estimators fitted to the same rows can be compared

Hyvärinen (2005), eq. 4, JMLR 6:695–709.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..closed.checks import masses, some
from ..data.scaling import Scaling
from ..errors import DataError, RangeError
from ..metrics import Estimate
from .densities import Density, losses


class DensityEstimator(DensityMixin, BaseEstimator, ABC):
    """A density learned by score matching: ``fit`` it, ask ``score_samples``, ``grad_log_density``, ``sample``."""

    density_: Density
    scaling_: Scaling
    n_features_in_: int

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> "DensityEstimator":
        """Learn the density of the rows of X; y is ignored."""

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row, in nats and in the units of X. Raises: NotFittedError, ValueError for rows that are no such data."""
        return self._log_density(X)[0]

    def score_samples_error(self, X: Any) -> np.ndarray:
        """One standard error of `score_samples`, in nats: of log Z, or of the solver of the flow; 0 for closed forms.

        It is the error of computing the density that was fitted, not of the fit. Raises: as `score_samples`.
        """
        return self._log_density(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log p over the rows of X, in nats: held-out, larger is better. Raises: as `score_samples`."""
        return float(self.score_samples(X).mean())

    def grad_log_density(self, X: Any) -> np.ndarray:
        """∇ log p(x) of each row, (n, d), per unit of each column. Raises: as `score_samples`."""
        x = self._read(X)
        with torch.no_grad():
            found = self.density_.slope(x)
        if not bool(found.isfinite().all()):
            rows = (~found.isfinite().all(1)).nonzero()
            raise RangeError(f"{self._who}.grad_log_density: not finite at {some(rows)}; are they inside the domain?")
        return found.numpy()

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """n_samples draws of the density, in the units of the data; the same for the same ``random_state``, a number.

        Row i depends on (random_state, i) alone. None draws from numpy's global state. Raises: RangeError for n_samples < 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise RangeError(f"{self._who}.sample(n_samples={n_samples}): at least 1.")
        return self.density_.draw(int(n_samples), seed_of(random_state)).double().numpy()

    def losses(self, X: Any) -> np.ndarray:
        """½|s|² + div s of each row, s in units of the fitted columns' standard deviations: exact up to 128 columns.

        Their mean on fresh rows is least for the true density, and needs no normalising constant: `held_out_loss`.
        Raises: as `score_samples`.
        """
        x = self._read(X)
        return losses(self.density_, self.scaling_, x).numpy()

    @property
    def log_normaliser_(self) -> float:
        """log Z of e^{−E}, of estimators that know an energy alone; 0 for those that know log p. In nats."""
        return self._normaliser.value

    @property
    def log_normaliser_error_(self) -> float:
        """One standard error of `log_normaliser_`."""
        return self._normaliser.error

    @property
    def _normaliser(self) -> Estimate:
        check_is_fitted(self)
        return self.density_.normaliser or Estimate(0.0, 0.0)

    @property
    def _who(self) -> str:
        return type(self).__name__

    def _log_density(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        x = self._read(X)
        value, error = self.density_.log_density(x)
        return value.double().numpy(), error.double().numpy()

    def _read(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return self._checked(X, reset=False, least=1)

    def _learn(self, X: Any, sample_weight: Any = None, *, columns: int = 1) -> tuple[Tensor, Tensor]:
        """(rows, their weights of mean 1) of data to fit, rows without weight dropped; sets ``scaling_``."""
        x = self._checked(X, reset=True, least=2, columns=columns)
        given = None if sample_weight is None else torch.tensor(np.asarray(sample_weight, dtype=np.float64))
        mass = masses(given, x)
        x, mass = x[mass > 0], masses(mass[mass > 0], x[mass > 0])
        if len(x) < 2:
            raise DataError(f"{self._who}.fit: 1 sample has a positive weight; at least 2 are needed.")
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        self.scaling_ = Scaling.standardise(x, columns=names, name=f"{self._who}.fit(X)")
        if given is not None:
            mean = (mass @ x) / len(x)
            spread = ((mass @ (x - mean) ** 2) / len(x)).sqrt()
            self.scaling_ = Scaling(tuple(mean.tolist()), tuple(spread.tolist()))
        return x, mass

    def _checked(self, X: Any, *, reset: bool, least: int, columns: int = 1) -> Tensor:
        kinds = getattr(X, "dtypes", getattr(X, "dtype", ()))
        if any(str(kind).lower() in ("bool", "boolean") for kind in np.atleast_1d(np.asarray(kinds, dtype=object))):
            raise DataError(
                f"{self._who}: a column of truth values has no density; drop it, or fit the rows of each value apart."
            )
        x = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=least,
            ensure_min_features=columns,
        )
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            column = int(np.flatnonzero(~np.isfinite(x[bad[0]]))[0])
            name = repr(str(self.feature_names_in_[column])) if hasattr(self, "feature_names_in_") else column
            raise DataError(
                f"{self._who}: {len(bad)} of {len(x)} rows hold NaN or inf ({some(bad.tolist())}; first in column {name}); "
                "drop them, or fill them with SimpleImputer."
            )
        return torch.tensor(x)


def seed_of(random_state: Any) -> int:
    """A seed from what scikit-learn calls a random state: the number, a RandomState, or None for numpy's global one.

    >>> seed_of(0) == seed_of(0)
    True
    """
    return int(check_random_state(random_state).randint(2**31 - 1))
