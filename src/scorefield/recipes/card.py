"""The card of a model: what it is, what made it, what was measured of it, as Markdown.

Mitchell et al. (2019), "Model cards for model reporting", arXiv:1810.03993. All that a run knows is filled in from it; licence,
limits and intended use are its maker's to say, in notes that follow.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..box import place
from ..checkpoints import facts, load, read_log
from ..samplers import default
from .drawing import Drawing
from .find import find, names


def card(run: Path, *, name: str, notes: str = "", trust: tuple[str, ...] = ("scorefield",)) -> str:
    """The Markdown of a run's card, with the table of its report.json if it has one, and the notes.

    What the notes say before their first heading opens the card; without it the recipe's first line does.

    >>> print(card(Path("moons"), name="moons").splitlines()[0])
    # moons
    """
    about, model = facts(run, trust=trust), load(run, trust=trust)
    report = place(run) / "report.json"
    claim, *sections = re.split(r"^(?=## )", notes, maxsplit=1, flags=re.M)
    parts = [
        f"# {name}",
        claim.strip() or _claim(about),
        "![samples](samples.png)",
        _origin(name, about, model, place(run)),
    ]
    if report.exists():
        parts += ["## Evaluation", _evaluation(name, json.loads(report.read_bytes()))]
    return "\n\n".join([*parts, *map(str.strip, sections)]).strip() + "\n"


def command(recipe: Callable[..., Any], word: str, arguments: Mapping[str, Any]) -> str:
    """The command line that calls the recipe with these arguments; defaults are left out.

    >>> command(find("moons"), "moons", {"width": 96, "steps": 3000})
    'scorefield train moons --width 96'
    """
    words = [f"scorefield train {word}"]
    for name, each in inspect.signature(recipe).parameters.items():
        value = arguments.get(name, each.default)
        flag = name.replace("_", "-")
        if value == each.default or value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            many = isinstance(value, list | tuple)
            words.append(f"--{flag} {','.join(map(str, value)) if many else value}")
    return " ".join(words)


def _claim(about: Mapping[str, Any]) -> str:
    recipe = names().get(about.get("recipe", ""))
    return (
        (inspect.getdoc(recipe) or "").partition("\n")[0] if recipe else "A model made without a recipe of the library."
    )


def _origin(name: str, about: Mapping[str, Any], model: nn.Module, folder: Path) -> str:
    """Where the model comes from, as a table."""
    weights = list(model.parameters())
    stored = (folder / "average.safetensors").stat().st_size
    rows = [("load", f'`scorefield.load("{name}")`, `scorefield sample {name}`')]
    rows.append(
        ("model", f"`{type(model).__name__}`, {sum(w.numel() for w in weights):,} weights in {stored / 1000:,.0f} kB")
    )
    data, arguments = about.get("data", {}), about.get("arguments", {})
    if "fingerprint" in data:
        shape = tuple(data["shape"])
        rows.append(("data", f"{data['name']}: {data['rows']:,} rows of shape {shape} to train on, {data['held_out']:,} held out "
                             f"(fingerprint {data['fingerprint']})"))  # fmt: skip
    word = about.get("recipe")
    if word in names():
        rows.append(("command", f"`{command(find(word), word, arguments)}`"))
    if isinstance(about.get("sampling"), Drawing):
        rows.append(("drawing", _drawing(about["sampling"])))
    if "seed" in about:
        rows.append(("seed", str(about["seed"])))
    log = read_log(folder)
    if log:
        rows.append(("training", f"{log[-1]['step']:,} steps in {log[-1]['seconds']:,.0f} s"))
    rows.append(("versions", ", ".join(f"{key} {value}" for key, value in about["versions"].items())))
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])


def _drawing(how: Drawing) -> str:
    sampler = how.sampler or default(how.steps)
    guided = "" if how.weight == 1 else f", guided by {how.weight:g} where {how.low:g} ≤ σ/α ≤ {how.high:g}"
    return f"{how.steps} steps of `{sampler}`{guided}"


def _evaluation(name: str, report: Mapping[str, Any]) -> str:
    """The table of the report."""
    lines = [f"`scorefield evaluate {name}`, of these very weights; ± is one standard error.", ""]
    lines += ["| | model | real data | |", "|---|---|---|---|"]
    for key, each in report["measures"].items():
        error, real = each["error"], each["reference"]
        value = f"{each['value']:.4g}" if error is None else f"{each['value']:.3g} ± {error:.2g}"
        real = "" if real is None else f"{real:.4g}"
        lines.append(f"| {key.replace('_', ' ')} | {value} | {real} | {each['meaning']} |")
    return "\n".join(lines)
