"""Estimators where scikit-learn's users have them: pipelines, grid searches, data frames, files, and data that cannot be fitted."""

import sys
from functools import partial

import joblib
import numpy as np
import pandas
import polars
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scorefield as sf
from scorefield.closed import LogDensity, Normal, Nystrom, Pairwise
from scorefield.domains import Box, Product, Real
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.estimators import (
    EBIC,
    CrossValidation,
    ExponentialFamily,
    KernelExponentialFamily,
    ScoreMatching,
    ScoreMatchingGraph,
    held_out_loss,
)
from scorefield.objectives import Implicit

QUICK = [
    ExponentialFamily(Normal),
    KernelExponentialFamily(bandwidth=1.0, basis=Nystrom(20)),
    ScoreMatchingGraph(steps=10),
    ScoreMatching(network=partial(sf.MLP, width=8, depth=1), steps=2),
]
each = pytest.mark.parametrize("estimator", QUICK, ids=lambda e: type(e).__name__)


def rows(n=100, d=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d))
    x[:, 1:2] += x[:, :1]
    return x


# Selection


def test_a_grid_search_finds_the_bandwidth():
    random = np.random.default_rng(0)
    x = np.where(random.random((300, 1)) < 0.5, -1.0, 1.0) + 0.3 * random.normal(size=(300, 1))
    one = KernelExponentialFamily(penalty=0.1, basis=Nystrom(40), caution=0.0, folds=2)
    found = GridSearchCV(one, {"bandwidth": [0.01, 0.4, 50.0]}, scoring=held_out_loss, cv=3, error_score="raise").fit(x)
    assert found.best_params_ == {"bandwidth": 0.4}
    fresh = np.where(random.random((2000, 1)) < 0.5, -1.0, 1.0) + 0.3 * random.normal(size=(2000, 1))
    narrow, wide = (clone(one).set_params(bandwidth=b).fit(x) for b in (0.01, 50.0))
    assert found.best_estimator_.score(fresh) > max(narrow.score(fresh), wide.score(fresh))
    assert held_out_loss(found, fresh) > max(held_out_loss(narrow, fresh), held_out_loss(wide, fresh))


def test_a_grid_search_finds_the_penalty():
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 12))
    x[:, 1] += 2 * x[:, 0]
    grid = {"penalty": [1e-4, 0.3, 3.0]}
    found = GridSearchCV(ScoreMatchingGraph(), grid, scoring=held_out_loss, cv=3, error_score="raise").fit(x)
    assert found.best_params_ == {"penalty": 0.3}
    fresh = random.normal(size=(5000, 12))
    fresh[:, 1] += 2 * fresh[:, 0]
    others = [ScoreMatchingGraph(penalty=p).fit(x).score(fresh) for p in (1e-4, 3.0)]
    assert found.best_estimator_.score(fresh) > max(others)


def test_the_held_out_loss_falls_by_half_the_squared_distance_to_the_truth():
    x, fresh = rows(4000), rows(4000, seed=1)
    wide = ExponentialFamily(Normal).fit(x)
    apart = ExponentialFamily().fit(x)
    apart.scaling_ = wide.scaling_
    gaps = 0.5 * (((wide.grad_log_density(fresh) - apart.grad_log_density(fresh)) * wide.scaling_.scale) ** 2).sum(1)
    differences = apart.losses(fresh) - wide.losses(fresh) - gaps  # mean zero if the first is right
    assert abs(differences.mean()) < 5 * differences.std() / 4000**0.5
    assert gaps.mean() > 10 * differences.std() / 4000**0.5


def test_the_scorer_follows_pipelines_and_searches_and_names_what_it_cannot_judge():
    x = load_iris().data
    pipeline = make_pipeline(StandardScaler(), PCA(2), ScoreMatchingGraph())
    found = GridSearchCV(pipeline, {"scorematchinggraph__penalty": [0.01, 0.1]}, scoring=held_out_loss, cv=3).fit(x)
    by_hand = -found.best_estimator_[-1].losses(found.best_estimator_[:-1].transform(x)).mean()
    assert held_out_loss(found, x) == held_out_loss(found.best_estimator_, x) == pytest.approx(by_hand)
    assert cross_val_score(make_pipeline(ExponentialFamily()), x, scoring=held_out_loss, cv=3).shape == (3,)
    with pytest.raises(ShapeError, match="held_out_loss: KernelDensity has no score"):
        held_out_loss(KernelDensity().fit(x), x)


# Company


@each
def test_it_works_after_other_steps(estimator):
    x = load_wine().data
    pipeline = make_pipeline(StandardScaler(), PCA(3), clone(estimator)).fit(x)
    assert pipeline.score_samples(x[:5]).shape == (5,)
    assert np.isfinite(pipeline.score(x[:20]))


@each
@pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_frames_bring_their_names_and_are_asked_for_them(estimator, frame):
    x = rows()
    table = frame({name: x[:, k] for k, name in enumerate(["a", "b", "c"])})
    fitted = clone(estimator).fit(table)
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_allclose(fitted.score_samples(table), clone(estimator).fit(x).score_samples(x), rtol=1e-6)
    other = frame({name: x[:, k] for k, name in enumerate(["a", "z", "c"])})
    for method in (fitted.score_samples, fitted.grad_log_density, fitted.losses):
        with pytest.raises(ValueError, match="feature names"):
            method(other)


@each
def test_it_is_cloned_and_kept_in_files(estimator, tmp_path):
    x = rows()
    fitted = clone(estimator).fit(x)
    value = fitted.score_samples(x)
    joblib.dump(fitted, tmp_path / "it.joblib")
    again = joblib.load(tmp_path / "it.joblib")
    np.testing.assert_array_equal(again.score_samples(x), value)
    assert vars(again).keys() == vars(fitted).keys()
    np.testing.assert_array_equal(clone(fitted).fit(x).score_samples(x), value)  # fitted twice is fitted once
    assert clone(fitted).get_params().keys() == fitted.get_params().keys()


def test_the_seed_is_all_the_randomness_there_is():
    x, network = rows(), partial(sf.MLP, width=8, depth=1)
    first, second = (ScoreMatching(network=network, steps=2, random_state=k).fit(x) for k in (0, 1))
    assert not np.allclose(first.grad_log_density(x), second.grad_log_density(x))
    state = np.random.RandomState(0)
    assert not np.allclose(first.sample(2, random_state=state), first.sample(2, random_state=state))


def test_it_is_there_when_it_is_asked_for():
    assert sf.estimators is sys.modules["scorefield.estimators"]
    with pytest.raises(AttributeError, match="no attribute 'estimator'"):
        _ = sf.estimator


# Bad input


@each
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.where(rows() > 2, np.nan, rows()), DataError, r"hold NaN or inf \(rows .* first in column \d\); drop them"),
        (np.where(rows() > 2, np.inf, rows()), DataError, "hold NaN or inf"),
        (np.c_[rows(), np.ones(100)], DataError, "column 4 is constant in the 100 training rows"),
        (pandas.DataFrame(rows(), columns=list("abc")).assign(d=1.0), DataError, "column 'd' is constant"),
        (
            pandas.DataFrame(rows(), columns=list("abc")).assign(d=rows()[:, 0] > 0),
            DataError,
            "truth values has no density",
        ),
        (rows() > 0, DataError, "a column of truth values has no density; drop it"),
        (rows()[:1], ValueError, r"1 sample\(s\)"),
        (rows()[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (np.full((50, 2), 3.0), DataError, "constant"),
        (sparse.csr_array(rows()), TypeError, "Sparse data was passed"),
        (np.array([["a", "b"]] * 10), ValueError, "could not convert string to float"),
    ],
    ids=["nan", "inf", "constant", "named", "mixed", "bool", "one", "flat", "all constant", "sparse", "text"],
)
def test_what_cannot_be_fitted_is_named(estimator, x, error, message):
    with pytest.raises(error, match=message):
        clone(estimator).fit(x)


@each
def test_integers_are_measurements(estimator):
    x = (100 * rows()).astype(int)
    np.testing.assert_allclose(
        clone(estimator).fit(x).score_samples(x), clone(estimator).fit(x.astype(float)).score_samples(x.astype(float))
    )


@pytest.mark.parametrize("estimator", [QUICK[0], QUICK[2], QUICK[3]], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(100, -1.0), r"weights: 100 are negative or not finite \(rows 0"),
        (np.zeros(100), "weights sum to zero"),
        (np.ones(99), r"weights of shape \(99,\) for 100 rows"),
        (np.r_[1.0, np.zeros(99)], "1 sample has a positive weight"),
        (np.full(100, np.nan), "negative or not finite"),
    ],
    ids=["negative", "zero", "short", "one", "nan"],
)
def test_weights_that_mean_nothing_are_refused(estimator, weights, message):
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(rows(), sample_weight=weights)


@each
def test_nothing_is_told_before_fitting(estimator):
    new = clone(estimator)
    for ask in (new.score_samples, new.grad_log_density, new.losses, new.score):
        with pytest.raises(NotFittedError):
            ask(rows())
    with pytest.raises(NotFittedError):
        new.sample()
    assert not hasattr(new, "log_normaliser_")


@each
def test_what_is_asked_must_make_sense(estimator):
    fitted = clone(estimator).fit(rows())
    with pytest.raises(RangeError, match=r"sample\(n_samples=0\): at least 1"):
        fitted.sample(0)
    with pytest.raises(ValueError, match="2 features, but"):
        fitted.score_samples(rows()[:, :2])
    with pytest.raises(DataError, match="NaN"):
        fitted.score_samples([[np.nan, 0.0, 0.0]])


def test_fewer_rows_than_columns():
    x = rows(6, 9)
    with pytest.raises(DataError, match="not identified"):
        ExponentialFamily(Normal).fit(x)
    assert np.isfinite(ScoreMatchingGraph().fit(x).score(x))
    assert np.isfinite(ExponentialFamily().fit(x).score(x))
    assert np.isfinite(ScoreMatching(steps=2).fit(x).score(x))
    assert np.isfinite(KernelExponentialFamily().fit(x).score(x))


def test_points_outside_the_domain_are_named_and_have_density_zero():
    x = np.abs(rows())
    fitted = ExponentialFamily(Normal, domain=Box()).fit(x)
    with pytest.raises(RangeError, match=r"1 of 100 rows lie outside .*rows 2"):
        ExponentialFamily(Normal, domain=Box()).fit(np.where(np.arange(100)[:, None] == 2, -x, x))
    assert fitted.score_samples([[-1.0, 1.0, 1.0]])[0] == -np.inf
    graph = ScoreMatchingGraph(model=lambda d: Pairwise(d, 0.5, 0.0), steps=5).fit(x)
    with pytest.raises(RangeError, match=r"ScoreMatchingGraph\.grad_log_density: not finite at rows 0"):
        graph.grad_log_density([[-1.0, 1.0, 1.0]])


def test_models_that_are_none_are_refused():
    with pytest.raises(ShapeError, match=r"wanted a family of scorefield\.closed"):
        ExponentialFamily(lambda d: "normal").fit(rows())
    with pytest.raises(DataError, match="no law to draw from is known on products"):
        ExponentialFamily(Normal, domain=Product((Real(), Box()), (1, 2))).fit(np.abs(rows()))
    for wrong in (
        ScoreMatching(held_out=0.9),
        ScoreMatching(floor=0.0),
        ScoreMatching(steps=0),
        ScoreMatching(batch=0),
    ):
        with pytest.raises(RangeError):
            wrong.fit(rows())
    with pytest.raises(RangeError, match="takes no sample_weight; select by EBIC"):
        ScoreMatchingGraph(selection=CrossValidation()).fit(rows(), sample_weight=np.ones(100))
    for wrong in (lambda: EBIC(2.0), lambda: CrossValidation(1), lambda: CrossValidation(errors=-1.0)):
        with pytest.raises(RangeError):
            wrong()


def test_parameters_of_no_density_have_a_score_and_no_log_density():
    x = rows(400, 1)
    import torch

    upward = LogDensity(lambda theta, y: theta[0] * y[:, 0] ** 2 + 0 * y.sum(1), torch.ones(1))
    fitted = ExponentialFamily(Normal, fixed={"K[1,1]": -1.0}).fit(x)
    assert fitted.grad_log_density([[1.0]])[0, 0] > 0
    for ask in (lambda: fitted.score_samples(x), lambda: fitted.sample(2)):
        with pytest.raises(
            DataError, match="no density has the fitted parameters: the precision has the eigenvalue -1"
        ):
            ask()
    general = ExponentialFamily(upward).fit(x)
    law = ExponentialFamily(Normal, fixed={"eta[1]": 0.0}).fit(x)
    error = 4 * general.log_normaliser_error_
    np.testing.assert_allclose(general.score_samples(x[:5]), law.score_samples(x[:5]), atol=error + 1e-6)


def test_an_energy_is_judged_by_the_loss_it_was_trained_on():
    x = rows(200, 1)
    trained = ScoreMatching(Implicit(), steps=30).fit(x)
    assert abs(trained.losses(x).mean() + 0.5) < 0.2  # −½ for a Gaussian in standard units


def test_a_row_far_out_has_a_log_density_that_does_not_depend_on_its_company():
    x = rows(200, 2)
    for estimator in QUICK:
        fitted = clone(estimator).fit(x)
        far = np.array([[40.0, -40.0]])
        alone, together = fitted.score_samples(far)[0], fitted.score_samples(np.r_[far, x])[0]
        assert np.isfinite(alone)
        assert alone == pytest.approx(together)
        assert alone < fitted.score_samples(x).min() - 50
