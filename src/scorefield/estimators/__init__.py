"""scikit-learn estimators: densities by score matching, in pipelines and grid searches.

    ScoreMatching              a network across noise levels, or an energy
    KernelExponentialFamily    a kernel correction of a Gaussian
    ExponentialFamily          parameters with standard errors
    ScoreMatchingGraph         which columns depend on which

`score_samples` is log p in nats, `score` its mean, `grad_log_density` ∇ log p; `held_out_loss` selects models without log Z.
"""

from ..errors import MissingPackageError

try:
    import sklearn
except ImportError as error:
    raise MissingPackageError("scorefield.estimators needs scikit-learn: pip install 'scorefield[metrics]'.") from error

from .base import DensityEstimator
from .exponential import ExponentialFamily
from .graph import EBIC, CrossValidation, ScoreMatchingGraph
from .held_out import held_out_loss
from .kernel import KernelExponentialFamily
from .score_matching import ScoreMatching

__all__ = [
    "EBIC",
    "CrossValidation",
    "DensityEstimator",
    "ExponentialFamily",
    "KernelExponentialFamily",
    "ScoreMatching",
    "ScoreMatchingGraph",
    "held_out_loss",
]
