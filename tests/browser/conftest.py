"""A real explorer process, a real Chromium, and pages that fail on any console error and on any request that leaves this machine.

Every wait is for a condition, and its limit is for what never comes: a machine may be as slow as it likes, and no test asks how fast
it is. What a page has asked for, or will ask for as soon as a hand rests, it counts in ``data-pending`` on its root element.
"""

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlparse

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, BrowserType, Page, sync_playwright

WIDTHS = {"wide": (1440, 900), "middle": (1024, 768), "narrow": (390, 844)}
LIMIT = 300.0
"""Seconds after which what has not come never will."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PENDING = "document.documentElement.dataset.pending"
CALM = f"document.querySelector('#view[data-ready]') !== null && {PENDING} === '0'"
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


@contextlib.contextmanager
def explorer(*arguments: str) -> Iterator[str]:
    """The address of ``scorefield explore`` in a process of its own."""
    command = [
        sys.executable,
        "-c",
        "from scorefield.cli import main; main()",
        "explore",
        "--port",
        "0",
        "--no-browser",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        told = process.stdout.readline() if select.select([process.stdout], [], [], LIMIT)[0] else ""
        found = re.search(r"http://\S+", told)
        assert found, f"no address in {told!r}"
        yield found[0].rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=LIMIT)
        process.stdout.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """An explorer without a run of its own."""
    with explorer() as found:
        yield found


def launched(kind: BrowserType, *arguments: str) -> Browser:
    """The Chromium that $CHROMIUM names, or this machine's under any of its names, or the one that playwright installed."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    return kind.launch(executable_path=path, args=["--no-sandbox", *arguments], timeout=1000 * LIMIT)


def patient(context: BrowserContext) -> BrowserContext:
    """The same, waiting as long as all else here."""
    context.set_default_timeout(1000 * LIMIT)
    return context


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; pages of their own contexts share nothing in it."""
    with sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page and what went wrong in it."""

    page: Page
    allowed: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Open]:
    """``visit("/#/field", width="narrow", theme="dark")``: a page, ready.

    In the end nothing may have gone wrong in it, but for console messages with a word of ``allowed``, such as "422"."""
    visits: list[Visit] = []

    def opened(link: str = "/", *, width: str = "wide", theme: str = "light", at: str = address, allowed=()) -> Page:
        across, down = WIDTHS[width]
        context = chromium.new_context(
            viewport={"width": across, "height": down}, color_scheme=theme, permissions=["clipboard-write"]
        )
        made = Visit(patient(context).new_page(), tuple(allowed))
        visits.append(made)
        made.page.on("console", lambda m: m.type in ("error", "warning") and made.wrong.append(f"{m.type}: {m.text}"))
        made.page.on("pageerror", lambda error: made.wrong.append(f"uncaught: {error}"))
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.goto(at + link)
        ready(made.page)
        return made.page

    yield opened
    for each in visits:
        each.page.context.close()
    for each in visits:
        outside = [url for url in each.requests if urlparse(url).hostname not in ("127.0.0.1", None)]
        assert not outside, f"requests left this machine: {outside}"
        wrong = [said for said in each.wrong if not any(word in said for word in each.allowed)]
        assert not wrong, wrong


def ready(page: Page) -> None:
    """Waits until a view stands there, all that was asked for has come, nothing is about to be asked for, and it is painted."""
    settled(page, CALM)


def settled(page: Page, condition: str) -> None:
    """Waits until a condition holds and still holds when the next frames have been painted."""
    held = False
    while not held:
        until(page, condition)
        page.evaluate(FRAMES)
        held = page.evaluate(condition)


def shown(page: Page, view: str) -> None:
    """Waits until this view, and not the one before, is ready."""
    settled(page, f"document.querySelector('#view').dataset.view === '{view}' && {CALM}")


def until(page: Page, condition: str | Callable[[], object], seconds: float = LIMIT) -> None:
    """Waits until a condition, JavaScript or Python, holds. The page's policy forbids what playwright's own waiting does, eval."""
    end = time.monotonic() + seconds
    while not (page.evaluate(condition) if isinstance(condition, str) else condition()):
        assert time.monotonic() < end, f"still not: {condition}"
        page.wait_for_timeout(30)


def violations(page: Page) -> list[str]:
    """What axe finds wrong with a page, by rule and place."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]} ({len(each['nodes'])})" for each in found["violations"]]


def pixels(page: Page, selector: str = ".plot canvas") -> str:
    """What a canvas shows, as text to compare."""
    return page.eval_on_selector(selector, "canvas => canvas.toDataURL()")


def changed(page: Page, selector: str, before: str) -> None:
    """Waits until a canvas shows something else than ``before``, which `pixels` gave."""
    until(page, lambda: pixels(page, selector) != before)


def link(page: Page) -> str:
    """The part of the address that holds the state."""
    return page.evaluate("location.hash")
