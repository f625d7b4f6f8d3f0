"""One look for every picture: a palette that colour-blind readers can tell apart, a light grid, 150 dots per inch.

The colours are those of Okabe and Ito (2008), "Color universal design". Figures are made without pyplot, so that
nothing global is touched and no display is needed.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import MissingPackageError, StorageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, YELLOW)
GREY, INK = "#9AA0A6", "#30343A"
DPI = 150


def figure(width: float, height: float) -> "Figure":
    """An empty figure of the given inches, laid out without overlaps.

    Raises: MissingPackageError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install 'scorefield[plots]'.") from error
    picture = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    picture.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return picture


def axes(picture: "Figure", *, title: str = "", xlabel: str = "", ylabel: str = "") -> "Axes":
    """The one panel of a figure, dressed."""
    return dress(picture.add_subplot(), title=title, xlabel=xlabel, ylabel=ylabel)


def dress(ax: "Axes", *, title: str = "", xlabel: str = "", ylabel: str = "") -> "Axes":
    """A panel with a light grid behind the data, thin spines, and its words."""
    ax.set_title(title, fontsize=10, color=INK)
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.tick_params(which="both", labelsize=8, colors=INK)
    ax.tick_params(length=3)
    ax.grid(visible=True, color="#E4E7EB", linewidth=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    return ax


def legend(ax: "Axes") -> None:
    """A legend without a frame, if anything in the panel has a name."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)


def array(x: Tensor) -> Tensor:
    """x as float64 on the CPU, apart from any graph."""
    return torch.as_tensor(x).detach().cpu().double()


def save(picture: "Figure", path: str | Path) -> Path:
    """Write a figure to a file, whole or not at all; the ending of the name says the format.

    Raises: StorageError if it cannot be written; an older picture of that name is then left as it was.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(figure(1.0, 1.0), Path(folder) / "empty.png").name
    'empty.png'
    """
    path = Path(path)
    picture.draw_without_rendering()  # panels of fixed aspect take their final place in the second layout only
    return write(path, lambda file: picture.savefig(file, format=path.suffix[1:] or "png"))


def write(path: Path, draw) -> Path:
    """Let ``draw(file)`` fill a temporary file beside path, and then put it in place in one step.

    Raises: StorageError if the folder or the disk does not take it.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            draw(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error}); check the folder and the disk.") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return path
