"""Whether data are in the units of the model: 0..255 is not −1..1.

A model knows its scale by what it draws. x is refused if its typical size, the median over rows of √(mean x²), is more than
ten times that of the largest of eight draws: no event so far out is met in the model's own units.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError
from ..models import Denoiser
from ..samplers import Multistep
from ..tensors import Streams

Values = Float[Tensor, "batch *event"]
DRAWS, FACTOR = 8, 10.0


def rows_of(value: object, rows: Int[Tensor, "rows"], count: int) -> object:
    """The chosen rows of a condition that has one for each of ``count``; anything else as it is.

    >>> rows_of(torch.arange(3), torch.tensor([2]), 3), rows_of("left", torch.tensor([2]), 3)
    (tensor([2]), 'left')
    """
    return value[rows.to(value.device)] if isinstance(value, Tensor) and value.ndim and len(value) == count else value


def require_scale(model: Denoiser, x: Values, **cond) -> None:
    """Refuses x whose numbers are more than ten times as large as the model's own draws.

    Raises: DataError naming both sizes.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> require_scale(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), torch.tensor([[2.0, 1.0]]))
    """
    size = x.double().flatten(1).square().mean(1).sqrt().median().item()
    if size == 0:
        return
    rows = torch.arange(DRAWS) % len(x)
    some = {key: rows_of(value, rows, len(x)) for key, value in cond.items()}
    generator, sampler = Streams(0, range(DRAWS)), Multistep()
    start = model.noise.prior(x.new_empty(DRAWS, *x.shape[1:]), generator)
    with torch.no_grad():
        for state in sampler.walk(model, start, sampler.times(model, 10), generator, **some):
            drawn = state.x
    own = drawn.double().flatten(1).square().mean(1).sqrt().max().item()
    if size > FACTOR * own:
        raise DataError(
            f"x has numbers of size {size:.3g}, the model draws numbers of size {own:.3g}: x is in other units than the "
            "model's; give it through the data's scaling, scaling.to_model(x)."
        )
