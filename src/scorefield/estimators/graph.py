"""A graph of the columns by ℓ1-penalised score matching, as a scikit-learn estimator.

    (K̂, η̂)(λ) = argmin ℓ(K, η) + λ Σ_{i≠j} |K_ij|      `closed.graph_path`: columns are scaled inside, K is in the units of X

Which λ: a number, the least extended Bayesian criterion, or the least loss of rows held out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..closed import Graph, GraphPath, Normal, Pairwise, cross_validate, graph_path
from ..closed.path import default_multiplier
from ..errors import RangeError
from .base import DensityEstimator, seed_of
from .densities import FromEnergy, normal_law
from .proposals import proposal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Float[Tensor, "n d"]
Model = Normal | Pairwise | Callable[[int], Normal | Pairwise]


@dataclass(frozen=True)
class EBIC:
    """The graph of least extended Bayesian criterion among those that are densities, its edges fitted again without penalty.

    ``gamma``: 0 is BIC, 0.5 usual, 1 strict. Foygel & Drton (2010), arXiv:1011.6640. Raises: RangeError outside [0, 1].
    """

    gamma: float = 0.5

    def __post_init__(self):
        if not 0 <= self.gamma <= 1:
            raise RangeError(f"EBIC(gamma={self.gamma:g}): must lie in [0, 1]; 0 is BIC, 0.5 usual, 1 strict.")


@dataclass(frozen=True)
class CrossValidation:
    """The largest λ whose loss on rows held out is within ``errors`` standard errors of the least: `cross_validate`.

    0 predicts best, and keeps edges that are not there; 1 is sparser. Raises: RangeError for folds < 2 or errors < 0.
    """

    folds: int = 5
    errors: float = 0.0

    def __post_init__(self):
        if self.folds < 2 or not self.errors >= 0:
            raise RangeError(f"{self}: at least 2 folds, and errors ≥ 0; 1 is the rule of one standard error.")


class ScoreMatchingGraph(DensityEstimator):
    """K̂ with most K_ij zero: no edge i–j says that two columns are independent given all others. ∇ log p = η − K x if Gaussian.

    ``penalty`` is λ, for columns of scale one: a number, as in a grid search, else ``selection`` chooses it, `EBIC()` or
    `CrossValidation()`, from ``steps`` penalties down to ``ratio`` times the first. ``model`` is `Normal` or, for positive data, a
    function such as ``lambda d: Pairwise(d, 0.5, 0.0)``. ``multiplier`` is that of `closed.graph_path`, above 1 where n ≤ d or columns
    depend on each other, unless given.

    After ``fit``: `graph_` (a score; print it), `path_`, `penalty_`, `precision_` (K), `adjacency_`, `edges_` (a row an edge, with the
    names of the columns: ``pandas.DataFrame(model.edges_)``), `plot`. Raises, by ``fit``: as `closed.graph_path`; by `score_samples`:
    DataError if K is not positive definite, and more rows or a larger penalty help.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(300, 3))
    >>> x[:, 1] += x[:, 0]
    >>> [(edge["from"], edge["to"]) for edge in ScoreMatchingGraph().fit(x).edges_]
    [('x0', 'x1')]
    """

    def __init__(
        self,
        penalty: float | None = None,
        selection: EBIC | CrossValidation | None = None,
        model: Model | None = None,
        steps: int = 100,
        ratio: float = 0.01,
        multiplier: float | None = None,
        random_state: Any = 0,
    ):
        self.penalty = penalty
        self.selection = selection
        self.model = model
        self.steps = steps
        self.ratio = ratio
        self.multiplier = multiplier
        self.random_state = random_state

    graph_: Graph
    path_: GraphPath

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "ScoreMatchingGraph":
        """The graph of the columns of X. ``sample_weight``: the importance of each row, for all but cross-validation.

        Raises: as the class says; RangeError for weights with `CrossValidation`.
        """
        x, mass = self._learn(X, sample_weight, columns=2)
        d, seed = x.shape[1], seed_of(self.random_state)
        model = Normal(d) if self.model is None else self.model
        model = model if isinstance(model, Normal | Pairwise) else model(d)
        names = tuple(str(n) for n in getattr(self, "feature_names_in_", [f"x{k}" for k in range(d)]))
        multiplier = self._multiplier(self.scaling_.to_model(x))
        selection = EBIC() if self.selection is None else self.selection
        if self.penalty is not None:
            self.path_ = graph_path(
                x,
                model,
                penalties=torch.tensor([float(self.penalty)]),
                multiplier=multiplier,
                weights=mass,
                names=names,
            )
            self.graph_ = self.path_[0]
        elif isinstance(selection, CrossValidation):
            if sample_weight is not None:
                raise RangeError(f"ScoreMatchingGraph: {selection} takes no sample_weight; select by EBIC().")
            found = cross_validate(
                x,
                model,
                folds=selection.folds,
                generator=torch.Generator().manual_seed(seed),
                names=names,
                steps=self.steps,
                ratio=self.ratio,
            )
            least = int(found.means.argmin())
            bar = found.means[least] + selection.errors * found.errors[least]
            self.path_ = found.path
            self.graph_ = found.path[int((found.means <= bar).nonzero()[0])]
        else:
            self.path_ = graph_path(
                x, model, steps=self.steps, ratio=self.ratio, multiplier=multiplier, weights=mass, names=names
            )
            for best in self.path_.ebic(selection.gamma).argsort().tolist():
                self.graph_, self.penalty_ = self.path_.refit(best), float(self.path_.penalties[best])
                if self.graph_.flaw is None:
                    break
        if self.penalty is not None or isinstance(selection, CrossValidation):
            self.penalty_ = self.graph_.penalty
        base, walking = proposal(model.domain, x, self.scaling_)
        flaw = self.graph_.flaw
        if isinstance(model, Normal) and flaw is None:
            self.density_ = normal_law(self.graph_.interactions, self.graph_.own)
        else:
            self.density_ = FromEnergy(self.graph_, base, seed, walking, flaw)
        return self

    def _multiplier(self, z: Points) -> float | None:
        """δ for columns that depend on each other, as for n ≤ d: without it the objective has no minimum."""
        least, *_, most = torch.linalg.eigvalsh(z.T @ z).tolist()
        singular = self.multiplier is None and least <= 1e-9 * most
        return default_multiplier(*z.shape) if singular else self.multiplier

    @property
    def precision_(self) -> np.ndarray:
        """K, (d, d), in the units of X: of a Gaussian, its precision matrix."""
        return self.graph_.interactions.numpy()

    @property
    def adjacency_(self) -> np.ndarray:
        """Which pairs of columns have an edge, (d, d)."""
        return self.graph_.adjacency.numpy()

    @property
    def edges_(self) -> list[dict[str, str | float]]:
        """A row an edge, the strongest first: ``from``, ``to``, ``interaction`` K_ij and ``strength`` −K_ij/√(K_ii K_jj)."""
        return self.graph_.edges()

    def plot(self, title: str = "") -> "Figure":
        """The columns on a circle and lines between them as wide as their strengths, blue if positive, red if negative."""
        return self.graph_.plot(title)
