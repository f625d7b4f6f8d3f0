"""Few-step models: objectives by which a student learns to jump where its teacher walks, and how it jumps.

    ConsistencyDistillation   neighbouring points of a path must lead to one end; the teacher steps between them
    ConsistencyTraining       the same without a teacher
    Progressive               one step of the student is two of the teacher
    TrajectoryDistillation    from kept walks to their ends, beside a critic: what the recipe ``distill`` uses
    Renoise                   draws: jump to the data, add noise, jump again

Each of the first four is an objective for `train`: (model, x, generator, **cond) -> one loss per example. They do not estimate a score:
their law is that the exact jump of a Gaussian has loss zero, and that other jumps have not.
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
