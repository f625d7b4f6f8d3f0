"""Jumps learnt from walks: a teacher's paths are kept, and the student learns from each of their points to jump to the end.

    regression    d(f(x_t, t), x_0) on the teacher's own pairs                     Luhman & Luhman 2021, arXiv:2101.02388
    critic        log(1 + e^{−D(x_0)}) + log(1 + e^{D(f)}) + (γ/2)|∇D(x_0)|²       Mescheder et al. 2018, eq. 9, arXiv:1801.04406
    student       log(1 + e^{−D(f)}), and the distance of D's features at f and x_0   Wang et al. 2018, eq. 4, arXiv:1711.11585

Where a small network cannot learn the whole path, regression averages over what it cannot tell apart; the critic makes it choose
(Sauer et al. 2023, arXiv:2311.17042). All losses are of one row, and both players move in the same step of one optimiser. Whatever is
called x_0 here was drawn by the teacher: the critic sees no data.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import RangeError, ShapeError
from ..models import Denoiser, Values
from ..samplers import Sampler
from ..tensors import Draws, Streams, sum_event
from .consistency import Distance, Losses, pseudo_huber
from .neighbours import Neighbours

Show = Callable[[int], object]


def nodes(denoiser: Denoiser, times: Float[Tensor, "times"], levels: tuple[float, ...]) -> Int[Tensor, "nodes"]:
    """Which times of a descending grid come nearest, in log σ/α, to the levels; the grid's last time, 0, is none of them.

    Raises: RangeError for levels that do not descend, or of which two fall on one time.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> nodes(known, torch.tensor([1.0, 0.5, 0.1, 0.01, 0.0]), (80.0, 7.0))
    tensor([0, 2])
    """
    logs = denoiser.noise.ratio(times[:-1].double()).log()
    found = (logs[None] - torch.tensor(levels, dtype=torch.float64).log()[:, None]).abs().argmin(1)
    if not levels or any(int(a) >= int(b) for a, b in pairwise(found)):
        raise RangeError(
            f"levels={levels}: must descend, each nearest to another of the {len(times) - 1} times of the teacher."
        )
    return found


def trajectories(
    teacher: Denoiser,
    sampler: Sampler,
    times: Float[Tensor, "times"],
    kept: Int[Tensor, "nodes"],
    like: Float[Tensor, "n *event"],
    *,
    seed: int = 0,
    chunk: int = 500,
    show: Show | None = None,
    **cond: Tensor,
) -> dict[str, Tensor]:
    """{"x": ends, "path": states at the ``kept`` times, in half precision, **cond} of walks from the prior: batches for the student.

    One walk for each row of ``like`` (whose values do not matter) and of the conditions; walk i depends on (seed, i) alone. ``show``
    is called with the number of walks done. Cost: the teacher's walk of every row.

    >>> from scorefield.exact import Gaussian; from scorefield.grids import karras; from scorefield.noises import EDM
    >>> from scorefield.samplers import Heun
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> found = trajectories(known, Heun(), karras(EDM(80.0), 8), torch.tensor([0, 4]), torch.empty(6, 2))
    >>> found["x"].shape, found["path"].shape
    (torch.Size([6, 2]), torch.Size([6, 2, 2]))
    """
    ends, paths, wanted = [], [], set(kept.tolist())
    for start in range(0, len(like), chunk):
        stop = min(len(like), start + chunk)
        draws = Streams(seed, range(start, stop))
        x = teacher.noise.prior(like[start:stop], draws)
        given = {name: rows[start:stop] for name, rows in cond.items()}
        seen = []
        for k, state in enumerate(sampler.walk(teacher, x, times, draws, **given)):
            x = state.x
            if k in wanted:
                seen.append(x.half())
        ends.append(x)
        paths.append(torch.stack(seen, 1))
        if show is not None:
            show(stop)
    return {"x": torch.cat(ends), "path": torch.cat(paths), **cond}


class TrajectoryDistillation(nn.Module):
    """d(f(x_t, t), x_0)/√d + a log(1 + e^{−D(f)}) + b |φ_D(f) − φ_D(x_0)|, x_t and x_0 on one walk of the teacher; times d.

    An objective for `train` on the batches of `trajectories`. ``starts`` are the kept times and a last 0, with how often each is
    trained; the student then draws by `Renoise` from any of them. ``critic`` answers (x, **cond) with a logit and features, and is
    trained beside the student; None leaves the regression alone. Start from the teacher's weights, with a short memory in the
    optimiser. Raises: RangeError for a negative weight; ShapeError for paths of another number of times.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> objective = TrajectoryDistillation(Neighbours(torch.tensor([1.0, 0.05, 0.0])))
    >>> objective(known, torch.ones(3, 2), path=torch.ones(3, 2, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        starts: Neighbours,
        critic: nn.Module | None = None,
        distance: Distance = pseudo_huber,
        adversarial: float = 0.1,
        features: float = 1.0,
        penalty: float = 0.1,
    ):
        super().__init__()
        if min(adversarial, features, penalty) < 0:
            raise RangeError(
                f"TrajectoryDistillation(adversarial={adversarial:g}, features={features:g}, penalty={penalty:g}): "
                "weights must be at least 0."
            )
        self.starts = starts
        self.critic = critic
        self.distance = distance
        self.adversarial, self.features, self.penalty = adversarial, features, penalty

    def forward(self, model: Denoiser, x: Values, generator: Draws | None = None, *, path: Tensor, **cond) -> Losses:
        if path.shape != (len(x), len(self.starts.times) - 1, *x.shape[1:]):
            raise ShapeError(
                f"TrajectoryDistillation: paths of shape {tuple(path.shape)} for x of shape {tuple(x.shape)}; wanted "
                f"(batch, {len(self.starts.times) - 1}, *event), a state for each of the times to start from."
            )
        n, times = self.starts.interval(x, generator), self.starts.times.double().to(x.device)
        rows = torch.arange(len(x), device=x.device)
        y = model(path[rows, n].to(x), times[n], **cond)
        dimension = x[0].numel()
        losses = self.distance(y, x) / dimension**0.5
        if self.critic is not None:
            losses = losses + self._game(self.critic, y, x, **cond)
        return dimension * losses  # training takes the mean over coordinates

    def _game(self, critic: nn.Module, y: Values, x: Values, **cond) -> Losses:
        still = {name: value.detach() for name, value in critic.named_parameters()}
        logit, seen = functional_call(critic, still, (y,), cond)
        with torch.no_grad():
            _, wanted = critic(x, **cond)
        away = sum((a - b).abs().flatten(1).mean(1) for a, b in zip(seen, wanted))
        student = self.adversarial * F.softplus(-logit) + self.features * away
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            real = x.detach().requires_grad_()
            high, low = critic(real, **cond)[0], critic(y.detach(), **cond)[0]
            (slope,) = torch.autograd.grad(high.sum(), real, create_graph=keep)
        own = F.softplus(-high) + F.softplus(low) + 0.5 * self.penalty * sum_event(slope**2)
        return student + (own if keep else own.detach())
