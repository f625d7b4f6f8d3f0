"""Section by section of what can be wrong with data, over all that takes data: an error that says where, never a number.

What is *not* wrong is in the tables too: a test of fit takes constant columns, for rejecting them is its work.
"""

import math

import pytest
import torch

from scorefield.closed import (
    IMQ,
    AxialBingham,
    CurlFree,
    Dirichlet,
    Exponential,
    Kent,
    KernelExponentialFamily,
    KernelScore,
    LogDensity,
    Normal,
    NuMethod,
    Nystrom,
    Pairwise,
    PolynomialTilt,
    Shrunk,
    Stream,
    VonMisesFisher,
    asymptotic,
    causal_graph,
    causal_order,
    choose,
    cross_validate,
    curvatures,
    fit,
    graph_path,
    hybrid,
    median_width,
    stability,
    windham,
)
from scorefield.discrete import Ising, Potts, PseudoLikelihood
from scorefield.discrete import fit as discrete_fit
from scorefield.domains import (
    Ball,
    Box,
    Distance,
    Domain,
    HalfSpace,
    Intervals,
    Polygon,
    PositiveSphere,
    Simplex,
    Sphere,
)
from scorefield.errors import DataError, DivergedError, RangeError, ScorefieldError, ShapeError
from scorefield.exact import Gaussian
from scorefield.metrics import (
    aggregated_test,
    composite_test,
    fisher_divergence,
    ksd,
    ksd_biased,
    ksd_test,
    places_test,
    thin,
    witness,
)

D = {"dtype": torch.float64}
X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), **D)
POSITIVE = X.abs() + 0.1
ROUND = torch.nn.functional.normalize(torch.cat([X + 1, X[:, :1]], 1), dim=1)
PARTS = torch.cat([POSITIVE, POSITIVE.flip(0)[:, :1] + 1], 1)
PARTS = PARTS / PARTS.sum(1, keepdim=True)
STUDENT = LogDensity(lambda t, y: -2 * (1 + ((y - t) ** 2).sum(1) / 3).log(), torch.zeros(2, **D))


def score(x):
    return -x


def stream(x, weights=None):
    kept = Stream(Normal(2), groups=5)
    kept.update(x, weights)
    return kept.estimates()


def composite(x):
    return composite_test(
        lambda z: Gaussian(z.mean(0), torch.cov(z.T)), lambda f, n, g: f.sample(n, g), x, bootstraps=5
    )


MODELS = {
    "fit": (lambda x: fit(Normal(2), x), X),
    "fit in a box": (lambda x: fit(Normal(2), x, domain=Box()), POSITIVE),
    "fit by Newton": (lambda x: fit(STUDENT, x), X),
    "fit of directions": (lambda x: fit(VonMisesFisher(3), x), ROUND),
    "fit of compositions": (lambda x: fit(Dirichlet(3), x), PARTS),
    "tilt": (lambda x: fit(PolynomialTilt(3), x), PARTS),
    "hybrid": (hybrid, ROUND),
    "hybrid Bingham": (lambda x: hybrid(x, AxialBingham), ROUND),
    "hybrid Kent": (lambda x: hybrid(x, Kent), ROUND),
    "windham": (lambda x: windham(Normal(2), x), X),
    "Stream": (stream, X),
    "asymptotic": (lambda x: asymptotic(Normal(2), torch.tensor([0.0, 0, 1, 0, 1]), x), X),
    "graph_path": (lambda x: graph_path(x, steps=3), X),
    "positive graph": (lambda x: graph_path(x, Pairwise(2, 0.5, 0.5), steps=3), POSITIVE),
    "cross_validate": (lambda x: cross_validate(x, steps=3), X),
    "stability": (lambda x: stability(x, edges=1, halves=4), X),
    "curvatures": (curvatures, X),
    "causal_order": (causal_order, X),
    "causal_graph": (causal_graph, X),
    "KernelExponentialFamily": (KernelExponentialFamily(multiples=(1.0,), basis=Nystrom(10)).fit, X),
    "KernelScore": (KernelScore(CurlFree(IMQ(1.0)), NuMethod(2)).fit, X),
    "choose": (lambda x: choose([KernelScore(CurlFree(IMQ(1.0)), NuMethod(2))], x), X),
    "Shrunk": (Shrunk().fit, X),
    "losses": (fit(Normal(2), X).losses, X),
}
TESTS = {
    "ksd": (lambda x: ksd(score, x), X),
    "ksd_biased": (lambda x: ksd_biased(score, x), X),
    "ksd_test": (lambda x: ksd_test(score, x, bootstraps=9), X),
    "aggregated_test": (lambda x: aggregated_test(score, x, bootstraps=9), X),
    "composite_test": (composite, X),
    "places_test": (lambda x: places_test(score, x, count=1, steps=2, draws=20), X),
    "thin": (lambda x: thin(score, x, 3), X),
    "witness": (lambda x: witness(score, x, X[:2]), X),
    "fisher_divergence": (lambda x: fisher_divergence(score, score, x), X),
    "median_width": (median_width, X),
}
ALL = MODELS | TESTS


def spoiled(x, row, column, value):
    y = x.clone()
    y[row, column] = value
    return y


BAD = {  # what is wrong, how, and what the error must say
    "not a number": (lambda x: spoiled(x, 3, 1, math.nan), r"finite.*\b3\b"),
    "infinite": (lambda x: spoiled(x, 5, 0, -math.inf), r"finite.*\b5\b"),
    "integers": (lambda x: (10 * x).long(), "int64"),
    "booleans": (lambda x: x > 0, "bool"),
    "complex": (lambda x: x.to(torch.complex64), "complex64"),
    "no rows": (lambda x: x[:0], r"\(0, \d\)|0 rows"),
}


@pytest.mark.parametrize("how", list(BAD))
@pytest.mark.parametrize("name", list(ALL))
def test_values_that_no_density_has_are_refused_with_their_rows(name, how):
    call, x = ALL[name]
    change, words = BAD[how]
    if name == "median_width" and how in ("not a number", "infinite"):
        return  # it is given rows that were checked
    with pytest.raises((ShapeError, DataError), match=words):
        call(change(x))


DEGENERATE = {
    "constant column": (lambda x: spoiled(x, slice(None), 1, 0.5), r"column 1 is 0.5 in all|K\[2,2\]"),
    "dependent columns": (
        lambda x: torch.stack([x[:, 0], 2 * x[:, 0]], 1),
        r"not identified: .*|column 0 .*column 1|singular",
    ),
    "fewer rows than columns": (lambda x: x[:1], "1 row|at least|more rows|not identified|folds"),
}
FLAT = [name for name, (_, x) in MODELS.items() if x is X and name != "losses"]


@pytest.mark.parametrize("how", list(DEGENERATE))
@pytest.mark.parametrize("name", FLAT)
def test_data_without_a_density_give_no_number(name, how):
    call, x = MODELS[name]
    change, words = DEGENERATE[how]
    if name == "fit by Newton" and how == "dependent columns":
        # Its two locations are identified even so; what is not is any information about one combination.
        assert any("without information" in note for note in call(change(x)).notes)
        return
    with pytest.raises((DataError, ShapeError, RangeError, DivergedError), match=words):
        call(change(x))


REFUSED = ("choose", "cross_validate", "stability", "Shrunk", "curvatures", "causal_order", "causal_graph")


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("losses", "Stream", "asymptotic")])
def test_rows_that_repeat_are_refused_or_said(name):
    call, x = MODELS[name]
    twice = x.repeat(2, 1)
    if "ernel" in name or name in REFUSED:
        with pytest.raises(DataError, match=r"equal to row 0 \(40 of 80"):
            call(twice)
    else:
        found = call(twice)
        assert any("40 of 80 rows repeat" in note for note in found.notes)
        assert "! 40 of 80 rows repeat" in str(found)
        assert not any("repeat" in note for note in call(x).notes)


WEIGHTED = {
    "fit": lambda w: fit(Normal(2), X, weights=w),
    "hybrid": lambda w: hybrid(ROUND, Kent, weights=w),
    "windham": lambda w: windham(Normal(2), X, weights=w),
    "Stream": lambda w: stream(X, w),
    "asymptotic": lambda w: asymptotic(Normal(2), torch.tensor([0.0, 0, 1, 0, 1]), X, w),
    "graph_path": lambda w: graph_path(X, weights=w, steps=3),
}


@pytest.mark.parametrize("name", list(WEIGHTED))
def test_weights_must_be_weights(name):
    call, ones = WEIGHTED[name], torch.ones(40)
    for weights, error, words in (
        (spoiled(ones[:, None], 7, 0, -1.0)[:, 0], RangeError, r"1 are negative or not finite \(rows 7\)"),
        (spoiled(ones[:, None], 7, 0, math.nan)[:, 0], RangeError, r"rows 7"),
        (0 * ones, RangeError, "sum to zero"),
        (ones[:39], ShapeError, r"wanted \(40,\)"),
    ):
        with pytest.raises(error, match=words):
            call(weights)
    call(torch.arange(40))  # counts are weights, zeros and all


class Nowhere(Domain):
    """A domain of which nobody knows the boundary."""

    def contains(self, x):
        return (x > -9).all(1)

    def __repr__(self):
        return "Nowhere()"


TRIANGLE = Polygon(torch.tensor([[-9.0, -9.0], [9.0, -9.0], [0.0, 9.0]], **D))


@pytest.mark.parametrize(
    ("domain", "model"),
    [
        (Box(), Normal(2)),
        (HalfSpace((1.0, 0.0), 9.0), Normal(2)),
        (Ball(9.0), Normal(2)),
        (Intervals(((-9.0, 0.0), (1.0, 9.0))), Normal(2)),
        (TRIANGLE, Normal(2)),
        (Sphere(), VonMisesFisher(2)),
        (PositiveSphere(), Exponential(lambda z: z.log())),
        (Simplex(), Dirichlet(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_outside_the_domain_are_named(domain, model):
    x = spoiled(spoiled(X, 11, slice(None), 40.0), 23, slice(None), -40.0)
    outside = (~domain.contains(x)).nonzero().flatten().tolist()
    shown = ", ".join(map(str, outside[:8]))
    for call in (lambda: fit(model, x, domain=domain), lambda: windham(model, x, domain=domain)):
        with pytest.raises(
            RangeError, match=rf"{len(outside)} of 40 rows lie outside or on the boundary \(rows {shown}"
        ):
            call()
    assert {11, 23} & set(outside)


@pytest.mark.parametrize("weight", [None, Distance()], ids=["chosen", "distance"])
def test_a_domain_without_a_distance_to_its_boundary_is_refused(weight):
    with pytest.raises(RangeError, match=r"Nowhere\(\): no distance to the boundary is known"):
        fit(Normal(2), X, domain=Nowhere(), weight=weight)


STATES = (X > 0).long()


@pytest.mark.parametrize(
    ("model", "x", "error", "words"),
    [
        (Ising(2), STATES.double(), ShapeError, "float64.*integers"),
        (Ising(2), spoiled(STATES, 4, 0, 2), DataError, "rows 4"),
        (Ising(2), spoiled(STATES, 6, 1, -1), DataError, "rows 6"),
        (Potts(2, 3), spoiled(STATES, 6, 1, 3), DataError, "rows 6"),
        (Ising(2), STATES[:0], DataError, "no rows"),
        (Ising(3), STATES, ShapeError, r"wanted \(batch, 3\)"),
        (Ising(2), spoiled(STATES, slice(None), 1, 1), (DataError, DivergedError), r"\[.*1\]"),
        (Ising(2), STATES[:, :1].repeat(1, 2), (DataError, DivergedError), "J|h"),
        (Ising(2), STATES[:1], (DataError, DivergedError), "J|h"),
    ],
)
def test_states_must_be_states(model, x, error, words):
    with pytest.raises(error, match=words):
        discrete_fit(model, PseudoLikelihood(), x)


def test_good_data_pass_everywhere():
    for name, (call, x) in ALL.items():
        try:
            call(x)
        except ScorefieldError as error:
            raise AssertionError(f"{name}: {error}") from error
