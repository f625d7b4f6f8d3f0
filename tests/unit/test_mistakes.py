"""Plausible mistakes, at the command line and in Python: each answer says what, got, wanted and the remedy."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield.cli import main
from scorefield.errors import ShapeError, StorageError
from scorefield.files import writing
from scorefield.tensors import require_tensor


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "without_function.py").write_text("width = 3\n")
    (tmp_path / "file").write_text("taken")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("sample moons --steps 0", "Drawing(steps=0): the walk needs at least 1 step"),
        ("export moons --steps 0", "Drawing(steps=0): the walk needs at least 1 step"),
        ("sample moons --label 3", "label 3: the run has no labels; leave it out"),
        (
            "train without_function.py",
            "recipe without_function.py: no function in it; write one that returns an Experiment",
        ),
        ("train nowhere.py", "no file of that name (looked for "),
        ("doctor hf:", "hf: names no data set; write hf:NAME"),
        ("serve moons --token-file nowhere", "a text file with at least 16 characters wanted"),
    ],
)
def test_the_command_line_says_what_is_wrong(place, capsys, words, answer):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert answer in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_no_full_disk(place):
    with pytest.raises(StorageError, match="File exists; choose another folder") as told, writing(place / "file"):
        (place / "file").mkdir()
    assert "free some space" not in str(told.value)


def fresh() -> sf.Denoiser:
    return sf.Preconditioned(sf.MLP(2, width=8), sf.VP())


@pytest.mark.parametrize(
    ("x", "answer"),
    [
        (torch.ones(8, 2).double(), r"data of torch.float64, weights of torch.float32; .*x\.to\(torch\.float32\)"),
        (torch.ones(8, 3), r"examples of shape \(3,\); the model is one of events \(2,\)"),
    ],
    ids=["double", "columns"],
)
def test_data_that_a_network_cannot_take_are_named(x, answer):
    with pytest.raises(ShapeError, match=answer):
        sf.fit(fresh(), sf.Diffusion(), [x], steps=1)


def test_an_error_of_ones_own_network_is_not_renamed():
    class Broken(torch.nn.Linear):
        def forward(self, x):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        sf.fit(Broken(2, 2), sf.Denoising(0.5), [torch.ones(8, 2)], steps=1)


def test_what_is_no_tensor_is_told_how_to_become_one():
    class Frame:
        def to_numpy(self):
            return np.zeros((2, 2))

    with pytest.raises(ShapeError, match=r"fit: data of type numpy\.ndarray; .*: torch\.as_tensor\(x\)\."):
        require_tensor(np.zeros((2, 2)), "fit")
    with pytest.raises(ShapeError, match=r"fit: data of type list; "):
        require_tensor([[0.0, 1.0]], "fit")
    with pytest.raises(ShapeError, match=r"torch\.as_tensor\(x\.to_numpy\(\)\)\."):
        require_tensor(Frame(), "fit")


@pytest.mark.slow
def test_arrays_and_names_are_refused_without_the_checks_of_the_tests():
    """In a process of its own: here annotations are executed, and would refuse them first."""
    code = """
import numpy as np, torch, scorefield as sf
from scorefield import closed, errors, metrics
x, model = np.random.default_rng(0).normal(size=(50, 2)), sf.exact.Gaussian(torch.zeros(2), torch.eye(2)).denoiser(sf.VP())
for use in (
    lambda: closed.fit(closed.Normal(2), x), lambda: closed.graph_path(x), lambda: sf.data.batches(x, 8),
    lambda: metrics.mmd(x, x), lambda: metrics.ksd(lambda y: -y, x), lambda: closed.KernelExponentialFamily().fit(x),
    lambda: sf.sample(model, 2, sampler="heun"), lambda: sf.sample(model, 2, sampler=sf.Heun),
    lambda: sf.log_density(model, torch.ones(2, 2).long()),
    lambda: sf.fit(sf.Preconditioned(sf.MLP(2, 8), sf.VP()), sf.Diffusion(), [torch.ones(8, 2).long()], steps=1),
):
    try:
        use()
    except errors.ScorefieldError as error:
        assert "wanted" in str(error) or "give both one type" in str(error), error
        print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["told"] * 10, done.stderr
