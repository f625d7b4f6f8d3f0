"""N processes are one: the gradient of the joint batch, however it is cut into processes and micro-batches."""

import os

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from scorefield.calculus import Hutchinson
from scorefield.data import batches
from scorefield.models import Energy, Preconditioned
from scorefield.networks import MLP
from scorefield.noises import VP
from scorefield.objectives import Denoising, Diffusion, Implicit, Sliced
from scorefield.training import fit

ROWS = 11  # neither 2 processes nor 3 micro-batches divide it


def denoiser():
    return Preconditioned(MLP(3, width=16, depth=1), VP())


def field():
    return MLP(3, width=16, depth=1)


def energy():
    return Energy(MLP(3, width=16, depth=1, out=1))


CASES = {
    "denoising": (field, Denoising(0.3)),
    "diffusion": (denoiser, Diffusion()),
    "sliced": (field, Sliced()),
    "implicit": (field, Implicit(Hutchinson())),
    "energy": (energy, Implicit()),
}


def trained(name: str, steps: int, accumulate: int) -> torch.Tensor:
    """All weights after some steps of plain gradient descent: after one they are the gradient, after more its sum."""
    make, objective = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    data = batches(torch.randn(40, 3, dtype=torch.float64), ROWS)
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    fit(
        model,
        objective,
        data,
        steps=steps,
        optimizer=torch.optim.SGD,
        learning_rate=1.0,
        warmup=0.0,
        clip=None if steps == 1 else 0.1,
        accumulate=accumulate,
    )
    return (nn.utils.parameters_to_vector(model.parameters()) - before).detach()


def worker(rank: int, folder: str, jobs: list) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    # They meet at a file: a port that was free a moment ago may be another's by now.
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save([trained(*job) for job in jobs], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What two real processes, joined by gloo, learn, next to one process alone."""
    jobs = [(name, steps, accumulate) for name in CASES for steps in (1, 4) for accumulate in (1, 2)]
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(worker, args=(str(folder), jobs), nprocs=2)
    two = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    one = [trained(name, steps, 1) for name, steps, _ in jobs]
    return {job: (alone, first, second) for job, alone, first, second in zip(jobs, one, *two)}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(results, name, steps, accumulate):
    alone, first, second = results[name, steps, accumulate]
    assert alone.norm() > 1e-3
    assert torch.equal(first, second)
    assert (alone - first).abs().max() <= 1e-12 * max(1.0, alone.abs().max().item())
