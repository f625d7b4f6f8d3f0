"""k steps, save, load and n − k steps are n steps, bit for bit: also when the process was killed at any moment."""

import math
import multiprocessing
import os
import random
import signal
import time
from functools import partial

import pytest
import torch
from torch import nn

from scorefield.checkpoints import Run, load, read_log
from scorefield.data import batches
from scorefield.models import Preconditioned
from scorefield.networks import MLP
from scorefield.noises import VP
from scorefield.objectives import Diffusion
from scorefield.training import Exponential, Power, linear, train

STEPS = 120


class Dropping(nn.Module):
    """A network whose user draws from torch's own generator."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.inner = MLP(2, width=width, depth=1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x, t=None):
        return self.inner(self.drop(x), t)


def model_of(network=MLP):
    torch.manual_seed(3)
    return Preconditioned(MLP(2, width=16, depth=1) if network is MLP else network(8), VP())


def data_of(size=24):
    return batches(torch.randn(100, 2, generator=torch.Generator().manual_seed(1)), size)


def everything(state):
    return {"step": state.step, "numbers": state.numbers}, [state.weights, state.average, state.optimizer]


def assert_same(first, second):
    assert everything(first)[0] == everything(second)[0]
    for one, two in zip(everything(first)[1], everything(second)[1]):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


OPTIONS = {
    "defaults": {},
    "accumulated": {"accumulate": 3},
    "momentum": {"optimizer": partial(torch.optim.SGD, momentum=0.9), "learning_rate": 0.1, "decay": linear},
    "amsgrad": {"optimizer": partial(torch.optim.AdamW, amsgrad=True), "average": Exponential(0.9)},
    "bfloat16": {"precision": torch.bfloat16, "average": Power(4.0), "clip": 0.01},
}


@pytest.mark.parametrize("stop", [1, 7])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("network", [MLP, Dropping])
def test_stopped_saved_loaded_continued_is_uninterrupted(tmp_path, name, network, stop):
    options = {"steps": 12, "warmup": 0.3, "held_out": torch.randn(20, 2), "evaluate_every": 5, **OPTIONS[name]}
    whole = []
    full = list(train(model_of(network), Diffusion(), data_of(), save=whole.append, **options))
    model = model_of(network)
    with Run.create(tmp_path, model) as run:
        progress = train(model, Diffusion(), data_of(), save=run.save_state, **options)
        for each in progress:
            if each.step == stop:
                break
        progress.close()
    torch.manual_seed(99)  # what happens to torch's own generator in between is nobody's business
    with Run.open(tmp_path) as run:
        state = run.load_state()
        assert state.step == stop
        end = []
        rest = list(train(model_of(network), Diffusion(), data_of(), save=end.append, state=state, **options))
    assert_same(end[-1], whole[-1])
    told = [[(p.step, p.loss, p.learning_rate, p.gradient_norm, p.held_out) for p in part] for part in (full, rest)]
    assert told[0][stop:] == told[1]


def test_a_plain_iterable_is_continued_at_its_batch():
    data = [torch.randn(8, 2, generator=torch.Generator().manual_seed(k)) for k in range(5)]
    whole, half, end = [], [], []
    list(train(model_of(), Diffusion(), data, steps=8, save=whole.append))
    list(train(model_of(), Diffusion(), data, steps=8, save=half.append, save_every=3))
    list(train(model_of(), Diffusion(), data, steps=8, save=end.append, state=half[1]))
    assert half[1].step == 6
    assert_same(end[-1], whole[-1])


class Ending:
    """The data as far as step ``last``, and then nothing more, for ever."""

    def __init__(self, last):
        self.last = last

    def stream(self, start):
        for number, batch in enumerate(data_of().stream(start), start):
            while number >= self.last:
                signal.pause()
            yield batch


def session(folder, last=math.inf):
    """One life of a training: begin or continue, to the end, or as far as step ``last``, to be killed."""
    torch.set_num_threads(1)
    model = model_of()
    exists = os.path.exists(os.path.join(folder, "run.json"))
    with Run.open(folder) if exists else Run.create(folder, model, seed=0) as run:
        progress = train(
            model,
            Diffusion(),
            Ending(last),
            steps=STEPS,
            held_out=torch.ones(4, 2),
            evaluate_every=40,
            save=run.save_state,
            save_every=2,
            state=run.load_state(),
        )
        for _ in run.record(progress):
            pass


def timeless(run):
    return [{key: line[key] for key in line.keys() - {"seconds", "examples_per_second"}} for line in read_log(run)]


def last_step(run):
    lines = read_log(run)
    return lines[-1]["step"] if lines else 0


def test_killed_ten_times_and_resumed_is_uninterrupted(tmp_path):
    seed = int.from_bytes(os.urandom(4))
    print(f"moments drawn with seed {seed}")
    draw, kills, reached = random.Random(seed), 10, 0
    # A server that has imported everything makes each life start within milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "accelerate", "filelock", "pytest", "scorefield.checkpoints", "scorefield.data"]
    )

    def begin(run, last=math.inf):
        life = context.Process(target=session, args=(str(run), last))
        life.start()
        return life

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    reference = begin(whole)
    for kill in range(1, kills + 1):
        last = kill * (STEPS - 1) // kills  # a killer that the machine makes wait finds it alive all the same
        life = begin(killed, last)
        goal = draw.randint(reached, last)
        while life.is_alive() and last_step(killed) < goal:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(life.pid, signal.SIGKILL)
        life.join()
        assert life.exitcode == -signal.SIGKILL
        reached = last_step(killed)
    assert 0 < reached < STEPS
    end = begin(killed)
    end.join()
    reference.join()
    assert (end.exitcode, reference.exitcode) == (0, 0)
    for name in ("model.safetensors", "average.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert timeless(killed) == timeless(whole)
    assert [line["step"] for line in timeless(killed)] == list(range(1, STEPS + 1))
    assert not load(killed).training
    assert not list(killed.rglob(".writing-*"))


def test_an_interrupt_saves_where_it_stopped(tmp_path):
    saved = []
    interrupting = data_of()

    class Interrupted:
        def stream(self, start):
            for number, batch in enumerate(interrupting.stream(start)):
                if number == 5:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

    with pytest.raises(KeyboardInterrupt):
        list(train(model_of(), Diffusion(), Interrupted(), steps=9, save=saved.append))
    assert [state.step for state in saved] == [5]
    end, whole = [], []
    list(train(model_of(), Diffusion(), data_of(), steps=9, save=end.append, state=saved[0]))
    list(train(model_of(), Diffusion(), data_of(), steps=9, save=whole.append))
    assert_same(end[-1], whole[-1])


def test_an_interrupt_within_a_step_waits_for_its_end():
    saved = []

    def interrupting(model, x, generator=None):
        if generator.rows[0] == 3 << 32:
            os.kill(os.getpid(), signal.SIGINT)
        return Diffusion()(model, x, generator)

    with pytest.raises(KeyboardInterrupt):
        list(train(model_of(), interrupting, data_of(), steps=9, save=saved.append))
    assert [state.step for state in saved] == [4]
    end, whole = [], []
    list(train(model_of(), Diffusion(), data_of(), steps=9, save=end.append, state=saved[0]))
    list(train(model_of(), Diffusion(), data_of(), steps=9, save=whole.append))
    assert_same(end[-1], whole[-1])
