"""Images in a real browser: forming, a drawing by mouse and by keys that the model completes, the way between two, and links."""

import pytest
import torch

from conftest import PENDING, link, pixels, settled, shown, until, violations
from scorefield.explorer import canvas

DONE = f"document.querySelector('.sheet[data-state=done]') !== null && {PENDING} === '0'"


def done(page):
    """Waits until the images are there, and no others are asked for or about to be."""
    settled(page, DONE)


def again(page, act):
    """Acts, and waits until what that asked for has come."""
    page.evaluate("document.querySelector('.sheet').dataset.state = ''")
    act()
    done(page)


def numbers(page):
    return dict(
        page.eval_on_selector_all(
            ".numbers tr", "all => all.map(r => [r.children[0].innerText, r.children[1].innerText])"
        )
    )


def draw(page, *places):
    """A stroke of the mouse through places in parts of the sheet."""
    box = page.locator("canvas.pad").bounding_box()
    page.mouse.move(*(box["x"] + places[0][0] * box["width"], box["y"] + places[0][1] * box["height"]))
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
    page.mouse.up()


def inked(page):
    return int(page.get_attribute("canvas.pad", "aria-label").split(" pixels, ")[1].split()[0])


def test_digits_form_step_by_step_beside_what_the_model_predicts(visit):
    page = visit("/#/images?n=2")
    done(page)
    assert page.locator(".card .twin").count() == 2
    label = page.get_attribute(".tiles", "aria-label")
    assert "2 images at step 20 of 20" in label
    assert "Nearest training image" in numbers(page)
    end = pixels(page, ".card .twin canvas")
    page.locator(".sheet input[type=range]").focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.tiles').getAttribute('aria-label').includes('step 8 of 20')")
    assert "step=8" in link(page)
    assert pixels(page, ".card .twin canvas") != end
    page.evaluate("window.steps = 0")
    page.evaluate(
        "new MutationObserver(() => { window.steps += 1; })"
        ".observe(document.querySelector('.tiles'), {attributeFilter: ['aria-label']})"
    )
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('.tiles').getAttribute('aria-label').includes('step 20 of 20')")
    assert pixels(page, ".card .twin canvas") == end
    assert page.evaluate("window.steps") > 10


def test_class_and_guidance_are_obeyed(visit):
    page = visit("/#/images?n=2&steps=8")
    done(page)
    again(page, lambda: page.get_by_label("Class", exact=True).select_option("3"))
    assert "Classes 3, 3" in page.get_attribute(".tiles", "aria-label")
    first = pixels(page, ".card .twin canvas")
    page.get_by_label("Guidance weight").focus()
    again(page, lambda: page.keyboard.press("End"))
    assert "weight=8" in link(page)
    assert pixels(page, ".card .twin canvas") != first


def test_half_a_digit_drawn_by_mouse_is_completed_several_ways(visit):
    page = visit("/#/images?part=completing&label=none&n=3&steps=10")
    done(page)
    again(page, lambda: page.get_by_role("button", name="Clear").click())
    assert inked(page) == 0
    again(page, lambda: draw(page, (0.3, 0.2), (0.65, 0.2), (0.6, 0.45)))
    assert inked(page) > 20
    assert numbers(page)["Known pixels"] == "392 of 784"
    shown = page.eval_on_selector_all(".card > canvas.tile", "all => all.map(c => c.toDataURL())")
    assert len(set(shown)) == 3, "three different completions"
    assert len(link(page)) < 700
    before = inked(page)
    page.get_by_role("button", name="Eraser").click()
    again(page, lambda: draw(page, (0.3, 0.2), (0.65, 0.2)))
    assert inked(page) < before
    page.get_by_label("Class", exact=True).select_option("7")
    until(page, "document.querySelector('.tiles').getAttribute('aria-label').includes('as 7, 7, 7')")


def test_other_completions_are_others_and_how_long_they_took_is_told(visit):
    page = visit("/#/images?part=completing&label=none")
    done(page)
    first = pixels(page, ".card > canvas.tile")
    again(page, lambda: page.get_by_role("button", name="Other completions").click())
    assert pixels(page, ".card > canvas.tile") != first
    seconds = float(numbers(page)["Time"].split()[0])
    print(f"4 completions of 20 steps in {seconds:.2f} s")
    assert seconds > 0


def test_a_drawing_by_keys_alone(visit):
    page = visit("/#/images?part=completing&label=none&n=1&steps=6&region=ink")
    done(page)
    page.evaluate("document.querySelector('canvas.pad').focus()")
    page.keyboard.press("ArrowDown")
    assert "Row 9, column 15" in page.inner_text("#said")
    before = inked(page)
    page.keyboard.press("Space")
    for _ in range(6):
        page.keyboard.press("Shift+ArrowRight")
    assert inked(page) != before
    page.keyboard.press("Backspace")
    done(page)
    assert "drawing=" in link(page)


def test_a_drawing_is_in_its_link(visit):
    page = visit("/#/images?part=completing&label=none&n=1&steps=6&method=replacement")
    done(page)
    again(page, lambda: draw(page, (0.2, 0.3), (0.8, 0.3)))
    there, seen = link(page), pixels(page, ".card > canvas.tile")
    other = visit(f"/{there}")
    done(other)
    assert inked(other) == inked(page)
    assert pixels(other, ".card > canvas.tile") == seen


def test_one_digit_turns_into_another(visit):
    page = visit("/#/images?part=between&start=0&stop=19")
    done(page)
    assert page.locator(".strip").first.locator("canvas").count() == 9
    assert float(numbers(page)["There and back"]) < 0.05
    middle = pixels(page, ".large canvas")
    page.get_by_label("Along the way").focus()
    page.keyboard.press("End")
    assert pixels(page, ".large canvas") != middle
    again(page, lambda: page.get_by_role("button", name="To example 8, a 3").click())
    assert "stop=7" in link(page)


def test_an_empty_sheet_is_told(visit):
    page = visit("/#/images?part=completing&label=none&n=1&steps=4&region=ink&method=replacement")
    done(page)
    page.get_by_role("button", name="Clear").click()
    page.wait_for_selector("#problem:not([hidden])")
    assert "draw something" in page.inner_text("#problem")
    draw(page, (0.2, 0.3), (0.8, 0.3))
    page.wait_for_selector("#problem", state="hidden")


def test_leaving_ends_the_stream(visit):
    page = visit("/#/images?part=completing&label=none&n=8&steps=60")
    page.click("#views a[data-view=sources]")
    page.wait_for_selector(".facts")
    shown(page, "sources")


@pytest.mark.parametrize("region", ["top", "bottom", "left", "right", "ink"])
def test_what_the_sheet_veils_is_what_the_server_completes(visit, region):
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
    image = torch.where(torch.rand(image.shape, generator=torch.Generator().manual_seed(2)) < 0.05, image, -1.0)
    text = canvas.written(image)
    levels = canvas.read(text, (1, 28, 28))
    page = visit("/#/sources")
    drawn = """async ([text, side, shares]) => {
        const {decode, encode} = await import("/lib/pixels.js"), {region} = await import("/views/images/completing.js");
        const levels = decode(text, 784);
        return {again: encode(levels), levels: [...levels], known: shares.map((share) => [...region(side, share, levels, 28, 28)])};
    }"""
    shares = [0.1, 0.25, 0.375, 0.5, 0.55, 0.9]
    found = page.evaluate(drawn, [text, region, shares])
    assert found["again"] == text
    assert (torch.tensor(found["levels"]) * 2 - 1 - levels.flatten()).abs().max() < 1e-6
    for share, known in zip(shares, found["known"]):
        assert known == canvas.known(levels, region, share)[0].int().flatten().tolist(), share


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("part", ["forming", "completing", "between"])
def test_axe_finds_nothing(visit, theme, part):
    page = visit(f"/#/images?part={part}&n=2&steps=4", theme=theme)
    done(page)
    assert violations(page) == []


@pytest.mark.parametrize("part", ["forming", "completing", "between"])
def test_a_narrow_screen_does_not_scroll_sideways(visit, part):
    page = visit(f"/#/images?part={part}&n=2&steps=4", width="narrow")
    done(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
