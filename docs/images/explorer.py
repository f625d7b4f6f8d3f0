"""The pictures of docs/explore.md: ``python docs/images/explorer.py`` opens the explorer in Chromium and photographs its views.

They are what a reader sees at 1440, 1024 and 390 pixels, in both themes.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
SIZES = {"wide": (1440, 900), "middle": (1024, 768), "narrow": (390, 844)}
SHOTS = [
    ("field-light", "#/field?modes=-1.2,-0.7;1.2,-0.7;0,1.3,0.45&sigma=0.25", "wide", "light"),
    ("field-dark", "#/field?density=spirals&sigma=0.15&show=speed&lines=streamlines", "wide", "dark"),
    ("field-error", "#/field?density=moons&method=kernel&sigma=0.4&show=error", "middle", "light"),
    ("point-light", "#/point?density=moons&at=-0.2,0.1&sigma=0.6&sources=80", "wide", "light"),
    ("point-dark", "#/point?sigma=0.9", "middle", "dark"),
    ("walk-light", "#/walk?density=moons&at=42", "wide", "light"),
    ("walk-dark", "#/walk?a=Langevin(size=0.15)&b=Langevin(size=0.24)&evaluations=200&at=34", "wide", "dark"),
    ("train-dark", "#/train?stands=300.330.600", "wide", "dark"),
    ("images-light", "#/images?part=completing&label=none", "wide", "light"),
    ("images-dark", "#/images?part=between", "middle", "dark"),
    ("exercises-dark", "#/exercises?exercise=gaussian&answer=1", "wide", "dark"),
    ("field-narrow", "#/field", "narrow", "dark"),
    ("exercises-narrow", "#/exercises?exercise=merging&answer=1.9", "narrow", "light"),
]


def settled(page: Page) -> None:
    """Waits until the view is there and has asked the server for nothing during half a second."""
    page.wait_for_selector("#view[data-ready]")
    idle = 0
    while idle < 5:
        page.wait_for_timeout(100)
        idle = idle + 1 if page.evaluate("document.documentElement.dataset.pending") == "0" else 0


def main(wanted: list[str]) -> None:
    """Takes the shots whose names begin with one of ``wanted``, or all of them."""
    command = [
        sys.executable,
        "-c",
        "from scorefield.cli import main; main()",
        "explore",
        "--port",
        "0",
        "--no-browser",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = re.search(r"http://\S+", server.stdout.readline())[0].rstrip("/")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, link, size, theme in SHOTS:
                if wanted and not name.startswith(tuple(wanted)):
                    continue
                width, height = SIZES[size]
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.goto(f"{address}/{link}")
                settled(page)
                if name.startswith("train"):
                    page.wait_for_selector("#view[data-training=paused]", timeout=60_000)
                if name.startswith(("walk", "train", "images")):
                    page.wait_for_timeout(9000)  # a stream is read to its end
                page.evaluate("scrollTo(0, 0)")
                save(page.screenshot(), HERE / f"explorer-{name}.webp")
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def save(png: bytes, path: Path) -> None:
    """A screenshot as WebP: a tenth of the PNG, and no difference to see."""
    Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=84, method=6)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
