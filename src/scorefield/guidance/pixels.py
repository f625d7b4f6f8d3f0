"""What cameras do to images, as linear maps whose transposes and singular vectors are known.

    Mask         the pixels that were seen                A Aᵀ = I
    Downsample   means of squares of f × f pixels         A Aᵀ = I/f²
    Blur         a kernel's weighted means, with zero outside the image

They are `Operator`s: they compose by ``@``, and ``solve`` inverts them as far as it goes.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from ..errors import RangeError, ShapeError
from .operators import Coordinates, Events, Observations, Operator, require_finite


@dataclass(frozen=True, eq=False)
class Mask(Operator):
    """x -> the entries of x where ``mask`` is true, as one vector: inpainting. A Aᵀ = I.

    The mask has the shape of an event, of booleans or of zeros and ones. Raises: DataError for NaN in it, RangeError for
    other numbers or if nothing is seen.

    >>> A = Mask(torch.tensor([True, False, True]))
    >>> A(torch.tensor([[1.0, 2.0, 3.0]])), A.transpose(torch.tensor([[5.0, 6.0]]))
    (tensor([[1., 3.]]), tensor([[5., 0., 6.]]))
    """

    mask: Shaped[Tensor, "*event"]

    def __post_init__(self):
        mask = self.mask.double()
        require_finite("Mask", mask)
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise RangeError(f"Mask: entries from {float(mask.min()):g} to {float(mask.max()):g}; wanted 0 or 1.")
        if not bool(mask.any()):
            raise RangeError("Mask: nothing is seen; at least one entry must be true.")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an event."""
        return tuple(self.mask.shape)

    @property
    def observed(self) -> tuple[int, ...]:
        return (len(self._places),)

    @cached_property
    def _places(self) -> Tensor:
        return self.mask.flatten().nonzero()[:, 0]

    @property
    def decomposable(self) -> bool:
        return True

    def __call__(self, x: Events) -> Observations:
        return self._events(x).flatten(1)[:, self._places.to(x.device)]

    def transpose(self, y: Observations) -> Events:
        return self.left(self._observations(y)).reshape(-1, *self.shape)

    @property
    def values(self) -> Float[Tensor, "d"]:
        return self.mask.flatten().double()

    def right(self, x: Events) -> Coordinates:
        return x.flatten(1)

    def spread(self, coordinates: Coordinates) -> Events:
        return coordinates.reshape(-1, *self.shape)

    def left(self, y: Observations) -> Coordinates:
        return y.new_zeros(len(y), self.mask.numel()).index_copy(1, self._places.to(y.device), y)


@dataclass(frozen=True, eq=False)
class Downsample(Operator):
    """x -> the means of squares of ``factor`` × ``factor`` pixels: super-resolution. A Aᵀ = I/factor².

    ``shape`` is (channels, height, width) of an event. Raises: ShapeError unless factor divides height and width.

    >>> Downsample(2, (1, 2, 2))(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[[[3.]]]])
    """

    factor: int
    shape: tuple[int, ...]

    def __post_init__(self):
        if len(self.shape) != 3 or self.factor < 1 or any(side % self.factor for side in self.shape[1:]):
            raise ShapeError(
                f"Downsample(factor={self.factor}, shape={self.shape}): wanted (channels, height, width) with a factor of at "
                "least 1 that divides height and width."
            )

    @property
    def observed(self) -> tuple[int, ...]:
        return (self.shape[0], self.shape[1] // self.factor, self.shape[2] // self.factor)

    @property
    def decomposable(self) -> bool:
        return True

    def __call__(self, x: Events) -> Observations:
        return functional.avg_pool2d(self._events(x), self.factor)

    def transpose(self, y: Observations) -> Events:
        y = self._observations(y) / self.factor**2
        return y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)

    @property
    def values(self) -> Float[Tensor, "d"]:
        first = torch.zeros(self.factor**2, dtype=torch.float64)
        first[0] = 1 / self.factor
        return first.repeat(math.prod(self.observed))

    def right(self, x: Events) -> Coordinates:
        blocks = functional.pixel_unshuffle(x.flatten(0, 1)[:, None], self.factor)
        return (blocks.movedim(1, -1) @ self._frame.to(x)).reshape(len(x), -1)

    def spread(self, coordinates: Coordinates) -> Events:
        channels, height, width = self.observed
        blocks = coordinates.reshape(-1, height, width, self.factor**2) @ self._frame.to(coordinates).T
        return functional.pixel_shuffle(blocks.movedim(-1, 1), self.factor).reshape(-1, *self.shape)

    def left(self, y: Observations) -> Coordinates:
        return functional.pad(y.reshape(len(y), -1, 1), (0, self.factor**2 - 1)).flatten(1)

    @cached_property
    def _frame(self) -> Tensor:
        """An orthonormal basis of the pixels of a square, its first vector constant."""
        start = torch.eye(self.factor**2, dtype=torch.float64)
        start[:, 0] = 1
        q, r = torch.linalg.qr(start)
        return q * r.diagonal().sign()


@dataclass(frozen=True, eq=False)
class Blur(Operator):
    """x -> weighted means of neighbours, channel by channel: deblurring. Outside the image there is zero.

    ``kernel`` is (height, width), both odd; ``shape`` (channels, height, width) of an event. Raises: ShapeError, and
    DataError for a kernel that is not finite.

    >>> Blur(torch.ones(1, 3) / 3, (1, 1, 3))(torch.tensor([[[[0.0, 3.0, 0.0]]]]))
    tensor([[[[1., 1., 1.]]]])
    """

    kernel: Float[Tensor, "height width"]
    shape: tuple[int, ...]

    def __post_init__(self):
        if any(side % 2 == 0 for side in self.kernel.shape) or len(self.shape) != 3:
            raise ShapeError(
                f"Blur(kernel of {tuple(self.kernel.shape)}, shape={self.shape}): wanted odd sides and (channels, height, width)."
            )
        require_finite("Blur", self.kernel)

    @property
    def observed(self) -> tuple[int, ...]:
        return self.shape

    def __call__(self, x: Events) -> Observations:
        return self._convolve(self._events(x), self.kernel)

    def transpose(self, y: Observations) -> Events:
        return self._convolve(self._observations(y), self.kernel.flip(0, 1))

    def _convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        height, width = kernel.shape
        weight = kernel.to(x).expand(self.shape[0], 1, height, width)
        return functional.conv2d(x, weight, padding=(height // 2, width // 2), groups=self.shape[0])
