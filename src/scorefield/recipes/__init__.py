"""Recipes: a recipe is a function whose signature is its command line.

    def moons(*, steps: int = 3000, learning_rate: float = 2e-3) -> Experiment

Its docstring's first line says what it does, its ``Args:`` what each option means; types and defaults come from the
signature. It returns an object with ``.run(out, *, resume, previous, show, about)`` (`Runnable`): nearly always an
`Experiment`, made of model, objective, data, sampler and a ``report`` that gives `Measure` by name.

`find` takes the name of a function in ``__all__``, or ``path/to/recipe.py[:function]``: your own works the same way.
"""

from .classifier import classifier
from .digits import digits
from .distill import distill
from .experiment import Experiment, Finished
from .find import Runnable, find
from .measure import Measure
from .mlp import mlp
from .ncsn import ncsn
from .schedules import schedules
from .table import table
from .toys import checkerboard, mixture, moons, rings, spirals

__all__ = [
    "Experiment",
    "Finished",
    "Measure",
    "Runnable",
    "checkerboard",
    "classifier",
    "digits",
    "distill",
    "mixture",
    "mlp",
    "moons",
    "ncsn",
    "rings",
    "schedules",
    "spirals",
    "table",
]
