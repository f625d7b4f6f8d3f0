"""Tables of the documentation, read off the library: a new sampler, objective or noise appears by itself.

    python docs/tables.py samplers        prints one table
    python docs/tables.py orders          measures every sampler's order of convergence

As a hook of MkDocs it replaces ``<!-- table: samplers -->`` in a page, and ``<!-- include: README.md -->`` by that file.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scorefield import box, calculus, grids, laws, networks, noises, objectives, samplers, spaces
from scorefield.exact import Mixture
from scorefield.inversion import invert, restore
from scorefield.objectives import Objective, Times
from scorefield.recipes.find import names
from scorefield.samplers import Sampler


def claim(thing: object) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().split("\n")[0].replace("|", r"\|")


def table(*rows: tuple[str, ...]) -> str:
    """Markdown: the first row heads the others."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def classes(module, kind: type, prefix: str) -> str:
    """Every final class of a kind that a module exports, with its claim."""
    found = laws.exported(module, kind)
    return table(("name", "what it does"), *((f"`{prefix}{c.__name__}`", claim(c)) for c in found))


def walks() -> str:
    """Every sampler with its order, its cost and its claim."""
    rows = [("name", "order", "evaluations a step", "what it does")]
    for kind in laws.exported(samplers, Sampler):
        one = kind()
        order = "∞" if one.order == float("inf") else f"{one.order:g}"
        rows.append((f"`sf.samplers.{kind.__name__}`", order, str(one.evaluations), claim(kind)))
    return table(*rows)


def functions(module, prefix: str) -> str:
    """Every public function defined in a module, with its claim."""
    own = [f for f in vars(module).values() if callable(f) and getattr(f, "__module__", "") == module.__name__]
    return table(
        ("name", "what it does"),
        *((f"`{prefix}{f.__name__}`", claim(f)) for f in own if not isinstance(f, type) and f.__name__[0] != "_"),
    )


def orders() -> str:
    """Measured order of convergence on a Gaussian with 64 and 128 steps: noises down, grids across."""
    kinds = [kind() for kind in laws.exported(samplers, Sampler)]
    rows = [("sampler", "declared", *(f"{n.__name__}, {g.__name__}" for n in NOISES for g in GRIDS))]
    for sampler in kinds:
        if not laws.takes_denoiser(sampler) or sampler.order == 0:
            continue
        measured = (laws.measured_order(sampler, noise(), grid)[0] for noise in NOISES for grid in GRIDS)
        rows.append((f"`{sampler}`", f"{sampler.order:g}", *(f"{order:.2f}" for order in measured)))
    return table(*rows)


def inversions() -> str:
    """Root-mean-square errors of data → noise (in units of σ(1)) and of data → noise → data on a mixture, against steps."""
    double = {"dtype": torch.float64}
    means = torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **double)
    pair = Mixture(torch.tensor([1.0, 3.0], **double), means, 0.2 * torch.eye(2, **double))
    known, x = pair.denoiser(noises.EDM(80.0)), pair.sample(200, torch.Generator().manual_seed(0))
    truth, counts = invert(known, x, steps=2000, sampler=samplers.Heun()), (20, 40, 80, 160)
    rows = [("sampler", *(f"noise, {n} steps" for n in counts), *(f"data, {n} steps" for n in counts))]
    for sampler in (samplers.Ancestral(eta=0.0), samplers.Heun(), samplers.Multistep()):
        away = [invert(known, x, steps=n, sampler=sampler) for n in counts]
        back = [restore(known, z, steps=n, sampler=sampler) for n, z in zip(counts, away)]
        errors = [(z - truth) / known.noise.prior_std for z in away] + [y - x for y in back]
        rows.append((f"`{sampler}`", *(f"{float(e.square().mean().sqrt()):.1e}" for e in errors)))
    return table(*rows)


def cards() -> str:
    """The cards of the models in the box, one section each."""
    texts = []
    for name in box.names():
        text = (box.place(name) / "card.md").read_text(encoding="utf-8")
        text = re.sub(r"^#", "##", text, flags=re.M).replace("](samples.png)", f"](images/box-{name}.png)")
        texts.append(re.sub(r"\]\(\.\./([\w-]+)/card\.md\)", r"](#\1)", text))
    return "\n".join(texts)


ROOT = Path(__file__).parents[1]
NOISES, GRIDS = [noises.VP, noises.EDM, noises.Rectified], [grids.karras, grids.logsnr]
TABLES: dict[str, Callable[[], str]] = {
    "samplers": walks,
    "orders": orders,
    "inversions": inversions,
    "objectives": partial(classes, objectives, Objective, "sf.objectives."),
    "times": partial(classes, objectives, Times, "sf.objectives."),
    "weights": partial(functions, objectives.weights, "sf.objectives.weights."),
    "noises": partial(classes, noises, noises.Noise, "sf.noises."),
    "spaces": partial(classes, spaces, spaces.Space, "sf.spaces."),
    "divergences": partial(classes, calculus, calculus.Divergence, "sf.calculus."),
    "grids": partial(functions, grids, "sf.grids."),
    "networks": lambda: table(
        ("name", "what it does"),
        *((f"`sf.networks.{n}`", claim(getattr(networks, n))) for n in networks.__all__ if n[0].isupper()),
    ),
    "cards": cards,
    "recipes": lambda: table(
        ("recipe", "what it does"), *((f"`scorefield train {n}`", claim(r)) for n, r in names().items())
    ),
}


def included(name: str) -> str:
    """A file of the repository's root as a page: its links into docs/ become links beside it."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    text = text.replace("](CONTRIBUTING.md)", "](contributing.md)").replace("](CHANGELOG.md)", "](changelog.md)")
    return re.sub(r"\[([^]]+)\]\(LICENSE\)", r"\1", text)


def on_files(files: Any, config: Any) -> None:
    """MkDocs calls this once: the pictures of the models in the box, which lie with them, become files of the site."""
    from mkdocs.structure.files import File

    for name in box.names():
        files.append(
            File.generated(config, f"images/box-{name}.png", abs_src_path=str(box.place(name) / "samples.png"))
        )


def on_page_markdown(markdown: str, **_) -> str:
    """MkDocs calls this for every page."""
    markdown = re.sub(r"<!-- include: (\S+) -->", lambda found: included(found[1]), markdown)
    return re.sub(r"<!-- table: (\w+) -->", lambda found: TABLES[found[1]](), markdown)


def on_page_content(html: str, **_) -> str:
    """MkDocs calls this for every page: shapes in signatures were taken for products of names, and become strings again."""
    shape = r'(<span class="n">Tensor</span><span class="p">,</span> )((?:<span class="[no]">[\w*]+</span>\s*)+)(?=<span class="p">\])'

    def quoted(found: re.Match) -> str:
        words = re.sub(r"<[^>]+>", "", found[2]).strip().replace("* ", "*")
        return f'{found[1]}<span class="s2">&quot;{words}&quot;</span>'

    return re.sub(shape, quoted, html)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or TABLES:
        print(TABLES[chosen](), end="\n\n")
