"""Show me the code: what a view computes, as the lines of Python that give its numbers, its formula, and where it is written down.

A view's route takes the view's request and writes these lines from it, so that the numbers of the page and those that the
lines print come from the same request. A test runs them and compares.
"""

from dataclasses import dataclass
from typing import Any

from .sources import Citation


@dataclass(frozen=True)
class Snippet:
    """Python that runs by itself, a formula in plain Unicode, and the places in the literature.

    >>> Snippet("print(2 + 2)", "2 + 2 = 4", ()).plain()["code"]
    'print(2 + 2)'
    """

    code: str
    formula: str
    sources: tuple[Citation, ...]

    def plain(self) -> dict[str, Any]:
        """As the page gets it."""
        return {"code": self.code, "formula": self.formula, "sources": [each.plain() for each in self.sources]}
