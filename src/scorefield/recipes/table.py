"""Any table of numbers: an MLP on standardised columns, whose samples and densities come back in the table's units.

log p(x) = log p(y) − Σ_j log c_j,   x = c y + b
"""

import io
import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import files
from ..data import Dataset, open_data
from ..errors import ShapeError
from ..likelihood import log_density
from ..metrics import energy_distance
from ..metrics.estimate import mean
from ..models import Denoiser, Preconditioned
from ..networks import MLP
from ..noises import VP
from ..objectives import Diffusion
from ..tensors import seeded
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measure, Measures

Rows = Float[Tensor, "n columns"]
WIDE = 8
"""Tables of more columns are reported by their largest deviations only."""


def table(
    *,
    data: str,
    columns: list[str] | None = None,
    width: int = 256,
    depth: int = 3,
    steps: int = 5000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 30,
    samples: int = 2000,
    seed: int = 0,
) -> Experiment:
    """The joint law of the columns of any table of numbers, CSV or Parquet: new rows, and log p of given ones.

    Args:
        data: a .csv, .tsv, .parquet or .npy file of numbers, one row for each example
        columns: names of the columns to use, separated by commas; all of them by default
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: rows in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of new rows, written to samples.csv and compared with held-out ones
        seed: of the weights, the batches, the noise and the samples
    """
    rows = open_data(data, columns=columns, seed=seed)
    if len(rows.shape) != 1:
        raise ShapeError(
            f"table(data={data!r}): events of shape {rows.shape}; rows of numbers wanted, or recipe digits."
        )
    with seeded(seed):
        model = Preconditioned(MLP(rows.shape[0], width, depth), VP())
    return Experiment(
        model,
        Diffusion(),
        rows,
        steps=steps,
        batch=batch,
        training={"learning_rate": learning_rate},
        drawing=Drawing(steps=sampling_steps),
        seed=seed,
        count=samples,
        report=_report,
    )


def csv(rows: Rows, columns: tuple[str, ...]) -> bytes:
    """The rows as CSV with a header, numbers to six digits.

    >>> csv(torch.tensor([[1.5, 2.0]]), ("a", "b"))
    b'a,b\\n1.5,2\\n'
    """
    text = io.StringIO()
    names = columns or tuple(f"x{k + 1}" for k in range(rows.shape[1]))
    np.savetxt(text, rows.double().numpy(), fmt="%.6g", delimiter=",", header=",".join(names), comments="")
    return text.getvalue().encode()


def _report(finished: Finished) -> Measures:
    data = finished.experiment.data
    drawn = finished.sample()
    samples, real = data.scaling.to_data(drawn), data.scaling.to_data(torch.cat([data.train, data.held_out]))
    files.replace(finished.folder / "samples.csv", csv(samples, data.columns))
    found = _largest(drawn, data)
    names = data.columns or tuple(f"x{k + 1}" for k in range(data.shape[0]))
    if len(names) <= WIDE:
        for k, name in enumerate(names):
            found |= _column(name, samples[:, k], real[:, k])
    found |= _likelihood(finished)
    return found | {"training_seconds": Measure(finished.seconds, meaning="seconds of training")}


def _largest(drawn: Rows, data: Dataset) -> dict[str, Measure]:
    n = min(len(data.held_out), len(data.train))
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:n]
    energy, floor = energy_distance(drawn, data.held_out), energy_distance(data.train[order], data.held_out)
    found = {
        "energy": Measure(energy.value, energy.error, abs(floor.value), "energy distance to held-out rows, in sds")
    }
    gaps = {
        "mean_gap": ("largest error of a column's mean, in its sds", lambda x: x.mean(0)),
        "sd_gap": ("largest error of a column's standard deviation, in its sds", lambda x: x.std(0)),
        "correlation_gap": ("largest error of a correlation", lambda x: torch.corrcoef(x.T)),
    }
    for name, (words, f) in gaps.items():
        model, real = (float((f(x.double()) - f(data.train.double())).abs().max()) for x in (drawn, data.held_out))
        found[name] = Measure(model, None, real, f"{words}; real: held-out rows")
    return found


def _column(name: str, x: Float[Tensor, "n"], real: Float[Tensor, "m"]) -> dict[str, Measure]:
    x, real = x.double(), real.double()
    found = {
        f"{name}: mean": Measure(float(x.mean()), float(x.std()) / math.sqrt(len(x)), float(real.mean())),
        f"{name}: sd": Measure(float(x.std()), None, float(real.std())),
    }
    for part in (0.05, 0.5, 0.95):
        found[f"{name}: {part:.0%}"] = Measure(float(x.quantile(part)), None, float(real.quantile(part)))
    return found


def _likelihood(finished: Finished) -> dict[str, Measure]:
    data, model = finished.experiment.data, cast(Denoiser, finished.model)
    rows = data.held_out[:500]
    if data.shape[0] > 64 or len(rows) < 2:
        return {}
    scale = torch.as_tensor(data.scaling.scale, dtype=torch.float64).expand(data.shape[0]).log().sum()
    nats = mean(log_density(model, rows.to(next(model.parameters()).device)).value.cpu() - scale)
    centre, spread = data.train.double().mean(0), torch.cov(data.train.double().T).reshape(data.shape * 2)
    normal = torch.distributions.MultivariateNormal(centre, spread + 1e-6 * torch.eye(data.shape[0]))
    words = (
        f"mean log p of held-out rows in nats (a Gaussian: {float(normal.log_prob(rows.double()).mean() - scale):.4g})"
    )
    return {"log_density": Measure(nats.value, nats.error, None, words)}
