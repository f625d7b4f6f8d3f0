"""A run that is a static score, in the browser: one noise level, its own, which every part says."""

import pytest
from torch import nn

from conftest import explorer, ready, until, violations
from scorefield import checkpoints, networks
from scorefield.models import Energy
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Langevin
from scorefield.tensors import seeded


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """The address of an explorer of an energy that was learned at σ = 0.5."""
    run = tmp_path_factory.mktemp("static") / "energy"
    with seeded(0):
        network = networks.MLP(2, 8, 1, out=1)
        nn.init.normal_(network.last.weight, std=0.5)
    how = Drawing(sampler=Langevin(0.01), steps=20)
    checkpoints.save(Energy(network), run, data={"shape": [2]}, sigma=0.5, sampling=how)
    with explorer(str(run)) as address:
        yield address.split("/#")[0]


def numbers(page):
    return dict(
        page.eval_on_selector_all(
            ".numbers tr", "all => all.map(r => [r.cells[0].textContent, r.cells[2].textContent])"
        )
    )


def test_its_field_is_drawn_at_its_own_level_and_the_slider_says_so(visit, static):
    page = visit("/#/field?density=run&method=run&sigma=0.1", at=static)
    until(page, "document.querySelector('.plot').dataset.sigma === '0.5'")
    slider = page.locator("input[type=range]").first
    assert slider.is_disabled()
    assert slider.get_attribute("aria-valuetext") == "0.5"
    assert page.get_by_text("it knows one noise level, its own").first.is_visible()
    assert "choose the density that it learned" in numbers(page)["Fisher divergence"]
    assert page.get_by_label("Error", exact=True).is_disabled()
    page.get_by_text("Show me the code").click()
    until(page, "document.querySelector('.below').textContent.includes('sf.load')")
    assert violations(page) == []
    page.locator("select").first.select_option("moons")
    until(page, "/[0-9]/.test(document.querySelectorAll('.numbers td')[6]?.textContent ?? '')")
    assert "fresh draws" in numbers(page)["Fisher divergence"]
    assert page.get_by_label("Error", exact=True).is_enabled()
    page.get_by_label("Score", exact=True).select_option("exact")
    ready(page)
    assert slider.is_enabled()
    assert slider.get_attribute("aria-valuetext") == "0.1"


def test_langevin_walks_in_it_and_others_say_what_they_need(visit, static):
    page = visit("/#/walk?a=Langevin(size=0.02)&b=&evaluations=20&n=50&density=run&method=run", at=static)
    page.wait_for_selector("#view[data-walked=yes]", timeout=60_000)
    assert page.get_by_text("Langevin, MALA and Underdamped walk in it").is_visible()
    assert page.locator("#problem").is_hidden()
    page = visit("/#/walk?a=Heun()&b=&density=run&method=run", at=static, allowed=["422"])
    page.wait_for_selector("#problem:not([hidden])")
    assert "choose Langevin, MALA or Underdamped" in page.inner_text("#problem")


def test_choosing_it_for_a_walk_chooses_samplers_that_walk_in_it(visit, static):
    page = visit("/#/walk?n=50", at=static)
    page.get_by_label("Score", exact=True).select_option("run")
    until(page, "location.hash.includes('a=Langevin') && location.hash.includes('b=Underdamped')")
    page.wait_for_selector("#view[data-walked=yes]", timeout=60_000)
    assert page.locator("#problem").is_hidden()
