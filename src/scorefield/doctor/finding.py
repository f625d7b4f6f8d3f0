"""What a check says: a verdict, the numbers behind it, and one plain sentence with the remedy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    """``GOOD``: as it should be; ``LOOK``: may cost quality or time; ``BAD``: will not work as it stands.

    >>> [verdict.value for verdict in Verdict]
    ['good', 'look', 'bad']
    """

    GOOD = "good"
    LOOK = "look"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One check's answer: ``what`` was looked at, the ``verdict``, its ``numbers`` by name, and ``words`` for people.

    >>> print(Finding("steps", Verdict.BAD, {"step": 3.0}, "The step is too large: halve it."))
    [bad ] steps: The step is too large: halve it. (step 3)
    """

    what: str
    verdict: Verdict
    numbers: Mapping[str, float] = field(default_factory=dict)
    words: str = ""

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"[{self.verdict.value:<4}] {self.what}: {self.words}" + (f" ({shown})" if shown else "")


def judged(value: float, good: float, bad: float) -> Verdict:
    """GOOD below ``good``, BAD from ``bad`` on, LOOK between.

    >>> judged(0.5, 0.2, 1.0)
    <Verdict.LOOK: 'look'>
    """
    if value < good:
        return Verdict.GOOD
    return Verdict.LOOK if value < bad else Verdict.BAD
