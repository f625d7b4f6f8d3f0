"""All that continuing a training needs, as tensors and plain data.

There is no random state: draws are functions of (seed, step, row), data of the batch's number.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..describe import Plain, build, describe
from ..errors import RangeError, RunError
from .loss import Loss

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class State:
    """After ``step`` steps: the weights of the loss module, their average, and the optimiser's tensors and numbers.

    ``train(..., save=...)`` hands it out, ``train(..., state=...)`` continues from it, bit for bit.

    >>> State(1, 0, 0.1, {"model.weight": torch.ones(1)}, {}, {}, {}).model()
    {'weight': tensor([1.])}
    """

    step: int
    seed: int
    seconds: float
    weights: Tensors
    average: Tensors
    optimizer: Tensors
    numbers: Plain

    def model(self) -> Tensors:
        """The live model's weights, under the names of its own ``state_dict``."""
        return {name.removeprefix("model."): value for name, value in self.weights.items() if name.startswith("model.")}


def capture(
    step: int, seed: int, seconds: float, loss: Loss, average: nn.Module, optimizer: torch.optim.Optimizer
) -> State:
    """A copy on the CPU of everything that the next step depends on.

    >>> model = nn.Linear(1, 1)
    >>> state = capture(5, 0, 1.5, Loss(model, print), model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> state.step, sorted(state.weights)
    (5, ['model.bias', 'model.weight'])
    """
    saved = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, Any] = {}
    for index, entries in saved["state"].items():
        for name, value in entries.items():
            (tensors if isinstance(value, Tensor) else numbers)[f"{index}.{name}"] = value
    plain = describe({"values": numbers, "groups": saved["param_groups"]})
    return State(step, seed, seconds, _copy(loss.state_dict()), _copy(average.state_dict()), _copy(tensors), plain)


def restore(state: State, seed: int, loss: Loss, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts everything back where `capture` found it.

    Raises: RangeError for another seed; RunError for the state of another model or optimiser.

    >>> model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> state = capture(5, 0, 1.5, Loss(model, print), model, optimizer)
    >>> restore(state, 0, Loss(other, print), other, optimizer)
    >>> torch.equal(model.weight, other.weight)
    True
    """
    if state.seed != seed:
        raise RangeError(f"train(seed={seed}): the state was saved with seed {state.seed}; continue with that seed.")
    numbers = build(state.numbers)
    entries: dict[int, dict] = {}
    for key, value in (state.optimizer | numbers["values"]).items():
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = value.clone() if isinstance(value, Tensor) else value
    try:
        loss.load_state_dict(state.weights)
        average.load_state_dict(state.average)
        optimizer.load_state_dict({"state": entries, "param_groups": numbers["groups"]})
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"state of step {state.step} does not fit this model and optimiser: {str(error).splitlines()[0]}; "
            "continue with the arguments it was trained with."
        ) from error
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:  # numbers round as they are laid out
                moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _copy(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
