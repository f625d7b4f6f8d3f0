"""A real explorer process, a real Chromium, and pages that fail on any console error and on any request that leaves this machine."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlparse

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = {"wide": (1440, 900), "middle": (1024, 768), "narrow": (390, 844)}
START = 90.0
"""Seconds in which an explorer must tell its address, on a busy machine."""


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
        told = process.stdout.readline()
        found = re.search(r"http://\S+", told)
        assert found, f"no address in {told!r}"
        yield found[0].rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """An explorer without a run of its own."""
    with explorer() as found:
        yield found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that playwright installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
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
        made = Visit(context.new_page(), tuple(allowed))
        visits.append(made)
        made.page.on("console", lambda m: m.type in ("error", "warning") and made.wrong.append(f"{m.type}: {m.text}"))
        made.page.on("pageerror", lambda error: made.wrong.append(f"uncaught: {error}"))
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.goto(at + link)
        ready(made.page)
        return made.page

    yield opened
    for each in visits:
        outside = [url for url in each.requests if urlparse(url).hostname not in ("127.0.0.1", None)]
        each.page.context.close()
        assert not outside, f"requests left this machine: {outside}"
        wrong = [said for said in each.wrong if not any(word in said for word in each.allowed)]
        assert not wrong, wrong


def ready(page: Page) -> None:
    """Waits until a view is mounted, what it asked of the server has come, and it asks no more."""
    page.wait_for_selector("#view[data-ready]", timeout=20_000)
    idle, end = 0, time.monotonic() + 60
    while idle < 3:
        page.wait_for_timeout(70)
        idle = idle + 1 if page.evaluate("document.documentElement.dataset.pending") == "0" else 0
        assert time.monotonic() < end, "the page is still asking the server"


def until(page: Page, condition: str, seconds: float = 20.0) -> None:
    """Waits until a condition in JavaScript holds. The page's policy forbids what playwright's own waiting does, eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not: {condition}"
        page.wait_for_timeout(30)


def violations(page: Page) -> list[str]:
    """What axe finds wrong with a page, by rule and place."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]} ({len(each['nodes'])})" for each in found["violations"]]


def pixels(page: Page, selector: str = ".plot canvas") -> str:
    """What a canvas shows, as text to compare."""
    return page.eval_on_selector(selector, "canvas => canvas.toDataURL()")


def changed(page: Page, selector: str, before: str, seconds: float = 20.0) -> None:
    """Waits until a canvas shows something else than ``before``, which `pixels` gave."""
    end = time.monotonic() + seconds
    while pixels(page, selector) == before:
        assert time.monotonic() < end, f"{selector} still shows the same"
        page.wait_for_timeout(30)


def link(page: Page) -> str:
    """The part of the address that holds the state."""
    return page.evaluate("location.hash")
