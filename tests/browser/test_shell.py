"""The page as a whole: weight, speed, menu, themes, links, history, and what a screen reader and a narrow screen get."""

import time

import pytest

from conftest import WIDTHS, explorer, launched, link, patient, pixels, ready, shown, until, violations


def views(page):
    return page.eval_on_selector_all("#views a", "all => all.map(each => each.dataset.view)")


def opened(chromium, address):
    """(seconds until a field with numbers is there, bytes of each answer until then), in a browser that kept nothing."""
    context = patient(chromium.new_context())
    page = context.new_page()
    sizes = []
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    began = time.monotonic()
    page.goto(address)
    until(page, "document.querySelector('#view[data-ready]') && document.querySelector('.numbers td') !== null")
    seconds = time.monotonic() - began
    ready(page)
    context.close()
    return seconds, sizes


def test_the_first_view_is_soon_live_as_it_asks_for_little(chromium, address):
    """How soon is a figure of this machine, printed and no law; what it has to wait for is in the page's hands."""
    found = [opened(chromium, address) for _ in range(3)]
    most = max(sum(sizes) for _, sizes in found)
    print("live after", *(f"{seconds:.2f}" for seconds, _ in found), f"s, {most / 1000:.0f} kB with the first answer")
    assert all(0 < len(sizes) < 40 and min(sizes) > 0 for _, sizes in found), "every answer tells its length"
    assert most < 500_000


def test_all_that_is_served_weighs_less_than_half_a_megabyte(visit):
    page = visit("/")
    for each in views(page):
        page.goto(page.url.split("#")[0] + f"#/{each}")
        shown(page, each)
    files = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => !e.name.includes('/api/')).map(e => [e.name, e.decodedBodySize])"
    )
    assert len(files) > 12
    print(f"{sum(size for _, size in files) / 1000:.0f} kB in {len(files)} files")
    assert sum(size for _, size in files) < 500_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_any_view(visit, theme):
    page = visit("/", theme=theme)
    found = {}
    for each in views(page):
        page.click(f"#views a[data-view={each}]")
        shown(page, each)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        shown(page, each)
        found[each] = violations(page)
    assert not any(found.values()), found


@pytest.mark.parametrize("width", list(WIDTHS))
def test_no_view_scrolls_sideways(visit, width):
    page = visit("/", width=width)
    for each in views(page):
        page.goto(page.url.split("#")[0] + f"#/{each}")
        shown(page, each)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, each


def test_the_theme_follows_the_system_until_it_is_chosen(visit):
    page = visit("/", theme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(color_scheme="light")
    until(page, "document.documentElement.dataset.theme === 'light'")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    ready(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_menu_says_where_one_is_and_the_title_follows(visit):
    page = visit("/")
    page.click("#views a[data-view=point]")
    shown(page, "point")
    assert page.text_content("#views a[aria-current=page]") == "One noisy point"
    assert page.title().startswith("One noisy point")
    page.go_back()
    shown(page, "field")


def test_a_link_that_nobody_made_opens_the_first_view_with_its_defaults(visit):
    page = visit("/#/nowhere?sigma=7")
    assert page.get_attribute("#view", "data-view") == "field"
    page = visit("/#/field?sigma=much&density=cheese&modes=a,b&show=")
    assert page.inner_text("output") == "0.3"
    assert len(page.query_selector_all(".grip")) == 3


def test_the_keyboard_reaches_the_view_past_the_menu(visit):
    page = visit("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_going_back_brings_the_state_back(visit):
    page = visit("/#/field")
    page.get_by_text("Streamlines", exact=True).click()
    assert "lines=streamlines" in link(page)
    page.get_by_text("curl s", exact=True).click()
    assert "show=curl" in link(page)
    page.go_back()
    until(page, "!location.hash.includes('show') && document.querySelector('input[value=density]').checked")
    assert page.is_checked("input[value=streamlines]")
    ready(page)


def test_it_works_in_a_browser_without_webgl_or_a_graphics_card(chromium, address):
    plain = launched(chromium.browser_type, "--disable-gpu", "--disable-3d-apis")
    page = patient(plain.new_context()).new_page()
    page.goto(address)
    ready(page)
    assert page.evaluate("document.createElement('canvas').getContext('webgl') === null")
    assert len(set(pixels(page))) > 10
    plain.close()


def test_it_opens_on_the_run_that_was_given(visit):
    with explorer("rings") as other:
        page = visit("", at=other)
        assert "density=rings" in link(page)
        assert page.get_by_label("Run", exact=True).input_value() == "rings"
        assert "run rings" in page.inner_text("footer")
