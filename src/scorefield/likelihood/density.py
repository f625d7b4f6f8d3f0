"""log p(x) as a number with its standard error, by parts.

    error² = trace² + solver² + prior² + floor²

trace is a standard deviation; the others are sizes of errors that are estimated and not drawn, each zero in the limit of
more probes, more steps, more noise at t = 1, and less at t = 0.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

Numbers = Float[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class LogDensity:
    """log p(x) ± error in nats, one of each per row; printed, a row a line.

    ``trace``: standard error of the stochastic trace, 0 if exact. ``solver``: error of the steps, and round-off. ``prior``: by how
    much the model's own p_1 and the prior differ at the end of the flow. ``floor``: what the noise left at the data's end changes.
    The first two are errors of the density of the flow, which is a density whatever the model; the last two are its
    distance from the density that the scores would be those of. Also ``len(found)`` and ``found[rows]``.

    >>> number = lambda *values: torch.tensor(values, dtype=torch.float64)
    >>> print(LogDensity(number(-1.8379), number(0.03), number(0.0), number(0.04), number(0.0)))
    -1.84 ± 0.05 nats (trace 0.03, solver 0, prior 0.04, floor 0)
    """

    value: Numbers
    trace: Numbers
    solver: Numbers
    prior: Numbers
    floor: Numbers

    @property
    def error(self) -> Numbers:
        """The root of the sum of squares of trace, solver, prior and floor: one standard error, in nats."""
        return torch.stack([self.trace, self.solver, self.prior, self.floor]).square().sum(0).sqrt()

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: slice | Int[Tensor, "rows"] | list[int]) -> "LogDensity":
        return LogDensity(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __str__(self) -> str:
        shown = 8
        lines = []
        for k in range(min(len(self), shown)):
            parts = ", ".join(f"{part.name} {getattr(self, part.name)[k]:.2g}" for part in fields(self)[1:])
            lines.append(f"{plus_minus(float(self.value[k]), float(self.error[k]))} nats ({parts})")
        return "\n".join(lines + [f"… and {len(self) - shown} rows more"] * (len(self) > shown))

    __repr__ = __str__


def plus_minus(value: float, error: float) -> str:
    """A number to the digits that its error allows.

    >>> plus_minus(-1.83791, 0.00123)
    '-1.838 ± 0.001'
    """
    digits = 6 if not error > 0 else min(12, max(0, -math.floor(math.log10(float(f"{error:.0e}")))))
    return f"{value:.{digits}f} ± {error:.{digits}f}" if error > 0 else f"{value:.{digits}f} ± 0"


def joined(parts: list[LogDensity]) -> LogDensity:
    """Rows of several results as one.

    >>> one = LogDensity(*torch.zeros(5, 1))
    >>> len(joined([one, one]))
    2
    """
    return LogDensity(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(LogDensity)})
