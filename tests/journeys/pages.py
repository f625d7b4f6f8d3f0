"""Pages whose Python blocks are run: all blocks of a page share one namespace, as a reader's session would. And notebooks."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def run(page: Path) -> dict:
    """The names that the page's blocks leave behind."""
    names: dict = {"__name__": "__main__"}
    text = page.read_text()
    torch.manual_seed(0)
    for found in BLOCK.finditer(text):
        # Blank lines before, so that an error names the line of the page.
        code = "\n" * text[: found.start(1)].count("\n") + found[1]
        exec(compile(code, str(page), "exec"), names)
    return names


def execute(notebook, folder: Path) -> None:
    """Runs the cells in this folder, in a kernel that is waited for on the slowest machine."""
    from nbclient import NotebookClient

    waits = {"timeout": 1200, "startup_timeout": 300, "iopub_timeout": 300}
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": folder}}, **waits).execute()
