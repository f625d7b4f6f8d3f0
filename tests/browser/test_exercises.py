"""Predict, then look, in a real browser: commit, reveal, turn the dial, progress, and links that lead on."""

import pytest

from conftest import changed, link, patient, pixels, ready, until, violations

REVEAL = ".reveal[data-ready]"


def answer(page, text):
    page.get_by_text(text).click()
    page.get_by_role("button", name="Commit").click()
    page.wait_for_selector(REVEAL)


def marks(page):
    return page.evaluate("JSON.parse(localStorage.getItem('scorefield.exercises'))")


def test_nothing_is_revealed_before_an_answer_is_committed(visit):
    page = visit("/#/exercises")
    assert page.get_by_role("button", name="Commit").is_disabled()
    assert not page.locator(".reveal").is_visible()
    assert page.locator(".gallery").count() == 0


def test_a_wrong_and_a_right_answer_are_told_with_why_and_where(visit):
    page = visit("/#/exercises?exercise=gaussian")
    answer(page, "fade with the distance")
    assert page.inner_text(".verdict") == "Not quite."
    assert page.locator(".option.right").inner_text().startswith("They point to the mean, and grow")
    assert "parabola" in page.inner_text(".why")
    assert "Hyvärinen (2005)" in page.inner_text(".why")
    assert marks(page)["gaussian"] == {"answer": "1", "agrees": False}
    page.get_by_role("button", name="Answer again").click()
    answer(page, "grow in proportion")
    assert page.inner_text(".verdict") == "Right."
    assert marks(page)["gaussian"]["agrees"]
    page.get_by_role("button", name="Next: Halfway").click()
    until(page, "location.hash.includes('exercise=between')")
    assert page.get_by_role("button", name="Commit").is_disabled()


def test_an_estimate_is_given_by_keys_and_its_value_is_told(visit):
    page = visit("/#/exercises?exercise=merging")
    page.get_by_label("Your estimate").focus()
    for _ in range(38):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Commit").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(REVEAL)
    assert "answer=1.9" in link(page)
    assert page.inner_text(".verdict") == "Right. It is 1.94 σ."


def test_turning_the_dial_computes_again_and_is_in_the_link(visit):
    page = visit("/#/exercises?exercise=merging&answer=1")
    page.wait_for_selector(REVEAL)
    ready(page)
    first = pixels(page, ".gallery .plot canvas")
    page.get_by_label("Turn it").focus()
    page.keyboard.press("End")
    until(page, "document.querySelector('.gallery').innerText.includes('σ = 4')")
    changed(page, ".gallery .plot canvas", first)
    assert "at=4" in link(page)
    assert page.inner_text(".verdict").startswith("Not quite.")


def test_progress_survives_a_reload_and_can_be_forgotten(visit):
    page = visit("/#/exercises?exercise=gaussian")
    answer(page, "grow in proportion")
    page.reload()
    ready(page)
    assert "1 of 26 answered, 1 right" in page.inner_text(".tally")
    assert page.inner_text(".lessons a[aria-current] .mark") == "✓"
    page.get_by_role("button", name="Forget my answers").click()
    until(page, "document.querySelector('.tally').innerText.includes('26 exercises')")
    assert marks(page) == {}


def test_it_works_where_storage_is_forbidden(chromium, address):
    context = patient(chromium.new_context())
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('forbidden', 'SecurityError'); }})"
    )
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}/#/exercises?exercise=gaussian")
    ready(page)
    answer(page, "grow in proportion")
    assert "1 of 26 answered, 1 right" in page.inner_text(".tally")
    context.close()
    assert not wrong


def test_every_exercise_is_revealed_and_every_link_onward_is_a_state_of_its_view(visit):
    page = visit("/#/exercises")
    keys = page.evaluate(
        "fetch('/api/exercises').then(a => a.json()).then(all => all.map(e => [e.key, e.answer.low ?? 0]))"
    )
    assert len(keys) >= 18
    links = []
    for key, given in keys:
        page.goto(page.url.split("#")[0] + f"#/exercises?exercise={key}&answer={given}")
        page.wait_for_selector(f".lessons a[href$='exercise={key}'][aria-current]")
        page.wait_for_selector(REVEAL)
        assert page.locator("#problem").is_hidden()
        assert page.locator(".gallery figure").count() >= 1
        links += page.eval_on_selector_all("a.onward", "all => all.map(a => a.getAttribute('href'))")
    assert len(links) >= 15
    kept = """async (link) => {
        const [path, search = ""] = link.replace("#/", "").split("?");
        const {default: view} = await import(`/views/${path}.js`), {read, write} = await import("/lib/state.js");
        const sorted = (text) => [...new URLSearchParams(text)].map(String).sort().join("&");
        return [sorted(write(view.parameters, read(view.parameters, search))), sorted(search)];
    }"""
    for each in links:
        written, given = page.evaluate(kept, each)
        assert written == given, each


def test_the_code_is_shown(visit):
    page = visit("/#/exercises?exercise=between&answer=0")
    page.wait_for_selector(REVEAL)
    page.get_by_text("Show me the code").click()
    page.wait_for_selector("details.code[data-ready]")
    assert "Mixture(" in page.inner_text("details.code pre")


def test_sources_lead_to_papers_and_back_to_exercises(visit):
    page = visit("/#/sources")
    assert page.locator(".papers li").count() >= 18
    assert page.locator("a[href='https://arxiv.org/abs/2011.13456']").count() >= 2
    page.get_by_role("link", name="Why does a product of scores need a corrector?").click()
    page.wait_for_selector(".lesson h2")
    assert "exercise=product" in link(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("key", ["empty", "order", "product", "divergence"])
def test_axe_finds_nothing(visit, theme, key):
    page = visit(f"/#/exercises?exercise={key}&answer=1", theme=theme)
    page.wait_for_selector(REVEAL)
    assert violations(page) == []


@pytest.mark.parametrize("key", ["gaussian", "product", "typical"])
def test_a_narrow_screen_does_not_scroll_sideways(visit, key):
    page = visit(f"/#/exercises?exercise={key}&answer=1", width="narrow")
    page.wait_for_selector(REVEAL)
    page.get_by_text("Show me the code").click()
    page.wait_for_selector("details.code[data-ready]")
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
