"""The README runs as written, and what it draws are moons."""

import re

import pages
import torch

import scorefield as sf

README = pages.ROOT / "README.md"


def test_the_readme_runs_as_written():
    names = pages.run(README)
    y, nats = names["y"], names["nats"].value
    fresh = [sf.data.moons(4000, generator=torch.Generator().manual_seed(seed)) for seed in range(7)]
    floor = sum(abs(sf.metrics.mmd(fresh[0], other).value) for other in fresh[1:6]) / 5
    found = sf.metrics.mmd(y, fresh[6])
    assert y.shape == (4000, 2)
    assert found.value <= 2 * floor + 3 * found.error
    # A wrong constant or sign in the likelihood would move its mean by a nat; moons of noise 0.05 in radii have an
    # entropy of about log of the area of their band, within which the sign of the whole is known.
    width, length = 0.05 * (2 * torch.pi * torch.e) ** 0.5, 2 * torch.pi
    scale = float(torch.tensor(2 / (0.75 + 0.5 - 4 / torch.pi**2 + (2 / torch.pi - 0.25) ** 2 + 2 * 0.05**2)).sqrt())
    expected = -torch.tensor(width * length * scale**2).log()
    spread = float(nats.std() / len(nats) ** 0.5)
    assert abs(float(nats.mean() - expected)) < 5 * spread + 0.15


def test_the_readme_is_one_screen_with_a_picture_that_is_there():
    text = README.read_text()
    assert len(text.splitlines()) <= 60
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (pages.ROOT / link).exists(), f"README links {link}, which is not there"
    assert "docs/images/moons.png" in text
