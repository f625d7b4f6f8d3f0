"""Times fitted to a model: nearer to the flow on draws that the fit has not seen, kept with a run and used from there."""

import pytest
import torch

from scorefield import checkpoints, sample
from scorefield.cli import main
from scorefield.errors import RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.fitted import fitted_times
from scorefield.noises import EDM, VP
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Heun, default

D = {"dtype": torch.float64}
WIDE = Gaussian(torch.linspace(-1, 1, 4, **D), torch.logspace(-1.0, 0.6, 4, **D).square().diag())
PAIR = Mixture(torch.ones(2, **D), torch.tensor([[-1.0, 0.0], [1.0, 0.5]], **D), 0.01 * torch.eye(2, **D))


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("density", "steps"), [(WIDE, 8), (WIDE, 20), (PAIR, 8)], ids=["8", "20", "pair"])
def test_fitted_times_are_nearer_to_the_flow_on_fresh_draws(density, steps):
    model = density.denoiser(EDM(80.0))
    times = fitted_times(model, steps)
    assert times.shape == (steps + 1,)
    assert times[0] == 1
    assert times[-1] == 0
    assert (times.diff() < 0).all()
    torch.testing.assert_close(times[-2], default(steps).times(model, steps)[-2])
    exact = sample(model, 300, steps=300, seed=5)
    own, fitted = (sample(model, 300, steps=steps, times=grid, seed=5) for grid in (None, times))
    miss = [float((x - exact).square().mean().sqrt()) for x in (own, fitted)]
    assert miss[1] < (0.8 if density is WIDE else 1.01) * miss[0], miss


def test_on_its_own_draws_it_is_never_worse():
    model = PAIR.denoiser(VP())
    for sampler in (default(6), Heun()):
        times = fitted_times(model, 6, sampler=sampler, seed=2)
        exact = sample(model, 64, steps=300, seed=2)
        own, fitted = (sample(model, 64, steps=6, sampler=sampler, times=grid, seed=2) for grid in (None, times))
        assert (fitted - exact).square().mean() <= (own - exact).square().mean() * 1.01


def test_what_cannot_be_fitted_is_refused():
    model = PAIR.denoiser(VP())
    for wrong in ({"steps": 2}, {"steps": 5, "n": 0}, {"steps": 5, "pilot": 3}):
        with pytest.raises(RangeError, match="fitted_times"):
            fitted_times(model, **wrong)
    with pytest.raises(ShapeError, match="a denoiser of known event shape"):
        fitted_times(PAIR, 5)


def test_a_drawing_uses_the_grid_fitted_for_its_steps():
    drawing = Drawing(steps=8).tuned(WIDE.denoiser(EDM()), 8, shape=(4,))
    assert drawing.grid is drawing.fitted[0]
    assert Drawing(steps=9, fitted=drawing.fitted).grid is None
    again = drawing.tuned(WIDE.denoiser(EDM()), 8, shape=(4,), seed=3)
    assert len(again.fitted) == 1


def test_the_command_keeps_the_times_in_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)

    def told(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        assert not stop.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    short = ("--rows", 400, "--steps", 8, "--batch", 32, "--samples", 100, "--width", 16, "--sampling-steps", 4)
    told("train", "moons", *short)
    told("sample", "runs/moons", "--steps", 6, "--out", "plain.npy")
    assert "6 steps, kept in runs/moons" in told("tune", "runs/moons", "--steps", 6)
    kept = checkpoints.facts("runs/moons")["sampling"]
    assert [len(grid) for grid in kept.fitted] == [7]
    told("sample", "runs/moons", "--steps", 6, "--out", "fitted.npy")
    told("sample", "runs/moons", "--steps", 5, "--out", "other.npy")
    assert (tmp_path / "plain.npy").read_bytes() != (tmp_path / "fitted.npy").read_bytes()
