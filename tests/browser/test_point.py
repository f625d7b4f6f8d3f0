"""One noisy point in a browser: pinned by mouse and keys, and every arrow in its place."""

import math

import pytest
import torch

from conftest import link, pixels, ready, until
from scorefield.exact import Empirical
from scorefield.explorer.densities import Chosen, toy
from scorefield.tensors import Streams


def numbers(page):
    return dict(
        page.eval_on_selector_all(
            ".numbers tr", "all => all.map(r => [r.cells[0].textContent, r.cells[1].textContent])"
        )
    )


def pair(text):
    return [float(v) for v in text.strip("()").split(", ")]


def test_a_pinned_point_has_the_librarys_score(visit):
    page = visit("/#/point?density=moons&at=0.7,-0.4&sigma=0.5&sources=60")
    y = toy(Chosen(name="moons")).sample(60, Streams(0, range(60))).double()
    x = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    s = Empirical(y).score(x, 1.0, 0.5)[0]
    found = numbers(page)
    assert pair(found["Score s(x)"]) == pytest.approx(s.tolist(), abs=0.006)
    assert pair(found["Noise E[ε | x] = −σ s"]) == pytest.approx((-0.5 * s).tolist(), abs=0.006)
    assert pair(found["Denoised E[x₀ | x] = x + σ² s"]) == pytest.approx((x[0] + 0.25 * s).tolist(), abs=0.006)
    assert pair(found["Target −ε/σ of the known source"]) == pytest.approx(((y[0] - x[0]) / 0.25).tolist(), abs=0.006)
    exact = toy(Chosen(name="moons")).score(x, 1.0, 0.5)[0]
    assert pair(found["Score of the density itself"]) == pytest.approx(exact.tolist(), abs=0.006)


def test_a_point_is_pinned_by_the_mouse(visit):
    page = visit("/#/point")
    box = page.locator(".plot canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    ready(page)
    x, y = (float(v) for v in link(page).split("at=")[1].split("&")[0].split(","))
    assert (x, y) == pytest.approx((2.4, -2.4), abs=0.02)
    assert f"{x:.2f}, {y:.2f}" in page.get_attribute(".plot canvas", "aria-label")
    before = pixels(page)
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=6)
    page.mouse.up()
    ready(page)
    x, y = (float(v) for v in link(page).split("at=")[1].split("&")[0].split(","))
    assert math.hypot(x, y) < 0.05
    assert pixels(page) != before


def test_a_point_moves_and_a_source_is_known_by_keys_alone(visit):
    page = visit("/#/point")
    page.focus(".grip")
    page.keyboard.press("ArrowLeft")
    page.get_by_text("Another known source").focus()
    page.keyboard.press("Enter")
    ready(page)
    assert "at=0.35,0.5" in link(page)
    assert "picked=1" in link(page)
    assert page.inner_text("#said") == "Source 2 is known."


def test_the_likeliest_source_is_the_nearest(visit):
    page = visit("/#/point?sources=100")
    page.get_by_text("The likeliest source").click()
    ready(page)
    picked = int(link(page).split("picked=")[1])
    y = toy(Chosen()).sample(100, Streams(0, range(100)))
    assert picked == int((y - torch.tensor([0.4, 0.5])).norm(dim=1).argmin())


def test_a_link_reproduces_the_point(visit):
    page = visit("/#/point?at=-0.5,0.25&sigma=0.8&sources=12&picked=3&density=rings")
    again = visit("/" + link(page))
    assert numbers(page) == numbers(again)
    assert pixels(page) == pixels(again)


def test_code_is_shown_copied_and_its_formula_and_sources_with_it(visit):
    page = visit("/#/point")
    page.click("summary")
    page.wait_for_selector("details[data-ready]")
    assert "softmax(0)" in page.inner_text("pre")
    assert "E[x₀ | x] = x + σ² s(x)" in page.inner_text(".formula")
    assert "Vincent (2011), section 4.2" in page.inner_text(".sources")
    page.evaluate(
        "window.said_ = []; new MutationObserver(() => said_.push(document.querySelector('.copy').textContent))"
        ".observe(document.querySelector('.copy'), {childList: true})"
    )
    page.get_by_text("Copy", exact=True).click()
    until(page, "said_.join() === 'Copied,Copy'")
