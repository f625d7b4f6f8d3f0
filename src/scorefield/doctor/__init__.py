"""What would go wrong, said before it does: noise levels against distances, scores against gradients, steps too large.

`examine` looks at data, a recipe or a run and returns findings; each check is a function of its own and usable alone.
"""

from .examine import examine
from .fields import asymmetry, gradient_field, row_dependence, stability, steepness
from .finding import Finding, Verdict
from .levels import (
    advice,
    best_ratio,
    distances,
    level_gaps,
    noise_range,
    overlap,
    prior_mismatch,
    rungs,
)
from .trained import better_than_zero, copied

__all__ = [
    "Finding",
    "Verdict",
    "advice",
    "asymmetry",
    "best_ratio",
    "better_than_zero",
    "copied",
    "distances",
    "examine",
    "gradient_field",
    "level_gaps",
    "noise_range",
    "overlap",
    "prior_mismatch",
    "row_dependence",
    "rungs",
    "stability",
    "steepness",
]
