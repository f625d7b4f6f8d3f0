"""The command lines of the documentation are ones that the program takes: every command, option and argument of them."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scorefield.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = {
    (page.relative_to(ROOT).as_posix(), line.partition("  #")[0].strip())
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for line in re.findall(r"^\$ scorefield (.*)$", block, flags=re.MULTILINE)
}
USAGE = {(page, line) for page, line in LINES if re.search(r"[\[|…]", line)}


@cache
def program(words: tuple[str, ...]) -> Any:
    import typer

    return typer.main.get_command(app(words))


def taken(words: list[str]) -> list[Any]:
    """The contexts that parse these words, the program's first; nothing is run. Raises what the program would."""
    contexts: list[Any] = []
    command, name, rest = program(tuple(words[:2]) if words[0] in ("train", "doctor") else ()), "scorefield", words
    while command is not None:
        contexts.append(command.make_context(name, rest, parent=contexts[-1] if contexts else None))
        left = [*getattr(contexts[-1], "_protected_args", []), *contexts[-1].args]
        name, command, rest = (
            command.resolve_command(contexts[-1], left) if hasattr(command, "commands") else ("", None, [])
        )
    return contexts


def test_there_are_command_lines():
    assert len(LINES) > 30
    assert len(USAGE) > 8


@pytest.mark.parametrize(("page", "line"), sorted(LINES - USAGE), ids=lambda text: text)
def test_a_line_of_the_documentation_is_taken(page, line):
    assert len(taken(shlex.split(line))) > 1


@pytest.mark.parametrize("line", ["sample RUN --number 4", "sampel RUN", "sample RUN -n four", "train moons --size 3"])
def test_a_line_that_the_program_does_not_take_is_seen(line):
    with pytest.raises(Exception, match=r"No such|valid integer|no such"):
        taken(shlex.split(line))


@pytest.mark.parametrize(("page", "line"), sorted(USAGE), ids=lambda text: text)
def test_the_options_of_a_usage_line_are_the_commands_own(page, line):
    word = line.split()[0]
    *_, context = taken(
        [word, "moons" if word == "train" else "RUN", *(["--out", "x"] if word in ("pack", "import") else [])]
    )
    known = {option for each in context.command.params for option in each.opts}
    assert set(re.findall(r"(?<!\S)\[?(--?[a-z]+(?:-[a-z]+)*)", line)) - {"--any-argument-of-the-recipe"} <= known


def test_the_page_of_the_command_line_has_every_command():
    page = (ROOT / "docs" / "cli.md").read_text()
    for name in program(()).commands:
        assert f"$ scorefield {name} " in page


def test_the_programs_that_measured_are_there_and_know_their_options():
    told = {
        (program, option)
        for page in PAGES
        for program, words in re.findall(r"((?:benchmarks|docs)/[\w/]+\.py)([^`)\n]*)", page.read_text())
        for option in ["", *re.findall(r"(?<!\S)--[a-z-]+", words)]
    }
    assert len(told) > 20
    for program, option in sorted(told):
        assert (ROOT / program).is_file(), program
        assert f'"{option}"' in (ROOT / program).read_text() or not option, (program, option)
