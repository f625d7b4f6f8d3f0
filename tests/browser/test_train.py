"""Trainings in a browser: begun, stopped, continued, turned while they run, compared; nothing goes on when the page is left."""

import json
import re

import pytest

from conftest import changed, link, pixels, ready, shown, until, violations


def steps(page):
    found = page.eval_on_selector_all(".walker .where", "all => all.map(each => parseInt(each.textContent))")
    return [int(each) for each in found if each is not None and each == each]


def press(page, words):
    page.get_by_role("button", name=words, exact=True).click()


def past(page, least):
    """Waits until the first of them has taken more steps than so many."""
    until(page, f"parseInt(document.querySelector('.walker .where').textContent) > {least}")


def begun(page, least=30):
    press(page, "Train")
    past(page, least)


def stop(page):
    """Stops the training, and waits for the server's word that it rests and where."""
    press(page, "Stop")
    page.wait_for_selector("#view[data-training=paused]")
    ready(page)


def rows(page):
    return {name: values for name, *values in page.eval_on_selector_all(
        ".versus tbody tr", "all => all.map(r => [...r.cells].slice(0, -1).map(c => c.textContent))"
    )}  # fmt: skip


def within(spent, share):
    """Whether the costs differ by less than such a share of the largest: by one step of one of them, of more and more."""
    costs = [float(each) for each in spent]
    return max(costs) - min(costs) < share * max(costs)


def test_three_objectives_learn_at_equal_cost_and_are_stopped_and_continued(visit):
    page = visit("/#/train")
    begun(page)
    until(
        page, lambda: within(rows(page)["Seconds"], 0.1) and int(rows(page)["Steps"][2]) > int(rows(page)["Steps"][0])
    )
    stop(page)
    found = rows(page)
    fisher = [float(each.split(" ")[0]) for each in found["Fisher divergence"]]
    assert max(fisher) < 4.5
    before = steps(page)
    page.wait_for_timeout(1500)
    assert steps(page) == before
    press(page, "Continue")
    past(page, before[0] + 10)
    stop(page)
    assert "nearest to the truth" in page.text_content(".summary")
    assert "Stopped." in page.text_content("#said")


def test_the_noise_level_is_turned_while_it_runs(visit):
    page = visit("/#/train?who=denoising")
    begun(page)
    truth = pixels(page, ".walker:last-child canvas")
    slider = page.get_by_role("slider", name=re.compile("Noise level"))
    slider.focus()
    for _ in range(4):
        page.keyboard.press("PageUp")
    changed(page, ".walker:last-child canvas", truth)
    assert "sigma=" in link(page)
    sigma = float(re.search(r"sigma=([\d.]+)", link(page))[1])
    until(
        page, f"[...document.querySelectorAll('.versus .meaning')].some(e => e.textContent.includes('σ = {sigma:g}'))"
    )
    at = steps(page)[0]
    past(page, at + 20)
    stop(page)
    page.click("details.code summary")
    page.wait_for_selector("details.code[data-ready]")
    assert re.search(rf'\("denoising", denoising, \d+, {{.*\d+: {sigma:g}}}\)', page.text_content("details.code code"))


def test_the_numbers_of_the_code_are_those_of_the_page(visit):
    import contextlib
    import io

    page = visit("/#/train?who=exact,denoising&rows=500&width=16&cost=steps&seed=3")
    begun(page, 10)
    stop(page)
    page.click("details.code summary")
    page.wait_for_selector("details.code[data-ready]")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(page.text_content("details.code code"), {})
    found = rows(page)
    assert abs(int(found["Steps"][0]) - int(found["Steps"][1])) <= 1
    assert dict(line.split(" ", 1) for line in out.getvalue().strip().splitlines()) == dict(
        zip(["exact", "denoising"], found["Fisher divergence"])
    )


def test_the_link_of_a_stopped_training_brings_it_back(visit):
    page = visit("/#/train?rows=500&width=16&seed=2")
    begun(page, 10)
    stop(page)
    found = rows(page)
    assert "stands=" + ".".join(found["Steps"]) in link(page)
    other = visit("/" + link(page))
    other.wait_for_selector("#view[data-training=paused]")
    until(other, f"document.querySelector('.versus td')?.textContent === '{found['Steps'][0]}'")
    again = rows(other)
    for measure in ("Steps", "Held-out loss", "above the truth's", "Fisher divergence"):
        assert again[measure] == found[measure]
    press(other, "Continue")
    past(other, found["Steps"][0])
    assert "stands" not in link(other)


def test_a_page_that_is_left_ends_its_training(visit, address):
    page = visit("/#/train")
    with page.expect_request("**/api/train") as asked:
        begun(page)
    name = json.loads(asked.value.post_data)["page"]
    page.click("#views a[data-view=point]")
    shown(page, "point")
    until(page, lambda: page.context.request.post(f"{address}/api/train/{name}", data={}).status == 404)


def test_changing_the_setting_ends_what_ran(visit):
    page = visit("/#/train?who=denoising")
    begun(page)
    page.get_by_label("Density").select_option("rings")
    page.wait_for_selector("#view[data-training=no]")
    assert "press Train" in page.text_content(".summary")
    begun(page, 5)
    stop(page)
    assert "density=rings" in link(page)


@pytest.mark.parametrize(
    "words", ["Three ways to one field", "Fifty points", "Little noise is hard", "Equal arithmetic"]
)
def test_each_suggestion_trains(visit, words):
    page = visit("/#/train")
    press(page, words)
    past(page, 3)
    stop(page)
    if words == "Equal arithmetic":
        spent = [float(each) for each in rows(page)["Evaluations"]]
        assert max(spent) - min(spent) <= 12


def test_all_of_it_can_be_done_with_the_keyboard(visit):
    page = visit("/#/train?who=denoising")
    page.get_by_role("button", name="Train", exact=True).focus()
    page.keyboard.press("Enter")
    past(page, 10)
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    page.keyboard.press("Space")
    page.wait_for_selector("#view[data-training=paused]")
    assert page.evaluate("document.activeElement.textContent") == "Continue"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_axe_finds_nothing_wrong_while_it_trains(visit, theme, width):
    page = visit("/#/train", theme=theme, width=width)
    begun(page, 5)
    stop(page)
    page.click("details.code summary")
    ready(page)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
