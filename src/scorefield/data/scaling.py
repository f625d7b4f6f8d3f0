"""y = (x − b)/c takes data to the model's units, x = c y + b takes them back.

Networks and noise levels are made for numbers of unit size. A density changes with its unit: −log p(x) in data units is
−log p(y) + Σ log c over the event, in nats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from .check import check

Numbers = float | int | tuple[float | int, ...]


@dataclass(frozen=True)
class Scaling:
    """y = (x − shift)/scale: one number for all, or one per entry of the last axis.

    Use it to show samples in the units of the data. Plain numbers only, so that a run records it as text.

    Raises: RangeError for a scale that is not positive and finite; ShapeError for tuples of different lengths.

    >>> Scaling(shift=10.0, scale=2.0).to_model(torch.tensor([[14.0]]))
    tensor([[2.]])
    """

    shift: Numbers = 0.0
    scale: Numbers = 1.0

    def __post_init__(self):
        lengths = {len(v) for v in (self.shift, self.scale) if isinstance(v, tuple)}
        if len(lengths) > 1:
            raise ShapeError(f"Scaling: {lengths} numbers in shift and scale: give as many of each, or one for all.")
        if not (_tensor(self.shift).isfinite().all() and _tensor(self.scale).isfinite().all()):
            raise RangeError(f"Scaling(shift={self.shift}, scale={self.scale}): both must be finite.")
        if not (_tensor(self.scale) > 0).all():
            raise RangeError(f"Scaling(scale={self.scale}): every scale must be above 0.")

    def to_model(self, x: Num[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        """(x − shift)/scale, in the dtype of x, or float32 for integers.

        >>> Scaling.pixels().to_model(torch.tensor([[0, 255]], dtype=torch.uint8))
        tensor([[-1.,  1.]])
        """
        shift, scale = self._against(x)
        return ((x.to(shift.dtype) - shift) / scale).to(_dtype(x))

    def to_data(self, y: Num[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        """scale · y + shift: the inverse of `to_model`, up to one rounding.

        >>> Scaling.pixels().to_data(torch.tensor([[-1.0, 1.0]]))
        tensor([[  0., 255.]])
        """
        shift, scale = self._against(y)
        return (y.to(shift.dtype) * scale + shift).to(_dtype(y))

    def _against(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = _tensor(self.shift), _tensor(self.scale)
        width = max(shift.numel() if shift.ndim else 0, scale.numel() if scale.ndim else 0)
        if width and (x.ndim < 2 or x.shape[-1] != width):
            raise ShapeError(
                f"Scaling of {width} columns against x of shape {tuple(x.shape)}: the last axis must be {width}."
            )
        # Apple's devices have no float64; everywhere else the arithmetic rounds once, on the way out.
        dtype = torch.float32 if x.device.type == "mps" else torch.float64
        return shift.to(x.device, dtype), scale.to(x.device, dtype)

    @classmethod
    def identity(cls) -> "Scaling":
        """y = x, for data already in the model's units.

        >>> Scaling.identity()
        Scaling(shift=0.0, scale=1.0)
        """
        return cls()

    @classmethod
    def pixels(cls) -> "Scaling":
        """0..255 onto −1..1.

        >>> Scaling.pixels()
        Scaling(shift=127.5, scale=127.5)
        """
        return cls(127.5, 127.5)

    @classmethod
    def unit(cls) -> "Scaling":
        """0..1 onto −1..1.

        >>> Scaling.unit().to_model(torch.tensor([[0.0, 1.0]]))
        tensor([[-1.,  1.]])
        """
        return cls(0.5, 0.5)

    @classmethod
    def standardise(cls, x: Num[Tensor, "rows *columns"], columns: Sequence[str] = (), name: str = "data") -> "Scaling":
        """Every column of x to mean 0 and standard deviation 1 (the mean square about the mean, divided by n).

        columns, name: what to call them and the whole in messages.

        Raises: DataError naming a column that never changes, since no scale would make it vary.

        >>> Scaling.standardise(torch.tensor([[1.0], [3.0]]))
        Scaling(shift=(2.0,), scale=(1.0,))
        """
        if x.ndim != 2:
            raise ShapeError(
                f"Scaling.standardise: x of shape {tuple(x.shape)}, (rows, columns) wanted: flatten the event."
            )
        wide = check(x, name, columns=columns).double()
        scale = wide.std(0, correction=0)
        still = ((wide.amin(0) == wide.amax(0)) | (scale == 0)).nonzero().flatten().tolist()
        if still:
            names = ", ".join(repr(columns[i]) if columns else str(i + 1) for i in still)
            raise DataError(
                f"{name}: column {names} is constant in the {len(x)} training rows (first: "
                f"{wide[0, still[0]].item():g}), "
                "a column that varies wanted: leave it out (columns=...) or pass scaling=."
            )
        if not scale.isfinite().all():
            raise DataError(f"{name}: values too large for float64 arithmetic: change their unit.")
        return cls(tuple(wide.mean(0).tolist()), tuple(scale.tolist()))


def _tensor(numbers: Numbers) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def _dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.float32
