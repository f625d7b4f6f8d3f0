"""What a report says: value ± standard error, beside the value that real data get in the same place.

A number without the second one says little: a classifier is not sure of all real digits either, and two samples of one
law are never at distance zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..metrics import Estimate, median_distance, mmd, sliced_wasserstein


@dataclass(frozen=True)
class Measure:
    """value ± error beside ``reference``, the same number for real data; ``meaning`` is one line for the reader.

    >>> print(Measure(0.9131, 0.006, 0.94))
    0.913 ± 0.006 (real: 0.94)
    """

    value: float
    error: float | None = None
    reference: float | None = None
    meaning: str = ""

    def __str__(self) -> str:
        real = "" if self.reference is None else f" (real: {self.reference:.3g})"
        return shown(self.value, self.error) + real


Measures = Mapping[str, Measure]


def shown(value: float | None, error: float | None = None) -> str:
    """Four digits, or as many as the error allows.

    >>> shown(0.123456), shown(0.123456, 0.01), shown(None)
    ('0.1235', '0.12 ± 0.01', '')
    """
    if value is None:
        return ""
    return f"{value:.4g}" if not error or not math.isfinite(error) else str(Estimate(value, error))


def table(measures: Measures) -> str:
    """The measures as lines of text: name, value, that of real data, meaning.

    >>> print(table({"copies": Measure(0.0, None, 0.01, "rows copied")}))
                 model  real data
    copies           0       0.01  rows copied
    """
    rows = [("", "model", "real data", "")]
    rows += [
        (name.replace("_", " "), shown(m.value, m.error), shown(m.reference), m.meaning) for name, m in measures.items()
    ]
    wide = [max(len(row[k]) for row in rows) + pad for k, pad in ((0, 1), (1, 2), (2, 2))]
    wide = [max(wide[0], 10), max(wide[1], 8), wide[2]]
    lines = (f"{a:<{wide[0]}}{b:>{wide[1]}}{c:>{wide[2]}}  {d}".rstrip() for a, b, c, d in rows)
    return "\n".join(lines)


def plain(measures: Measures) -> dict[str, dict]:
    """The measures as JSON data; numbers that are not finite become null.

    >>> plain({"seconds": Measure(1.5)})["seconds"]["value"]
    1.5
    """
    return {name: {key: _finite(entry) for key, entry in asdict(m).items()} for name, m in measures.items()}


def distances(
    samples: Float[Tensor, "n *event"], real: Float[Tensor, "m *event"], fresh: Sequence[Tensor]
) -> dict[str, Measure]:
    """MMD² and sliced Wasserstein distance of samples to real rows, each with its floor.

    ``fresh`` are further independent samples of the real law. The floor is the mean over neighbouring pairs of real and
    fresh samples of |MMD²|, since the unbiased estimate scatters about zero, and of the Wasserstein distance.

    >>> x = torch.randn(3, 200, 2, generator=torch.Generator().manual_seed(0))
    >>> found = distances(x[0] + 1, x[1], [x[2]])
    >>> found["mmd2"].value > 10 * found["mmd2"].reference
    True
    """
    width = [median_distance(real, real)]
    pairs = list(zip([real, *fresh], fresh))
    kernel, sliced = mmd(samples, real, bandwidths=width), sliced_wasserstein(samples, real, generator=_draws())
    floors = [abs(mmd(a, b, bandwidths=width).value) for a, b in pairs]
    slices = [sliced_wasserstein(a, b, generator=_draws()).value for a, b in pairs]
    return {
        "mmd2": Measure(kernel.value, kernel.error, _mean(floors), "MMD², Gaussian kernel at the median distance"),
        "sliced_w2": Measure(sliced.value, sliced.error, _mean(slices), "sliced Wasserstein-2 distance, model units"),
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _finite(entry):
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry
