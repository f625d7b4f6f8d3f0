"""Bad input is refused with rows, columns and remedies; what is merely unwise is said."""

import math

import pytest
import torch

from scorefield.closed import (
    Bingham,
    Dirichlet,
    Exponential,
    LogDensity,
    Normal,
    Pairwise,
    PolynomialTilt,
    Stream,
    VonMisesFisher,
    asymptotic,
    fit,
    hybrid,
    windham,
)
from scorefield.domains import Box, Simplex, Sphere, Unit
from scorefield.errors import DataError, DivergedError, RangeError, ShapeError, UnknownNameError
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
X = normal(torch.empty(50, 2, **D), Streams(0, range(50)))


def changed(value, row=3, column=1):
    y = X.clone()
    y[row, column] = value
    return y


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (lambda: fit(Normal(2), X, domain=Box()), RangeError, r"of 50 rows lie outside or on the boundary \(rows"),
        (lambda: fit(VonMisesFisher(2), X), RangeError, r"Sphere\(\): 50 of 50 rows lie outside"),
        (lambda: fit(Dirichlet(2), X.abs()), RangeError, "Simplex"),
        (
            lambda: fit(Normal(2), changed(math.nan)),
            DataError,
            r"1 of 50 rows hold values that are not finite \(rows 3\)",
        ),
        (lambda: fit(Normal(2), changed(math.inf)), DataError, "not finite"),
        (lambda: fit(Normal(2), torch.stack([X[:, 0], 0 * X[:, 1] + 2], 1)), DataError, "column 1 is 2 in all 50 rows"),
        (lambda: fit(Normal(2), (10 * X).long()), ShapeError, "int64.*x.double"),
        (lambda: fit(Normal(2), X > 0), ShapeError, "bool"),
        (lambda: fit(Normal(2), X[:, :, None]), ShapeError, r"wanted \(n, d\)"),
        (lambda: fit(Normal(2), X[:5]), DataError, "5 parameters to 5 rows"),
        (lambda: fit(Normal(2), X, weights=-torch.ones(50)), RangeError, "50 are negative or not finite"),
        (lambda: fit(Normal(2), X, weights=torch.zeros(50)), RangeError, "sum to zero"),
        (lambda: fit(Normal(2), X, weights=torch.ones(49)), ShapeError, r"wanted \(50,\)"),
        (lambda: fit(Normal(2), X, clusters=torch.ones(50)), DataError, "all rows are in one"),
        (lambda: fit(Normal(2), X, clusters=torch.ones(49)), ShapeError, "clusters of shape"),
        (lambda: fit(Normal(2), X, fixed={"K[2,1]": 0.0}), UnknownNameError, r"did you mean 'K\[2,2\]'|K\[1,2\]"),
        (lambda: fit(Normal(1), X[:, 0], fixed={"eta[1]": 0.0, "K[1,1]": 1.0}), RangeError, "all parameters are fixed"),
        (lambda: fit(Normal(2), torch.stack([X[:, 0], 2 * X[:, 0]], 1)), DataError, r"not identified: .*K\["),
        (
            lambda: fit(Exponential(lambda x: torch.cat([x, x.sum(1, keepdim=True), -(x**2)], 1)), X),
            DataError,
            r"not identified: \+0.58 theta\[1\] \+0.58 theta\[2\] −0.58 theta\[3\]",
        ),
        (lambda: fit(Exponential(lambda x: torch.cat([x, 0 * x[:, :1] + 3], 1)), X), DataError, r"theta\[3\]"),
        (lambda: fit(Exponential(lambda x: x, names=("a",)), X), ShapeError, "1 names"),
        (lambda: fit(Exponential(lambda x: x.sum()[None]), X), ShapeError, "statistics of shape"),
        (
            lambda: fit(LogDensity(lambda t, x: (x[:, 0] ** 2) * t[0].exp(), torch.ones(1)), X),
            DivergedError,
            "no minimum",
        ),
        (lambda: LogDensity(lambda t, x: x[:, 0], torch.ones(1, 1)), ShapeError, "start"),
        (lambda: hybrid(torch.cat([X, -X]) / torch.cat([X, X]).norm(dim=1, keepdim=True)), DataError, "mean direction"),
        (lambda: asymptotic(Normal(1), torch.ones(3), X[:, :1]), ShapeError, "2 parameters"),
        (lambda: windham(Normal(2), X, 0.0), RangeError, "must be positive"),
        (lambda: windham(Exponential(lambda x: x, lambda x: -(x**2).sum(1)), X), RangeError, "carrier"),
        (lambda: Normal(0), RangeError, "at least one"),
        (lambda: VonMisesFisher(1), RangeError, "two coordinates"),
        (lambda: Bingham(1), RangeError, "two coordinates"),
        (lambda: PolynomialTilt(1), RangeError, "two parts"),
        (lambda: Pairwise(2, 0.0), RangeError, "power"),
        (lambda: Stream(Normal(1), groups=1), RangeError, "groups"),
        (lambda: Stream(Normal(1)).estimates(), DataError, "update it first"),
        (lambda: fit(Normal(1), X[:, 0]).interval(1.0), RangeError, "level"),
        (lambda: fit(Normal(1), X[:, 0]).bootstrap(1), RangeError, "replications"),
        (lambda: fit(Normal(2), X).wald(torch.ones(1, 4)), ShapeError, r"wanted \(q, p\)"),
        (lambda: fit(Normal(2), X, fixed={"K[1,2]": 0.0}).wald(["K[1,2]"]), DataError, "fixed or depend"),
        (lambda: fit(Normal(2), X).transform(lambda t: t, ["one"]), ShapeError, "1 names"),
        (lambda: fit(Normal(2), X)["K"], UnknownNameError, "parameter 'K'"),
    ],
)
def test_bad_input_is_refused_by_name(run, error, words):
    with pytest.raises(error, match=words):
        run()


def noted(fitted, words):
    return any(words in note for note in fitted.notes)


def test_a_good_fit_has_no_notes_and_prints_what_a_statistician_reads():
    fitted = fit(Normal(2), X)
    assert fitted.notes == ()
    text = str(fitted)
    for words in ("50 rows", "std. error", "95 % interval", "K[1,2]", "mean[1]", "cov[2,2]", "criterion", "efficiency"):
        assert words in text, words
    assert "!" not in text


def test_modes_far_apart_are_said_to_be_hopeless():
    n, apart = 4000, 3.0
    z = normal(torch.empty(n, 1, **D), Streams(1, range(n)))
    x = z + apart * (2 * (torch.arange(n) % 2) - 1)[:, None]

    def mixture(p, y):
        both = torch.stack([-0.5 * (y[:, 0] - apart) ** 2, -0.5 * (y[:, 0] + apart) ** 2])
        return (both + torch.stack([p[0], 1 - p[0]]).log()[:, None]).logsumexp(0)

    fitted = fit(LogDensity(mixture, torch.tensor([0.5]), ("weight",)), x)
    assert fitted.efficiency < 0.05
    assert noted(fitted, "times the rows are needed")
    assert "! about" in str(fitted)


def test_a_boundary_that_is_not_weighted_is_said():
    assert noted(fit(Normal(1), X[:, :1].abs() + 0.01, domain=Box(), weight=Unit()), "boundary")


def test_densities_that_do_not_exist_are_said():
    u_shaped = (1 - (math.pi * torch.linspace(0.01, 0.99, 99, **D)).cos()) / 2
    fitted = fit(Normal(1), u_shaped, domain=Box(0.0, 1.0))
    assert fitted["K[1,1]"] < 0
    assert noted(fitted, "no density has these parameters")
    assert fitted.readable is None


def test_one_row_that_decides_and_rows_that_repeat_are_said():
    heavy = torch.cat([X[:, :1], torch.tensor([[60.0]], **D)])
    assert noted(fit(Normal(1), heavy), "row 50 alone makes")
    assert noted(fit(Normal(2), X.repeat(2, 1)), "50 of 100 rows repeat others")


def test_domains_of_models_are_theirs():
    assert VonMisesFisher(3).domain == Sphere()
    assert Dirichlet(3).domain == Simplex()
    assert Pairwise(2).domain == Box()
