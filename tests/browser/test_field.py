"""The field in a browser: modes that follow mouse and keyboard, numbers that are Python's, links that bring a state back."""

import math

import pytest
import torch

from conftest import FRAMES, explorer, link, pixels, ready, until
from scorefield.explorer.densities import Chosen, Mode, mixture
from scorefield.explorer.fields import lattice

MEANT = {"speed": "‖s‖", "divergence": "div", "error": "s*"}
CSV = "a,b,name\n" + "\n".join(f"{k},{(k * k) % 17},row{k}" for k in range(60))


def numbers(page):
    return dict(
        page.eval_on_selector_all(
            ".numbers tr", "all => all.map(r => [r.cells[0].textContent, r.cells[1].textContent])"
        )
    )


def choose(page, words):
    page.locator(".choices label").get_by_text(words, exact=True).click()


def drag(page, selector, dx, dy, steps=8):
    box = page.locator(selector).first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, steps + 1):
        page.mouse.move(x + dx * k / steps, y + dy * k / steps)
    page.mouse.up()
    ready(page)


def test_a_mode_is_dragged_and_the_field_and_the_link_follow(visit):
    page = visit("/#/field")
    before = pixels(page)
    drag(page, ".grip", 80, -60)
    assert pixels(page) != before
    assert "modes=" in link(page)
    width = page.locator(".plot canvas").bounding_box()["width"]
    x, y = (float(v) for v in link(page).split("modes=")[1].split(";")[0].split(",")[:2])
    assert x == pytest.approx(-1.2 + 80 * 6 / width, abs=0.02)
    assert y == pytest.approx(-0.7 + 60 * 6 / width, abs=0.02)


def test_a_mode_moves_with_the_arrow_keys_alone(visit):
    page = visit("/#/field")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").startswith("grip"):
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    ready(page)
    assert "modes=-1.15,-0.45;" in link(page)
    assert "-1.15, -0.45" in page.get_attribute(".grip", "aria-label")


def test_a_link_reproduces_the_state_to_the_pixel(visit):
    page = visit("/#/field")
    drag(page, ".grip", 50, 20)
    choose(page, "Streamlines")
    page.focus("input[type=range]")
    page.keyboard.press("PageUp")
    ready(page)
    again = visit("/" + link(page))
    assert link(again) == link(page)
    assert numbers(again) == numbers(page)
    assert pixels(again) == pixels(page)


def test_the_noise_slider_smooths_the_field(visit):
    page = visit("/#/field?sigma=0.05")
    sharp = float(numbers(page)["Largest ‖s‖"])
    page.focus("input[type=range]")
    page.keyboard.press("End")
    ready(page)
    until(page, "document.querySelector('.numbers td').textContent === '5'")
    assert float(numbers(page)["Largest ‖s‖"]) < 0.05 * sharp


@pytest.mark.parametrize("density", ["mixture", "moons", "rings", "spirals", "checkerboard"])
def test_every_density_is_drawn_with_every_map(visit, density):
    page = visit(f"/#/field?density={density}&sigma=0.2")
    seen = {pixels(page)}
    for show in ("speed", "divergence", "error"):
        choose(page, {"speed": "‖s‖", "divergence": "div s", "error": "Error"}[show])
        until(page, f"document.querySelector('.legend .what').textContent.includes('{MEANT[show]}')")
        ready(page)
        seen.add(pixels(page))
    assert len(seen) == 4


def test_the_error_of_a_kernel_and_of_a_run_is_told(visit):
    page = visit("/#/field?density=moons&method=run")
    near = float(numbers(page)["Fisher divergence"].split(" ")[0])
    page.get_by_label("Score", exact=True).select_option("kernel")
    until(
        page, "!document.querySelector('.numbers').textContent.includes('" + numbers(page)["Fisher divergence"] + "')"
    )
    far = float(numbers(page)["Fisher divergence"].split(" ")[0])
    assert near < 0.1 < far


def test_a_network_is_trained_where_it_is_asked_for(visit):
    page = visit("/#/field?method=energy")
    until(page, "document.querySelector('.numbers').textContent.includes('Fisher')")
    until(page, "document.querySelector('progress').offsetParent === null")
    ready(page)
    assert float(numbers(page)["Fisher divergence"].split(" ")[0]) < 0.2
    choose(page, "curl s")
    until(page, "document.querySelector('.numbers').textContent.includes('curl s')")
    low, high = (float(v) for v in numbers(page)["curl s"].split(" … "))
    assert max(-low, high) < 1e-2


def own(text, name="own.csv"):
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}


def test_a_table_of_ones_own_is_drawn(visit):
    page = visit("/#/field?density=table")
    page.set_input_files("input[type=file]", own(CSV))
    until(page, "location.hash.includes('table=')")
    ready(page)
    assert page.get_by_label("Across").locator("option").all_inner_texts() == ["a", "b"]
    assert "columns=a,b" in link(page)
    assert float(numbers(page)["Largest ‖s‖"]) > 1


def test_a_bad_table_is_refused_by_row_and_the_page_goes_on(visit):
    page = visit("/#/field?density=table", allowed=["422"])
    page.set_input_files("input[type=file]", own("a,b\n1,2\n3,nan\n5,6"))
    page.wait_for_selector("#problem:not([hidden])")
    assert "column 'b', row 2: 'nan' is no finite number" in page.inner_text("#problem")
    page.set_input_files("input[type=file]", own(CSV))
    until(page, "document.querySelector('#problem').hidden")


def test_a_link_to_a_table_works_after_the_server_was_started_anew(visit):
    page = visit("/#/field?density=table")
    page.set_input_files("input[type=file]", own(CSV))
    until(page, "location.hash.includes('table=')")
    ready(page)
    seen, state = numbers(page), link(page)
    kept = page.evaluate("Object.entries(localStorage)")
    with explorer() as other:
        page = visit("/", at=other)
        page.evaluate("all => all.forEach(([key, value]) => localStorage.setItem(key, value))", kept)
        page.goto(f"{other}/{state}")
        until(page, "document.querySelectorAll('.numbers tr').length > 0 && location.hash.includes('table=')")
        ready(page)
        until(page, f"document.querySelector('.numbers').textContent.includes('{seen['Largest ‖s‖']}')")
        assert numbers(page) == seen


def test_what_the_browser_computes_is_what_python_computes(visit):
    page = visit("/#/field")
    modes = [[-1.2, -0.7, 0.3, 1.0], [1.1, 0.4, 0.12, 2.5], [0.3, 1.9, 0.8, 0.2]]
    found = page.evaluate(
        """async ([modes, sigma, n]) => {
            const closed = await import("/lib/densities.js");
            const {score, logDensity} = closed.field(modes, sigma, n);
            const places = [[0.1, 0.2], [2.5, -2.9], [-1.2, -0.7]];
            return {score: [...score], logDensity: [...logDensity], at: places.map(([x, y]) => closed.at(modes, x, y, sigma)),
                    points: closed.at(modes.map(([x, y]) => [x, y, 0, 1]), 0.1, 0.2, sigma)};
        }""",
        [modes, 0.35, 21],
    )
    density = mixture(tuple(Mode(x=x, y=y, std=s, weight=w) for x, y, s, w in modes))
    for name in ("weights", "means", "_values", "_vectors"):
        setattr(density, name, getattr(density, name).double())
    x = lattice(21)
    score, log_density = density.score(x, 1.0, 0.35), density.log_density(x, 1.0, 0.35)
    size = score.norm(dim=1).max()
    assert (torch.tensor(found["score"]).reshape(-1, 2) - score).abs().max() / size < 1e-6
    assert (torch.tensor(found["logDensity"]) - log_density).abs().max() / log_density.abs().max() < 1e-6
    places = torch.tensor([[0.1, 0.2], [2.5, -2.9], [-1.2, -0.7]], dtype=torch.float64)
    for one, s, clean in zip(
        found["at"], density.score(places, 1.0, 0.35), density.denoise(places, torch.tensor(1.0), torch.tensor(0.35))
    ):
        assert torch.allclose(torch.tensor(one["score"], dtype=torch.float64), s, rtol=1e-6, atol=1e-6)
        assert torch.allclose(torch.tensor(one["denoised"], dtype=torch.float64), clean, rtol=1e-6, atol=1e-6)
    assert Chosen().name == "mixture"


COUNT = """() => {
    window.painted_ = 0;
    const inner = document.querySelector(".plot canvas").getContext("2d"), fill = inner.fillRect.bind(inner);
    inner.fillRect = (...all) => { window.painted_ += 1; fill(...all); };
}"""


def test_a_drag_is_drawn_while_the_server_says_nothing(visit):
    """1,600 arrows over their density follow the hand; of what the hand has left behind, the server's answer is not drawn."""
    page = visit("/#/field")
    page.evaluate(COUNT)
    asked, seen = [], {pixels(page)}
    page.route("**/api/field", lambda route: asked.append(route))
    box = page.locator(".grip").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, 21):
        painted = page.evaluate("window.painted_")
        page.mouse.move(x + 60 * math.sin(k / 4), y - 40 * math.sin(k / 3))
        until(page, f"window.painted_ > {painted}")
        seen.add(pixels(page))
        if k == 10:
            until(page, lambda: asked)
    assert (len(seen), len(asked)) == (21, 1)
    last = pixels(page)
    asked.pop().continue_()
    until(page, lambda: asked)
    page.evaluate(FRAMES)
    assert pixels(page) == last
    asked.pop().continue_()
    page.unroute("**/api/field")
    page.mouse.up()
    ready(page)
    again = visit("/" + link(page))
    assert pixels(again) == pixels(page)
    assert numbers(again) == numbers(page)


def test_frames_while_dragging_are_told(visit):
    """How many frames a second are painted is a figure of this machine, printed and no law."""
    page = visit("/#/field")
    page.evaluate(COUNT)
    box = page.locator(".grip").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    began, before = page.evaluate("[performance.now(), window.painted_]")
    for k in range(120):
        page.mouse.move(x + 60 * math.sin(k / 12), y - 40 * math.sin(k / 7))
    ended, after = page.evaluate("[performance.now(), window.painted_]")
    page.mouse.up()
    print(f"{1000 * (after - before) / (ended - began):.0f} painted frames a second while dragging")
    assert after > before
