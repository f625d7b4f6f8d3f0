"""Few-step models: objectives by which a student learns to jump where its teacher walks, and how it jumps.

Each is an objective for `train`: (model, x, generator, **cond) -> one loss per example. They do not estimate a score; their laws
are that the exact jump of a Gaussian has loss zero, and that other jumps have not.
"""

from .consistency import Consistency, ConsistencyDistillation, ConsistencyTraining, pseudo_huber, squared
from .critic import Critic
from .neighbours import Neighbours, lognormal
from .progressive import Progressive
from .renoise import Renoise
from .steps import ddim, heun
from .trajectories import TrajectoryDistillation, nodes, trajectories

__all__ = [
    "Consistency",
    "ConsistencyDistillation",
    "ConsistencyTraining",
    "Critic",
    "Neighbours",
    "Progressive",
    "Renoise",
    "TrajectoryDistillation",
    "ddim",
    "heun",
    "lognormal",
    "nodes",
    "pseudo_huber",
    "squared",
    "trajectories",
]
