"""A server that takes its time: answers held back until the page has moved on. It must not show what is no longer asked for."""

import json

from conftest import FRAMES, link, ready, shown, until


class Held:
    """The requests of a page to some addresses, which wait until they are let go."""

    def __init__(self, page, addresses):
        self.page, self.addresses, self.waiting = page, addresses, []
        page.route(addresses, lambda route: self.waiting.append(route))

    def next(self):
        """Lets the oldest go on its way, once there is one."""
        until(self.page, lambda: self.waiting)
        self.waiting.pop(0).continue_()

    def end(self):
        """Lets all go, now and from now on."""
        while self.waiting:
            self.waiting.pop(0).continue_()
        self.page.unroute(self.addresses)


def test_a_view_that_is_left_no_longer_writes_the_link(visit):
    page = visit("/#/field")
    module = Held(page, "**/views/point.js")
    page.click("#views a[data-view=point]")
    until(page, lambda: module.waiting)
    assert page.locator("#view[data-ready]").count() == 0
    page.focus("input[type=range]")
    page.keyboard.press("End")
    assert link(page) == "#/point"
    module.end()
    shown(page, "point")
    assert link(page) == "#/point"


def test_a_view_that_does_not_come_is_told(visit):
    page = visit("/#/field", allowed=["Failed to"])
    page.route("**/views/walk.js", lambda route: route.abort())
    page.click("#views a[data-view=walk]")
    page.wait_for_selector("#problem:not([hidden])")
    page.click("#views a[data-view=field]")
    shown(page, "field")
    assert page.locator("#problem").is_hidden()


def test_lines_of_code_are_those_of_the_state_that_is_seen(visit):
    page = visit("/#/field?sigma=0.5")
    page.click("details.code summary")
    page.wait_for_selector("details.code[data-ready]")
    first, lines = page.text_content("details.code code"), Held(page, "**/api/field/code")
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    until(page, lambda: lines.waiting)
    page.keyboard.press("End")
    lines.next()
    until(page, lambda: lines.waiting)
    assert page.locator("details.code[data-ready]").count() == 0
    assert page.text_content("details.code code") == first
    lines.end()
    page.wait_for_selector("details.code[data-ready]")
    assert link(page).endswith("sigma=5")
    assert "sigma = 5\n" in page.text_content("details.code code")


def test_the_model_that_is_chosen_last_draws(visit):
    page = visit("/#/images?n=1&steps=2")
    asked, models = [], Held(page, "**/api/images/model?*")
    page.on(
        "request", lambda each: each.url.endswith("/api/images/forming") and asked.append(json.loads(each.post_data))
    )
    run = page.get_by_label("Model", exact=True)
    run.select_option("digits-fast")
    until(page, lambda: models.waiting)
    run.select_option("digits")
    ready_but_one = "document.documentElement.dataset.pending === '1'"
    until(page, ready_but_one)
    models.end()
    ready(page)
    assert {each["run"] for each in asked} <= {"digits"}
    assert run.input_value() == "digits"


def test_a_training_rests_when_the_server_says_so(visit):
    """The button follows the hand at once; where it rests, and the lines and the link for that, is the server's word."""
    page = visit("/#/train?who=denoising")
    page.get_by_role("button", name="Train", exact=True).click()
    steps = "parseInt(document.querySelector('.walker .where').textContent)"
    until(page, f"{steps} > 10")
    told = Held(page, "**/api/train/page-*")
    page.get_by_role("button", name="Stop", exact=True).click()
    until(page, lambda: told.waiting)
    assert page.get_by_role("button", name="Continue", exact=True).is_visible()
    now = page.evaluate(steps)
    until(page, f"{steps} > {now}")
    assert page.get_by_role("button", name="Continue", exact=True).is_visible()
    assert page.get_attribute("#view", "data-training") == "yes"
    assert "stands=" not in link(page)
    told.end()
    page.wait_for_selector("#view[data-training=paused]")
    page.evaluate(FRAMES)
    assert link(page).endswith(f"stands={page.evaluate(steps)}")
    assert "Stopped." in page.text_content("#said")
