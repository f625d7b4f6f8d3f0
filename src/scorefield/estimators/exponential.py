"""An exponential family, or any log-density with parameters, as a scikit-learn estimator: one linear system and standard errors.

θ̂ = argmin Σ r_i ℓ(θ; x_i),    V = B⁻¹ M B⁻¹                   `closed.fit`, in the units of X: nothing is standardised
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..closed import Family, Fitted, LogDensity, Normal, fit
from ..closed.checks import held, names_of
from ..closed.matching import fit_checked
from ..closed.normal import Independent
from ..closed.rows import problem
from ..domains import Domain, Real, Weight
from ..errors import ShapeError
from .base import DensityEstimator, seed_of
from .densities import Density, FromEnergy, normal_law
from .proposals import proposal

Model = Family | LogDensity | Callable[[int], Family | LogDensity]


class ExponentialFamily(DensityEstimator):
    """θ̂ of log p = θ·T(x) + c(x) − log Z(θ) by score matching in closed form, with sandwich standard errors.

    For models whose density is known up to its constant. ``model`` is a family of `closed`, or a function of the number of columns,
    such as the class `Normal`; `Independent` Gaussians unless given. ``domain``, ``weight`` and ``fixed`` are those of `closed.fit`.
    What was fitted is `result_`: print it, test it, draw its intervals. Parameters and densities are in the units of X.

    Gaussians on ℝ^d are normalised and drawn exactly. Any other log Z is found when it is first asked for, by importance sampling
    from a law on the domain or annealing, with its standard error: `log_normaliser_error_`. On the sphere densities are per unit of
    area, on the simplex per dx_1 … dx_{d−1}.

    Raises, by ``fit``: ShapeError, RangeError, DataError as `closed.fit`, but that with no more rows than parameters a family is still
    fitted if they are identified. By `score_samples`: DataError for parameters of which there is no density.

    >>> import numpy as np
    >>> from scorefield.closed import Normal
    >>> x = np.random.default_rng(0).normal(size=(500, 2)) @ [[1.0, 0.5], [0.0, 1.0]]
    >>> model = ExponentialFamily(Normal).fit(x)
    >>> low, high = model.result_.interval()[3]  # of K[1,2] = −0.5
    >>> bool(low < -0.5 < high), round(model.score(x), 1)
    (True, -2.8)
    """

    def __init__(
        self,
        model: Model | None = None,
        domain: Domain | None = None,
        weight: Weight | None = None,
        fixed: Mapping[str, float] | None = None,
        random_state: Any = 0,
    ):
        self.model = model
        self.domain = domain
        self.weight = weight
        self.fixed = fixed
        self.random_state = random_state

    result_: Fitted

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, clusters: Any = None) -> "ExponentialFamily":
        """θ̂ and V. ``sample_weight``: the importance of each row; ``clusters``: labels of rows that depend on each other.

        Raises: as the class says.
        """
        x, mass = self._learn(X, sample_weight)
        model = self.model
        if model is None:
            model = Independent(x.shape[1])
        elif not isinstance(model, Family | LogDensity):
            model = model(x.shape[1])
        if not isinstance(model, Family | LogDensity):
            raise ShapeError(
                f"ExponentialFamily(model={self.model!r}): wanted a family of scorefield.closed, or a function of the number of "
                f"columns that returns one; got {type(model).__name__}."
            )
        groups = None
        if clusters is not None:
            groups = torch.tensor(np.unique(np.asarray(clusters), return_inverse=True)[1])
            if sample_weight is not None and len(groups) == len(np.asarray(sample_weight)):
                groups = groups[torch.tensor(np.asarray(sample_weight, dtype=np.float64)) > 0]
        case = problem(model, x, self.domain, self.weight).affine(x)
        case.domain.check(x)
        names = names_of(case.model.names, case.size(x))
        free, values = held(self.fixed, names, x)
        if len(x) <= int(free.sum()) and groups is None and isinstance(case.model, Family):
            self.result_ = fit_checked(case, x, mass, None, names, free, values)
        else:
            self.result_ = fit(
                model, x, domain=self.domain, weight=self.weight, weights=mass, clusters=groups, fixed=self.fixed
            )
        self.density_ = self._density(x)
        return self

    @property
    def standard_errors_(self) -> np.ndarray:
        """√V_kk, one for each of ``result_.names``."""
        return self.result_.standard_errors.numpy()

    @property
    def theta_(self) -> np.ndarray:
        """θ̂, one for each of ``result_.names``."""
        return self.result_.theta.numpy()

    def losses(self, X: Any) -> np.ndarray:
        """½|s|² + div s of each row; on a domain with a boundary or of lower dimension, its generalised loss, in the units of X.

        Raises: as `score_samples`; RangeError for rows outside the domain.
        """
        x = self._read(X)
        return super().losses(X) if self._real else self.result_.losses(x).numpy()

    @property
    def _real(self) -> bool:
        return isinstance(self.result_.problem.domain, Real)

    def _density(self, x: torch.Tensor) -> Density:
        case, theta, flaw = self.result_.problem, self.result_.theta, self.result_.flaw
        if isinstance(case.model, Normal | Independent) and self._real and flaw is None:
            return normal_law(case.model.precision(theta), theta[: x.shape[1]])
        base, walking = proposal(case.domain, x, self.scaling_)
        return FromEnergy(self.result_, base, seed_of(self.random_state), walking, flaw)
