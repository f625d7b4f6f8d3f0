"""Predict, then look: exercises whose answers the library works out when they are asked for.

>>> from scorefield.explorer import exercises
>>> exercises.find("gaussian").shown().right
0
"""

from ...errors import unknown
from . import combining, judging, noise, scores, walks
from .base import Answer, Choices, Dial, Estimate, Exercise, Number, Shown
from .pictures import Bars, Curves, Picture, Plane

EXERCISES: tuple[Exercise, ...] = (
    *scores.EXERCISES,
    *noise.EXERCISES,
    *walks.EXERCISES,
    *judging.EXERCISES,
    *combining.EXERCISES,
)


def find(key: str) -> Exercise:
    """The exercise of this key. Raises: UnknownNameError with the nearest one."""
    known = {each.key: each for each in EXERCISES}
    if key not in known:
        raise unknown("exercise", key, known)
    return known[key]


__all__ = [
    "EXERCISES",
    "Answer",
    "Bars",
    "Choices",
    "Curves",
    "Dial",
    "Estimate",
    "Exercise",
    "Number",
    "Picture",
    "Plane",
    "Shown",
    "find",
]
