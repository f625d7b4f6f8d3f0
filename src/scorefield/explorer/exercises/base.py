"""An exercise: a question, an answer that is committed, and a reveal that the library computes.

Nothing about the answer is written down: ``reveal`` works out numbers and pictures, and which answer they make right. Turning the
dial afterwards computes them again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import RangeError
from ..sources import Citation
from .pictures import Picture


@dataclass(frozen=True)
class Number:
    """A number with its name, its unit and, where it was drawn, its standard error.

    >>> Number("|s|", 2.0).plain()
    {'name': '|s|', 'value': 2.0, 'unit': '', 'error': None}
    """

    name: str
    value: float
    unit: str = ""
    error: float | None = None

    def plain(self) -> dict[str, Any]:
        """As the page gets it."""
        return asdict(self)


@dataclass(frozen=True)
class Shown:
    """What a reveal brings: the right answer (a choice's number, or an estimate's value), numbers, and pictures."""

    right: float | int
    numbers: tuple[Number, ...]
    pictures: tuple[Picture, ...]

    def plain(self) -> dict[str, Any]:
        """As the page gets it."""
        return {
            "right": self.right,
            "numbers": [each.plain() for each in self.numbers],
            "pictures": [each.plain() for each in self.pictures],
        }


class Answer(ABC):
    """What may be committed, and whether it agrees with what is right."""

    @abstractmethod
    def agrees(self, given: float | int, right: float | int) -> bool:
        """Whether the answer given counts as right. Raises: RangeError for one that could not be committed."""

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """As the page gets it."""


@dataclass(frozen=True)
class Choices(Answer):
    """One of several sentences.

    >>> Choices(("up", "down")).agrees(1, 1.0)
    True
    """

    texts: tuple[str, ...]

    def agrees(self, given: float | int, right: float | int) -> bool:
        if given not in range(len(self.texts)):
            raise RangeError(f"answer {given:g}: choices are numbered 0 to {len(self.texts) - 1}.")
        return int(given) == int(right)

    def plain(self) -> dict[str, Any]:
        return {"kind": "choices", "texts": list(self.texts)}


@dataclass(frozen=True)
class Estimate(Answer):
    """A number between ``low`` and ``high``, right within ``tolerance``, a part of the true one.

    >>> Estimate(0.0, 4.0, 0.1, tolerance=0.15).agrees(2.0, 1.9)
    True
    """

    low: float
    high: float
    step: float
    tolerance: float
    unit: str = ""

    def agrees(self, given: float | int, right: float | int) -> bool:
        if not self.low <= given <= self.high:
            raise RangeError(f"answer {given:g}: wanted a number from {self.low:g} to {self.high:g}.")
        return abs(given - right) <= self.tolerance * abs(right)

    def plain(self) -> dict[str, Any]:
        return {"kind": "estimate", **asdict(self)}


@dataclass(frozen=True)
class Dial:
    """What can be turned after the reveal; the answer is about its ``value``."""

    name: str
    low: float
    high: float
    value: float
    step: float


@dataclass(frozen=True)
class Exercise:
    """A question of a chapter, its answers, what computes the reveal, why, and where it is written down.

    ``code`` prints the first number of the reveal; ``link`` is a state of another view in which to go on.
    """

    key: str
    chapter: str
    title: str
    question: str
    answer: Answer
    reveal: Callable[[float], Shown] = field(repr=False)
    dial: Dial
    why: str
    formula: str
    source: Citation
    code: str = field(repr=False)
    link: str = ""

    def shown(self, value: float | None = None) -> Shown:
        """The reveal with the dial at a value, its own unless given. Raises: RangeError for one outside the dial."""
        value = self.dial.value if value is None else value
        if not self.dial.low <= value <= self.dial.high:
            raise RangeError(
                f"exercise {self.key}: {self.dial.name} = {value:g}; wanted {self.dial.low:g} to {self.dial.high:g}."
            )
        return self.reveal(value)

    def plain(self) -> dict[str, Any]:
        """The question as the page gets it: without what the reveal will say."""
        return {
            "key": self.key,
            "chapter": self.chapter,
            "title": self.title,
            "question": self.question,
            "answer": self.answer.plain(),
            "dial": asdict(self.dial),
        }
