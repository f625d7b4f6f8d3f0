"""Every Python block of every page runs as written, and the journeys arrive where they say."""

import math

import pages
import pytest
import torch

import scorefield as sf

DOCS = pages.ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if pages.blocks(p) and p.name not in ("journeys.md", "index.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_the_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run(page)


@pytest.fixture(scope="module")
def journeys():
    return pages.run(DOCS / "journeys.md")


def test_the_energy_explains_the_data(journeys):
    gap, zero = journeys["gap"], journeys["zero"]
    assert gap.value + 3 * gap.error < 0.1 * zero.value


def test_the_score_on_the_sphere_draws_its_data(journeys):
    y = journeys["on_sphere"]
    torch.testing.assert_close(y.norm(dim=1), torch.ones(len(y)), atol=1e-6, rtol=0)
    fresh = journeys["sphere"].project(torch.tensor([0.0, 0.0, 2.0]) + torch.randn(4000, 3))
    spread = float(fresh[:, 2].std()) * math.sqrt(1 / len(y) + 1 / len(fresh))
    # Beside the error of the sample, 0.05 for a network after 300 steps; the opposite score would end near −0.76.
    assert abs(float(y[:, 2].mean() - fresh[:, 2].mean())) < 5 * spread + 0.05


def test_the_law_names_what_is_wrong(journeys):
    assert journeys["broken"].startswith("Wrong(sigma=0.5): dL(c s*)/dc = 0")


def test_the_loops_of_ones_own_train(journeys):
    fresh = sf.data.moons(500, generator=torch.Generator().manual_seed(9))
    start = float(sf.metrics.mmd(torch.randn(500, 2), fresh))
    assert float(sf.metrics.mmd(journeys["y"], fresh)) < 0.3 * start
    assert journeys["best"] < journeys["rows"].held_out[0].numel()
