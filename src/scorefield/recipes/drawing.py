"""How a run draws: sampler, grid, and for models of labelled data which label each sample gets and how strongly it guides.

Sample i of a seed, its label included, is a function of (seed, i) alone, so that p(x) = Σ_c p(c) p(x | c) with even p(c).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import RangeError
from ..fitted import fitted_times
from ..guidance import Free
from ..models import Denoiser
from ..samplers import Sampler, State
from ..sampling import sample, walk
from ..tensors import Streams, uniform


def even_labels(classes: int, streams: Streams) -> Int[Tensor, "n"]:
    """A label for each row of the streams, every one of the classes alike: a function of the row's seed and number alone.

    >>> torch.equal(even_labels(10, Streams([3, 4], [0, 5]))[1:], even_labels(10, Streams(4, [5])))
    True
    """
    u = uniform(torch.empty(len(streams.rows), dtype=torch.float64), Streams(streams.seed ^ 0x1ABE1, streams.rows))
    return (u * classes).long()


@dataclass(frozen=True)
class Drawing:
    """Sampler, steps or an explicit grid ``times``; ``classes`` of labels, and guidance of ``weight`` for low ≤ σ/α ≤ high.

    ``fitted`` are grids chosen for this model by `tuned`, each used when a walk of its length is asked for without ``times``.

    >>> Drawing(classes=10).labels(4).tolist() == Drawing(classes=10).labels(9)[:4].tolist()
    True
    """

    sampler: Sampler | None = None
    steps: int = 20
    times: Float[Tensor, "times"] | None = None
    classes: int | None = None
    weight: float = 1.0
    low: float = 0.0
    high: float = 1e9
    fitted: tuple[Float[Tensor, "_"], ...] = ()

    def __post_init__(self):
        if self.steps < 1:
            raise RangeError(f"Drawing(steps={self.steps}): the walk needs at least 1 step.")

    def labels(self, n: int, seed: int = 0, label: int | None = None) -> Int[Tensor, "n"]:
        """n labels, drawn evenly, or all the one that is given.

        Raises: RangeError for a label of no class.
        """
        if label is not None and (self.classes is None or not 0 <= label < self.classes):
            known = (
                "the run has no labels; leave it out" if self.classes is None else f"labels are 0 to {self.classes - 1}"
            )
            raise RangeError(f"label {label}: {known}.")
        if label is not None:
            return torch.full((n,), label)
        return even_labels(self.classes or 1, Streams(seed, range(n)))

    @property
    def grid(self) -> Float[Tensor, "times"] | None:
        """The times of the walk: those given, or fitted for so many steps; None leaves them to the sampler."""
        return (
            self.times if self.times is not None else next((g for g in self.fitted if len(g) == self.steps + 1), None)
        )

    def tuned(self, model: nn.Module, steps: int, *, shape: tuple[int, ...], seed: int = 1) -> "Drawing":
        """This drawing with a grid of so many steps fitted to the model as it is drawn; see `fitted_times`."""
        guided, cond = self._guided(model, 64, seed, None)
        times = fitted_times(guided, steps, sampler=self.sampler, seed=seed, shape=shape, **cond)  # type: ignore[arg-type]
        others = tuple(grid for grid in self.fitted if len(grid) != len(times))
        return replace(self, fitted=(*others, times))

    def sample(
        self, model: nn.Module, n: int, *, shape: tuple[int, ...], seed: int = 0, label: int | None = None
    ) -> Float[Tensor, "n *event"]:
        """n samples in the model's units, on the CPU. Raises: as `scorefield.sample`; RangeError for a label of no class."""
        guided, cond = self._guided(model, n, seed, label)
        how = {"steps": self.steps, "sampler": self.sampler, "times": self.grid, "seed": seed, "shape": shape}
        return sample(guided, n, **how, **cond).cpu()  # type: ignore[arg-type]

    def walk(self, model: nn.Module, n: int, *, shape: tuple[int, ...], seed: int = 0) -> Iterator[State]:
        """The states of n walks, on the CPU."""
        guided, cond = self._guided(model, n, seed, None)
        how = {"steps": self.steps, "sampler": self.sampler, "times": self.grid, "seed": seed, "shape": shape}
        for state in walk(guided, n, **how, **cond):  # type: ignore[arg-type]
            yield State(state.x.cpu(), state.t.cpu(), None if state.denoised is None else state.denoised.cpu())

    def _guided(self, model: nn.Module, n: int, seed: int, label: int | None) -> tuple[nn.Module, dict[str, Tensor]]:
        if label is not None or self.classes is not None:
            labels = self.labels(n, seed, label)
            if isinstance(model, Denoiser):
                device = next(model.parameters(), labels).device  # a graph has no parameters
                return Free(model, self.weight, self.low, self.high), {"label": labels.to(device)}
        return model, {}
