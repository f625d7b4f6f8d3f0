"""Small networks that learn the density on the page while one waits: a denoiser at all noise levels, or one that is an energy's slope.

Both minimise E_t w(t) ½‖x̂(x_t, t) − x_0‖² over 4,000 points, 800 steps of 256: seconds on a laptop. Every tenth part the field is put
where the page finds it, so that it is seen forming.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Literal

from ..data import batches
from ..exact import Density
from ..models import Energy, Preconditioned, edm
from ..networks import MLP
from ..noises import EDM
from ..objectives import Diffusion
from ..tensors import Streams, seeded
from ..training import train
from .densities import Chosen
from .held import Held

Kind = Literal["energy", "network"]
ROWS, STEPS, BATCH, RATE, WIDTH, DEPTH, SIGMA_MAX = 4000, 800, 256, 1e-2, 64, 2, 5.0


def untrained(kind: Kind) -> Preconditioned:
    """The network before its first step: the same one every time.

    >>> untrained("energy").energy is None
    False
    """
    with seeded(0):
        network = MLP(2, WIDTH, DEPTH, out=1 if kind == "energy" else None)
    return Preconditioned(Energy(network) if kind == "energy" else network, EDM(SIGMA_MAX), edm)


def learn(held: Held, chosen: Chosen, kind: Kind, run: str = "", steps: int | None = None) -> Iterator[dict[str, Any]]:
    """Trains on draws of the chosen density, telling {step, steps, loss}; the model is `held` under its key from the first part on."""
    model, data = untrained(kind), points(held.density(chosen, run))
    steps = steps or STEPS
    part = max(1, steps // 10)
    for progress in train(model, Diffusion(), batches(data, BATCH), steps=steps, learning_rate=RATE):
        if progress.average is not None and (progress.step % part == 0 or progress.step == steps):
            held.models.put(key(chosen, kind, run), deepcopy(progress.average).eval().requires_grad_(False))
            yield {"kind": "step", "step": progress.step, "steps": steps, "loss": round(progress.loss, 6)}


def points(density: Density):
    """What is learned from."""
    return density.sample(ROWS, Streams(0, range(ROWS))).float()


def key(chosen: Chosen, kind: str, run: str = "") -> str:
    """Where a trained network is held."""
    return f"{kind} {chosen.key} {run}"
