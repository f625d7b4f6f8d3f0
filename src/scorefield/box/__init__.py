"""Models in the box: small trained runs that come with the package, each a folder with a card.

    run.json              the description, as of every run: model, recipe, arguments, seed, data, scaling, versions
    average.safetensors   the weights, rounded to half precision; loading gives them as float32
    report.json           what ``scorefield evaluate`` measured of these very weights
    log.jsonl             a thinned record of the training
    card.md, samples.png  what it is, where it comes from, how good it is, what it cannot do; and its looks

A command or function that takes a run takes their names too; a run in a folder of that name comes first. Nothing is
ever written here: results go to ``runs/box/NAME``. ``scorefield pack RUN --out FOLDER`` makes such a folder of any run.
"""

from pathlib import Path

__all__ = ["find", "names", "place", "results"]

_HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The names of the models in the box, sorted.

    >>> "digits" in names()
    True
    """
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/run.json")))


def find(name: str | Path) -> Path | None:
    """The folder of the box's model of this name, to read only; None if there is none.

    >>> find("digits").name, find("nobody")
    ('digits', None)
    """
    return _HERE / str(name) if str(name) in names() else None


def place(run: str | Path) -> Path:
    """Where a run lies: the folder itself if it holds one, else that of the box's model of this name, else the folder.

    >>> place("digits") == find("digits") or (Path("digits") / "run.json").exists()
    True
    >>> str(place("runs/mine"))
    'runs/mine'
    """
    folder = Path(run)
    return folder if (folder / "run.json").exists() else find(run) or folder


def results(run: str | Path) -> Path:
    """Where to write what is made from a run: its own folder, or ``runs/box/NAME`` for a model of the box.

    >>> str(results(find("digits"))) == str(Path("runs/box/digits")), str(results("runs/mine"))
    (True, 'runs/mine')
    """
    folder = place(run)
    return Path("runs") / "box" / folder.name if folder.parent == _HERE else folder
