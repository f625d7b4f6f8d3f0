"""What the page of deployment shows is so: its commands are read by the real command line, its metrics are counted."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from scorefield.cli import app
from scorefield.server.meters import Meters

TEXT = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def block(kind):
    """The lines of the first block of that kind."""
    return TEXT.split(f"```{kind}\n")[1].split("```")[0].splitlines()


def started(kind, key):
    """What follows the key in a block."""
    return next(line.removeprefix(key) for line in block(kind) if line.startswith(key)).strip()


COMMANDS = {
    "console": shlex.split(started("console", "$ scorefield")),
    "unit": shlex.split(started("ini", "ExecStart=/opt/scorefield/bin/scorefield")),
    "container": json.loads(started("dockerfile", "ENTRYPOINT"))[1:] + json.loads(started("dockerfile", "CMD")),
}


@pytest.mark.parametrize("place", COMMANDS)
def test_its_commands_are_read_by_the_command_line(place):
    name, *words = COMMANDS[place]
    command = typer.main.get_command(app([name, *words])).commands[name]
    found = command.make_context(name, list(words)).params
    assert str(found["run"]) == "digits-fast"
    assert found["workers"] == (1 if place == "console" else 2)
    assert found["host"] == ("0.0.0.0" if place == "container" else "127.0.0.1")
    with pytest.raises(Exception, match="--wrokers"):
        command.make_context(name, [*words, "--wrokers", "2"])


def test_its_metrics_are_counted():
    named = set(re.findall(r"`(scorefield_[a-z_]+)`", TEXT))
    counted = set(re.findall(r"^# TYPE (\S+)", Meters().text(), re.MULTILINE))
    assert len(named) > 8
    assert named <= counted, named - counted


def test_its_scrape_asks_where_the_server_listens():
    (job,) = yaml.safe_load("\n".join(block("yaml")))["scrape_configs"]
    port = COMMANDS["unit"][COMMANDS["unit"].index("--port") + 1]
    assert job["static_configs"] == [{"targets": [f"localhost:{port}"]}]
    assert started("ini", "LoadCredential=token:") == job["authorization"]["credentials_file"]
    assert started("dockerfile", "EXPOSE") == port
