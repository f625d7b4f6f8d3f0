"""Walks in a browser: released, exploded, compared, scrubbed; numbers that are the server's; nothing left behind."""

import json
import re

import pytest

from conftest import PENDING, changed, link, patient, pixels, ready, settled, shown, until, violations

EXPLODING = "/#/walk?a=Langevin(size=0.15)&b=Langevin(size=0.24)&evaluations=200"


def walked(page):
    """Waits until the walks that were asked for are over and drawn."""
    settled(page, f"document.querySelector('#view[data-ready]')?.dataset.walked === 'yes' && {PENDING} === '0'")


def rows(page):
    found = page.eval_on_selector_all(
        ".versus tbody tr", "all => all.map(r => [...r.cells].slice(0, -1).map(c => c.textContent))"
    )
    return {name if name != "its floor" else f"floor {k}": values for k, (name, *values) in enumerate(found)}


def test_two_samplers_walk_on_the_same_draws_and_their_numbers_are_the_servers(visit):
    page = visit("/#/walk?at=40")
    walked(page)
    found = rows(page)
    assert found["Evaluations"] == ["60", "59"]
    body = {"sampler": "Heun()", "n": 400, "evaluations": 60, "frames": 2}
    told = page.request.post(
        page.url.split("#")[0] + "api/walk", data=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    end = json.loads(told.text().strip().splitlines()[-1])
    value, error = (float(part) for part in found["Distance"][1].split(" ± "))
    assert value == pytest.approx(end["distance"]["value"], abs=0.006)
    assert error == pytest.approx(end["distance"]["error"], rel=0.6)
    assert "Reverse SDE stands" in page.text_content(".summary")
    assert page.locator(".walker .plot canvas").count() == 2
    assert "particles of Probability flow" in page.locator(".walker canvas").nth(1).get_attribute("aria-label")


def test_a_walk_is_played_paused_stepped_and_scrubbed_and_the_link_says_where(visit):
    page = visit("/#/walk?evaluations=20&at=0")
    walked(page)
    start = pixels(page, ".walker canvas")
    page.get_by_role("button", name="Step on").click()
    assert "at=1" in link(page)
    changed(page, ".walker canvas", start)
    scrub = page.get_by_role("slider", name=re.compile("Evaluations"))
    scrub.focus()
    page.keyboard.press("End")
    assert "at=20" in link(page)
    assert "step 20 of 20" in page.text_content(".walker .where")
    end = pixels(page, ".walker canvas")
    other = visit("/" + link(page))
    walked(other)
    until(other, lambda: pixels(other, ".walker canvas") == end)
    page.get_by_role("button", name="Play", exact=True).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.textContent") == "Play"
    assert int(re.search(r"at=(\d+)", link(page))[1]) < 20


def test_a_step_explodes_and_the_page_says_why(visit):
    page = visit(EXPLODING)
    walked(page)
    assert rows(page)["Distance"][1] == "exploded"
    assert rows(page)["Step × curvature"] == ["1.5 of 2", "2.4 of 2"]
    assert page.locator(".meter.bad").count() == 1
    assert "Unstable: hλ = 2.4 lies above its bound 2" in page.locator(".walker .says").nth(1).text_content()
    until(page, "document.querySelectorAll('.walker .where.bad').length === 1")
    until(page, "document.querySelector('.summary').textContent.includes('Langevin, right has exploded')")
    assert "exploded at step" in page.text_content("#said")


def test_the_step_size_is_turned_by_the_keyboard_until_it_explodes(visit):
    page = visit("/#/walk?a=Langevin(size=0.15)&b=&evaluations=200&at=0")
    walked(page)
    assert page.locator(".walker:visible").count() == 1
    page.get_by_role("slider", name=re.compile("Step size h")).focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.meter.bad') !== null")
    walked(page)
    assert rows(page)["Distance"] == ["exploded"]
    assert float(re.search(r"size=([\d.]+)", link(page).replace("%3D", "="))[1]) > 0.2


@pytest.mark.parametrize(
    "words", ["SDE and flow", "A step explodes", "Refused, not exploded", "Modes that do not mix", "Ten evaluations"]
)
def test_each_suggestion_walks(visit, words):
    page = visit("/#/walk?evaluations=4")
    walked(page)
    page.get_by_role("button", name=words).click()
    walked(page)
    assert page.evaluate("document.querySelector('.player output').textContent") != "4 of 4"
    if words == "Refused, not exploded":
        assert rows(page)["Distance"][0] == "exploded"
        assert float(rows(page)["Distance"][1].split(" ")[0]) < 0.5


def test_particles_are_released_where_the_pin_is_moved(visit):
    page = visit("/#/walk?from=point&start=1,1&evaluations=8&at=0")
    walked(page)
    before = pixels(page, ".walker canvas")
    page.locator(".grip:visible").first.focus()
    page.keyboard.press("Shift+ArrowLeft")
    assert "start=0.75,1" in link(page)
    changed(page, ".walker canvas", before)


def test_what_cannot_be_walked_is_said_and_the_page_goes_on(chromium, address):
    page = patient(chromium.new_context()).new_page()
    page.goto(address + "/#/walk?method=kernel&at=0")
    page.wait_for_selector("#problem:not([hidden])")
    assert "a kernel score knows one noise level" in page.text_content("#problem")
    page.get_by_label("Left").select_option("Langevin")
    page.get_by_label("Right, on the same draws").select_option("")
    page.wait_for_selector("#problem", state="hidden")
    walked(page)
    assert "±" in rows(page)["Distance"][0]
    page.context.close()


def test_a_network_that_nobody_trained_yet_learns_before_the_walk(visit):
    page = visit("/#/walk?method=network&density=moons&evaluations=10&n=100")
    walked(page)
    assert "±" in rows(page)["Distance"][1]
    assert float(rows(page)["Distance"][1].split(" ")[0]) < 1


def test_reduced_motion_plays_nothing(chromium, address):
    context = patient(chromium.new_context(reduced_motion="reduce"))
    page = context.new_page()
    page.goto(address + "/#/walk?evaluations=20")
    walked(page)
    assert "step 20 of 20" in page.text_content(".walker .where")
    assert page.get_by_role("button", name="Play", exact=True).is_visible()
    context.close()


def test_the_code_of_the_walk_is_shown(visit):
    page = visit("/#/walk?evaluations=8")
    page.click("details.code summary")
    page.wait_for_selector("details.code[data-ready]")
    code = page.text_content("details.code code")
    assert "sampler=Heun(), steps=4, seed=0" in code
    assert "sampler=EulerMaruyama(), steps=8, seed=0" in code


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_axe_finds_nothing_wrong_with_an_exploded_walk(visit, theme, width):
    page = visit(EXPLODING + "&at=60", theme=theme, width=width)
    walked(page)
    page.click("details.code summary")
    ready(page)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_leaving_the_view_ends_its_streams(visit):
    page = visit(
        "/#/walk?a=Adaptive(tolerance=0.00001)&b=Adaptive(tolerance=0.0001)&evaluations=1000&n=1000&density=rings"
    )
    page.click("#views a[data-view=point]")
    shown(page, "point")
    page.wait_for_load_state("networkidle")


PLAY = """new Promise(done => {
    const painted = [...document.querySelectorAll(".walker canvas")].map((canvas) => {
        const draw = canvas.getContext("2d"), fill = draw.fillRect.bind(draw), counted = {times: 0};
        draw.fillRect = (...all) => { counted.times += 1; fill(...all); };
        return counted;
    });
    document.querySelector(".player button").click();
    let frames = 0;
    const began = performance.now(), step = (now) => {
        frames += 1;
        if (frames < 60) requestAnimationFrame(step);
        else done({frames, rate: 1000 * frames / (now - began), painted: painted.map(({times}) => times)});
    };
    requestAnimationFrame(step);
})"""


def test_playing_paints_both_walks_at_every_frame_of_the_browser(visit):
    """How many frames a second there are is a figure of this machine, printed and no law."""
    page = visit("/#/walk?evaluations=100&at=0")
    walked(page)
    found = page.evaluate(PLAY)
    print(f"{found['rate']:.0f} frames a second while two walks of 400 particles play")
    assert min(found["painted"]) >= found["frames"] - 3
