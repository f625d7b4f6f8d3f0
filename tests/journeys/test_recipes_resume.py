"""Leaving a training and coming back, through the command line: Ctrl-C, --resume, and a recipe of one's own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scorefield.cli import main
from scorefield.files import read_tensors

ARGUMENTS = ["--rows", "600", "--steps", "600", "--batch", "16", "--width", "16", "--samples", "100"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*words, cwd):
    command = [sys.executable, "-c", "from scorefield.cli import main; main()", *words]
    return subprocess.Popen(
        command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def weights(folder):
    names = ("model.safetensors", "average.safetensors")
    return {(name, key): value for name in names for key, value in read_tensors(folder / name).items()}


def status(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code or 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_says_how_to_go_on_and_ends_the_same(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    process = start("train", "moons", *ARGUMENTS, "--out", "left", cwd=tmp_path)
    log, until = tmp_path / "left" / "log.jsonl", time.monotonic() + 600
    while not (log.exists() and log.read_text().count("\n") > 20) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "scorefield train moons --out left --resume" in err
    assert "Traceback" not in err
    assert not (tmp_path / "left" / "report.json").exists()
    assert 20 <= len(log.read_text().splitlines()) < 600
    assert status("train", "moons", *ARGUMENTS, "--out", "left", "--resume") == 0
    assert status("train", "moons", *ARGUMENTS, "--out", "whole") == 0
    left, whole = weights(tmp_path / "left"), weights(tmp_path / "whole")
    assert left.keys() == whole.keys()
    assert all(left[key].equal(whole[key]) for key in whole)
    reports = [(tmp_path / name / "samples.png").read_bytes() for name in ("left", "whole")]
    assert reports[0] == reports[1]


OWN = '''
import torch
from torch import nn

import scorefield as sf
from scorefield.recipes.drawing import Drawing
from scorefield.recipes.experiment import Experiment
from scorefield.tensors import seeded


class Tiny(nn.Module):
    """f(x, t) = V tanh(W [x, t])."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.shape = (2,)
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(torch.cat([x, t[:, None]], 1))))


def own_rings(*, width: int = 8, steps: int = 20) -> Experiment:
    """Rings with a network of my own.

    Args:
        width: neurons
        steps: training steps
    """
    points = sf.data.rings(200, generator=torch.Generator().manual_seed(0))
    data = sf.data.prepare(points, name="rings", scaling=sf.data.Scaling.identity())
    with seeded(0):
        model = sf.Preconditioned(Tiny(width), sf.VP())
    return Experiment(model, sf.Diffusion(), data, steps=steps, batch=16, drawing=Drawing(steps=4), count=100)
'''


def test_a_recipe_of_ones_own_trains_resumes_and_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own_rings.py").write_text(OWN)
    assert status("train", "own_rings.py", "--help") == 0
    assert "Rings with a network of my own." in capsys.readouterr().out
    assert status("train", "own_rings.py", "--width", "6") == 0
    assert "scorefield sample runs/own_rings --n 64 --recipe own_rings.py" in capsys.readouterr().out
    assert read_tensors(Path("runs/own_rings/model.safetensors"))["network.first.weight"].shape == (6, 3)
    assert status("train", "own_rings.py", "--resume") == 0
    capsys.readouterr()
    # A folder's word alone makes no code of one's own run.
    assert status("sample", "runs/own_rings") == 2
    assert "add --recipe path/to/recipe.py" in capsys.readouterr().err
    assert status("evaluate", "runs/own_rings") == 2
    assert status("sample", "runs/own_rings", "--recipe", "own_rings.py", "--out", "x.npy") == 0
    assert status("evaluate", "runs/own_rings", "--recipe", "own_rings.py") == 0
    assert status("doctor", "runs/own_rings", "--recipe", "own_rings.py") == 0
    assert status("doctor", "own_rings.py", "--width", "4") == 0
