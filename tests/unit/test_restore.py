"""Restoring images: the measurements, the posterior's picture and its table, and the command."""

import pytest
import torch

from scorefield.cli import main
from scorefield.errors import RangeError
from scorefield.exact import Empirical
from scorefield.guidance import require_transpose
from scorefield.noises import EDM
from scorefield.recipes.restore import MEASUREMENTS, restored

IMAGES = torch.sign(torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28)])
def test_measurements_fit_images_of_any_size(name, shape):
    operator = MEASUREMENTS[name](shape)
    assert operator.shape == shape
    require_transpose(operator)
    flat = operator(torch.full((1, *shape), 0.5))
    assert float(flat.max()) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_what_was_measured_of_known_images_is_found_again(name):
    found = restored(Empirical(IMAGES).denoiser(EDM()), IMAGES[:3], MEASUREMENTS[name]((1, 8, 8)), draws=4, steps=30)
    # Half of 64 signs tells the twelve images apart, and so do their means over squares and their blur.
    assert float((found.mean - found.truth).abs().max()) < 0.2
    assert "error of the mean 0.0" in found.table()
    assert len(found.picture(2).axes) == 1


def test_a_spread_needs_draws():
    with pytest.raises(RangeError, match="at least 2 draws"):
        restored(Empirical(IMAGES).denoiser(EDM()), IMAGES[:1], MEASUREMENTS["mask"]((1, 8, 8)), draws=1)


def test_the_command_draws_a_picture_and_refuses_bad_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--data", "digits8", "--patch", 1, "--width", 8, "--blocks", 1]
    short = ["--steps", 4, "--batch", 16, "--samples", 100, "--judge-steps", 2, "--sampling-steps", 2]

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        seen = capsys.readouterr()
        return stop.value.code or 0, seen.out, " ".join(seen.err.split())

    code, _, err = run("train", "digits", *data, *short)
    assert code == 0, err
    code, out, err = run("restore", "runs/digits", "--measurement", "downsample", "--n", 2, "--draws", 2, "--steps", 3)
    assert code == 0, err
    assert "misfit of the draws / noise" in out
    assert (tmp_path / "runs/digits/restored-downsample.png").stat().st_size > 1000
    for words, told in {
        ("--measurement", "blurr"): "did you mean 'blur'?",
        ("--noise", 0): "noise above 0",
        ("--draws", 1): "at least 2 draws",
    }.items():
        code, _, err = run("restore", "runs/digits", *words)
        assert code == 2
        assert told in err
