"""Training: θ ← θ − rate · ∇ mean_i objective(model, x_i), as an iterator.

    train(model, objective, data, steps=n)   yields Progress after every step
    fit(...)                                  exhausts it and returns the weight average

The laws: k steps, save, load, n − k steps ≡ n steps, bit for bit; N processes ≡ one; what row i draws depends on
(seed, step, i) alone. A loss or gradient that is not finite never reaches the weights.
"""

from .averages import Exponential, Power
from .engine import adamw
from .held_out import Evaluation, HeldOut, level_times
from .loop import fit, train
from .loss import Loss
from .progress import Progress, bar
from .schedules import constant, cosine, linear
from .state import State

__all__ = [
    "Evaluation",
    "Exponential",
    "HeldOut",
    "Loss",
    "Power",
    "Progress",
    "State",
    "adamw",
    "bar",
    "constant",
    "cosine",
    "fit",
    "level_times",
    "linear",
    "train",
]
