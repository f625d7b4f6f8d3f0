"""A classifier trained apart on real images, by which generated ones are judged.

It minimises E[−log p(label | x)] over images shifted by up to two pixels, and is then calibrated: the temperature T of
softmax(logits/T) is the one of greatest likelihood on a tenth of the rows that it did not train on, so that "90 %
confident" means right nine times in ten. Guo, Pleiss, Sun and Weinberger (2017), arXiv:1706.04599, section 4.2.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import skip_init

from ..errors import DataError, RangeError, ShapeError
from ..tensors import uniform


class Judge(nn.Module):
    """p(label | x) = softmax(logits(x)/T) for small square images, and the 64 features the logits are linear in.

    Three convolutions with group normalisation, one hidden layer. ``Judge.fit`` trains one; its features are those of
    the Fréchet distance.
    """

    def __init__(self, channels: int = 1, classes: int = 10, seed: int = 0):
        super().__init__()
        self.temperature: Tensor
        self.channels, self.classes, self.seed = channels, classes, seed
        widths = [channels, 16, 32, 64]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            convolution = skip_init(nn.Conv2d, before, after, 3, padding=1)
            layers += [convolution, nn.GroupNorm(4, after), nn.SiLU(), nn.MaxPool2d(2)]
        layers[-1] = nn.AdaptiveAvgPool2d(3)
        self.body = nn.Sequential(*layers, nn.Flatten(), skip_init(nn.Linear, 9 * 64, 64), nn.SiLU())
        self.head = skip_init(nn.Linear, 64, classes)
        self.register_buffer("temperature", torch.ones(()))
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """The logits, uncalibrated."""
        return self.head(self.body(x))

    @torch.no_grad()
    def features(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n 64"]:
        """The last hidden layer, in batches of 1,000."""
        self._check(x)
        return torch.cat([self.body(part) for part in x.split(1000)])

    @torch.no_grad()
    def probabilities(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """softmax(logits/T), each row summing to one, in batches of 1,000."""
        return (self.head(self.features(x)) / self.temperature).softmax(1)

    @classmethod
    def fit(
        cls,
        x: Float[Tensor, "n channels height width"],
        labels: Int[Tensor, "n"],
        *,
        classes: int = 10,
        steps: int = 600,
        batch: int = 64,
        seed: int = 0,
    ) -> "Judge":
        """A judge trained for ``steps`` steps of AdamW and calibrated; the same seed and rows give the same judge.

        600 steps on 4,000 digits take about ten seconds on two cores and leave 2 % of unseen digits wrong.

        Raises: ShapeError unless x is (n, channels, height, width); DataError unless there is a label from 0 to
        classes − 1 for every one of at least 20 rows; RangeError for fewer than one step.
        """
        if x.ndim != 4:
            raise ShapeError(f"Judge.fit(x of shape {tuple(x.shape)}): must be (n, channels, height, width).")
        if len(x) < 20 or labels.shape != (len(x),) or int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise DataError(f"Judge.fit: {len(x)} rows, labels {tuple(labels.shape)}: need 20 rows, each with a class.")
        if steps < 1 or batch < 1:
            raise RangeError(f"Judge.fit(steps={steps}, batch={batch}): both must be at least 1.")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=generator).to(x.device)
        kept, learnt = order[: len(x) // 10], order[len(x) // 10 :]
        judge = cls(x.shape[1], classes, seed).to(x.device)
        judge._learn(x[learnt], labels[learnt], steps, batch, generator)
        judge._calibrate(x[kept], labels[kept])
        return judge.eval().requires_grad_(False)

    def _initialise(self, generator: torch.Generator) -> None:
        """Uniform weights of variance 1/fan-in, drawn from the judge's own generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = math.sqrt(3 / module.weight[0].numel())
                module.weight.data = (2 * uniform(module.weight.data, generator) - 1) * bound
                module.get_parameter("bias").data.zero_()

    def _learn(self, x: Tensor, labels: Tensor, steps: int, batch: int, generator: torch.Generator) -> None:
        height, width = x.shape[2:]
        padded = F.pad(x, (2, 2, 2, 2), value=float(x.min()))
        optimizer = torch.optim.AdamW(self.parameters(), lr=4e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: min(1.0, (k + 1) / (0.2 * steps)) * 0.5 * (1 + math.cos(math.pi * k / steps))
        )
        for _ in range(steps):
            rows = torch.randint(len(x), (batch,), generator=generator).to(x.device)
            top, left = torch.randint(0, 5, (2,), generator=generator).tolist()
            loss = F.cross_entropy(self(padded[rows, :, top : top + height, left : left + width]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def _calibrate(self, x: Tensor, labels: Tensor) -> None:
        logits = self.head(self.features(x))
        grid = torch.logspace(-1, 1, 201)
        losses = torch.stack([F.cross_entropy(logits / float(t), labels) for t in grid])
        self.temperature.fill_(float(grid[int(losses.argmin())]))

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels or len(x) == 0:
            raise ShapeError(
                f"Judge(channels={self.channels}) of x of shape {tuple(x.shape)}: "
                f"must be (n, {self.channels}, height, width) with n at least 1."
            )
