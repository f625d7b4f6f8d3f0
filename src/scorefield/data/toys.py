"""Laws on the plane that can be seen: E x = 0 and E‖x‖² = 2 for each, whatever its noise.

Each row is a fixed function of its own few uniform and normal numbers, so that with `Streams` row i is the same in
any batch. Lengths in the arguments are in the figure's own units (given with each), before its centre goes to 0 and
its size to 1. Where the density is closed it is stated in those units.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..tensors import Draws, normal, uniform

Points = Float[Tensor, "n 2"]


def moons(n: int, *, noise: float = 0.05, generator: Draws | None = None) -> Points:
    """Two half circles that hold each other: (cos θ, sin θ) and (1 − cos θ, ½ − sin θ), θ ~ U(0, π), plus noise · z.

    Use it to see whether a model keeps two curved pieces apart. noise: in radii of the circles.

    Raises: RangeError for n below 1 or a negative noise.

    >>> moons(4).shape
    torch.Size([4, 2])
    """
    u, z = _draws("moons", n, noise, generator)
    angle, lower = math.pi * u[:, 0], u[:, 1] < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    square = 0.75 + 0.5 - 4 / math.pi**2 + (2 / math.pi - 0.25) ** 2
    return _unit(torch.stack([x - 0.5, y - 0.25], 1) + noise * z, square + 2 * noise**2)


def rings(n: int, *, count: int = 3, noise: float = 0.05, generator: Draws | None = None) -> Points:
    """Rings of radius 1, 2, …, count, equally likely: p(x) = Σ_k N(‖x‖; k, noise²) / (2π‖x‖ count).

    Use it where mass surrounds holes. The formula leaves out radii below 0, of probability Φ(−1/noise).

    Raises: RangeError for n or count below 1, or a negative noise.

    >>> rings(4).shape
    torch.Size([4, 2])
    """
    if count < 1:
        raise RangeError(f"rings(count={count}): count must be at least 1.")
    u, z = _draws("rings", n, noise, generator)
    radius = 1 + (u[:, 0] * count).floor() + noise * z[:, 0]
    angle = 2 * math.pi * u[:, 1]
    square = (count + 1) * (2 * count + 1) / 6 + noise**2
    return _unit(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), square)


def checkerboard(n: int, *, generator: Draws | None = None) -> Points:
    """Uniform on the 8 squares of one colour of a 4 × 4 board: p(x) = 1/8 on [−2, 2]² where ⌊x₁⌋ + ⌊x₂⌋ is even.

    Use it to see how sharp an edge a model can draw.

    Raises: RangeError for n below 1.

    >>> checkerboard(4).shape
    torch.Size([4, 2])
    """
    u, _ = _draws("checkerboard", n, 0.0, generator)
    x = 4 * u[:, 0] - 2
    row = 2 * u[:, 1] - 1
    y = 2 * row.floor() + (x.floor() % 2) + (row - row.floor())
    return _unit(torch.stack([x, y], 1), 8 / 3)


def spirals(n: int, *, turns: float = 1.5, noise: float = 0.02, generator: Draws | None = None) -> Points:
    """Two arms ±r (cos 2π·turns·r, sin 2π·turns·r), r = √u of uniform u, plus noise · z.

    Use it for long thin structure. noise: in lengths of an arm's outermost radius.

    Raises: RangeError for n below 1, a negative noise, or turns that are not positive.

    >>> spirals(4).shape
    torch.Size([4, 2])
    """
    if not turns > 0:
        raise RangeError(f"spirals(turns={turns}): turns must be above 0.")
    u, z = _draws("spirals", n, noise, generator)
    radius = u[:, 0].sqrt()
    angle = 2 * math.pi * turns * radius + torch.where(u[:, 1] < 0.5, 0.0, math.pi)
    return _unit(torch.stack([radius * angle.cos(), radius * angle.sin()], 1) + noise * z, 0.5 + 2 * noise**2)


def mixture(n: int, *, modes: int = 8, noise: float = 0.1, generator: Draws | None = None) -> Points:
    """Gaussians on the unit circle, equally likely: p(x) = Σ_k N(x; (cos 2πk/modes, sin 2πk/modes), noise² I) / modes.

    Use it to count the modes a model finds. noise: the standard deviation of each, in radii of the circle.

    Raises: RangeError for n below 1, modes below 2, or a negative noise.

    >>> mixture(4).shape
    torch.Size([4, 2])
    """
    if modes < 2:
        raise RangeError(f"mixture(modes={modes}): modes must be at least 2.")
    u, z = _draws("mixture", n, noise, generator)
    angle = 2 * math.pi * (u[:, 0] * modes).floor() / modes
    return _unit(torch.stack([angle.cos(), angle.sin()], 1) + noise * z, 1 + 2 * noise**2)


def _draws(what: str, n: int, noise: float, generator: Draws | None) -> tuple[Tensor, Tensor]:
    if n < 1:
        raise RangeError(f"{what}(n={n}): n must be at least 1.")
    if not 0 <= noise < math.inf:
        raise RangeError(f"{what}(noise={noise}): noise must be at least 0 and finite.")
    like = torch.empty(n, 2)
    # float32 rounds the largest uniform numbers to 1, which would be one square or mode too many.
    return uniform(like, generator).clamp_max(1 - 2**-24), normal(like, generator)


def _unit(x: Tensor, square: float) -> Tensor:
    return x * math.sqrt(2 / square)
