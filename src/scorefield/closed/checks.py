"""What data, observation weights and names must be before anything is solved; errors that say which rows and columns."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError, unknown
from ..tensors import require_tensor

Points = Float[Tensor, "batch d"]


def some(rows: Sequence[int] | Tensor) -> str:
    """The first few of a list of row numbers, in words.

    >>> some([3, 4])
    'rows 3, 4'
    """
    rows = torch.as_tensor(rows).flatten().tolist()
    return "rows " + ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")


def data(x: Shaped[Tensor, "..."]) -> Points:
    """x as (n, d) in float64. (n,) is one variable.

    Raises: as `places`, and DataError for columns that do not vary.

    >>> data(torch.tensor([1.0, 2.0])).shape
    torch.Size([2, 1])
    """
    x = places(x)
    still = (x == x[:1]).all(0).nonzero().flatten().tolist()
    if len(x) > 1 and still:
        raise DataError(
            f"data: column {still[0]} is {float(x[0, still[0]]):g} in all {len(x)} rows; a constant has no density: drop it."
        )
    return x


def places(x: Shaped[Tensor, "..."]) -> Points:
    """Points at which a model is looked at, as (n, d) in float64; (n,) is one variable.

    Raises: ShapeError for other shapes and for integers or booleans, DataError for values that are not finite.

    >>> places(torch.tensor([1.0, 1.0])).shape
    torch.Size([2, 1])
    """
    require_tensor(x, "fit")
    if not x.is_floating_point():
        raise ShapeError(
            f"data of type {str(x.dtype).removeprefix('torch.')}: score matching differentiates a density, and counts or labels "
            "have none; if these are measurements, pass x.double()."
        )
    x = x.detach()[:, None] if x.ndim == 1 else x.detach()
    if x.ndim != 2 or not x.numel():
        raise ShapeError(f"data of shape {tuple(x.shape)}: wanted (n, d) with n, d ≥ 1; flatten events.")
    finite = x.isfinite().all(1)
    if not bool(finite.all()):
        bad = (~finite).nonzero()
        raise DataError(f"data: {len(bad)} of {len(x)} rows hold values that are not finite ({some(bad)}); drop them.")
    return x.double()


def masses(weights: Shaped[Tensor, "..."] | None, x: Points) -> Float[Tensor, "batch"]:
    """Observation weights r_i ≥ 0, scaled to the mean 1; all 1 for None.

    Raises: ShapeError for another shape, RangeError for weights that are negative, not finite, or sum to zero.

    >>> masses(torch.tensor([1, 3]), torch.zeros(2, 1).double())
    tensor([0.5000, 1.5000], dtype=torch.float64)
    """
    if weights is None:
        return x.new_ones(len(x))
    if weights.shape != x.shape[:1]:
        raise ShapeError(f"weights of shape {tuple(weights.shape)} for {len(x)} rows: wanted ({len(x)},).")
    mass = weights.detach().to(x)
    bad = (~(mass >= 0) | mass.isinf()).nonzero()
    if len(bad):
        raise RangeError(
            f"weights: {len(bad)} are negative or not finite ({some(bad)}); observation weights must be ≥ 0."
        )
    if not bool(mass.sum() > 0):
        raise RangeError("weights sum to zero: no row counts; give some row a positive weight.")
    return mass * (len(x) / mass.sum())


def distinct(who: str, x: Points) -> None:
    """Raises: DataError if rows repeat others, of which one held out is known from its twin.

    >>> distinct("cross_validate", torch.tensor([[0.0], [1.0]]))
    """
    _, group, counts = x.unique(dim=0, return_inverse=True, return_counts=True)
    if len(counts) < len(x):
        twins = (group == group[int((counts[group] > 1).nonzero()[0])]).nonzero().flatten().tolist()
        raise DataError(
            f"{who}: row {twins[1]} is equal to row {twins[0]} ({len(x) - len(counts)} of {len(x)} are duplicates): "
            "drop them, or add the noise of rounding."
        )


def repeated(x: Points) -> tuple[str, ...]:
    """What to say of rows that repeat others, where a fit can do with them; empty if none does.

    >>> repeated(torch.tensor([[0.0], [1.0]]))
    ()
    """
    copies = len(x) - len((x @ torch.linspace(1, 2, x.shape[1]).to(x).sqrt()).unique())
    words = f"{copies} of {len(x)} rows repeat others: rounded or repeated data have no density, and count as independent here."
    return (words,) if copies else ()


def full(who: str, x: Points) -> None:
    """Raises: DataError for no more rows than columns, or columns of which one is a combination of others, naming it.

    >>> full("curvatures", torch.tensor([[0.0], [1.0]]))
    """
    n, d = x.shape
    if n <= d:
        raise DataError(
            f"{who} of {n} rows in {d} columns: more rows than columns are needed, and some hundreds to be of use."
        )
    away = x - x.mean(0)
    try:
        solvable(away.T @ away / n, [f"column {k}" for k in range(d)])
    except DataError as error:
        combination = str(error).removeprefix("not identified: ").split(". Along")[0]
        raise DataError(
            f"{who}: {combination} is constant in all {n} rows: such data have no density; drop a column that others determine."
        ) from None


def labelled(clusters: Shaped[Tensor, "..."] | None, x: Points) -> None:
    """Raises: ShapeError unless there is one label a row, or none at all.

    >>> labelled(None, torch.zeros(2, 1))
    """
    if clusters is not None and clusters.shape != x.shape[:1]:
        raise ShapeError(f"clusters of shape {tuple(clusters.shape)} for {len(x)} rows: wanted ({len(x)},).")


def names_of(names: Sequence[str], size: int) -> tuple[str, ...]:
    """The names given, or theta[1] … theta[p]. Raises: ShapeError for another number of names than parameters.

    >>> names_of((), 2)
    ('theta[1]', 'theta[2]')
    """
    if names and len(names) != size:
        raise ShapeError(
            f"{len(names)} names {list(names)[:8]} for {size} parameters: one each, or none at all, and a "
            "model of as many variables as the data have columns."
        )
    return tuple(names) or tuple(f"theta[{k + 1}]" for k in range(size))


def held(fixed: Mapping[str, float] | None, names: Sequence[str], x: Points) -> tuple[Tensor, Tensor]:
    """(which parameters are free, the values of those that are not). Raises: UnknownNameError, and RangeError if none is free.

    >>> held({"b": 2.0}, ("a", "b"), torch.zeros(1, 1))
    (tensor([ True, False]), tensor([0., 2.]))
    """
    free, values = torch.ones(len(names), dtype=torch.bool, device=x.device), x.new_zeros(len(names))
    for name, value in (fixed or {}).items():
        if name not in names:
            raise unknown("parameter", name, names)
        free[list(names).index(name)], values[list(names).index(name)] = False, value
    if not bool(free.any()):
        raise RangeError(f"fixed={dict(fixed or {})}: all parameters are fixed, and nothing is left to estimate.")
    return free, values


def solvable(matrix: Float[Tensor, "p p"], names: Sequence[str]) -> None:
    """Raises: DataError that names a combination of the parameters which the data do not identify, if the matrix is singular.

    >>> solvable(torch.ones(2, 2).double(), ("a", "b"))
    Traceback (most recent call last):
    ...
    scorefield.errors.DataError: not identified: +0.71 a −0.71 b. Along it the objective does not change, so its statistics are \
dependent on these data; drop or fix a parameter.
    """
    scale = matrix.diagonal().clamp(min=0).sqrt()
    flat = (scale == 0).nonzero().flatten().tolist()
    if flat:
        combination = f"{names[flat[0]]}"
    else:
        values, vectors = torch.linalg.eigh(matrix / scale / scale[:, None])
        if float(values[0]) > 1e-12 * len(values):
            return
        vector = vectors[:, 0] / scale
        vector = vector / vector.norm()
        vector = vector * vector[vector.abs().argmax()].sign()
        large = [k for k in vector.abs().argsort(descending=True, stable=True).tolist() if abs(vector[k]) > 0.05][:6]
        combination = " ".join(
            f"{'+' if vector[k] > 0 else '−'}{abs(float(vector[k])):.2f} {names[k]}" for k in sorted(large)
        )
    raise DataError(
        f"not identified: {combination}. Along it the objective does not change, so its statistics are dependent on these data; "
        "drop or fix a parameter."
    )
