"""scikit-learn's own checks, all of them, of every estimator with its default parameters; the network is trained for two steps only."""

import os
import subprocess
import sys

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from scorefield.estimators import ExponentialFamily, KernelExponentialFamily, ScoreMatching, ScoreMatchingGraph

ESTIMATORS = [ExponentialFamily(), KernelExponentialFamily(), ScoreMatchingGraph(), ScoreMatching(steps=2)]
# These two run in a process of their own, below: the first asks for an environment variable that must be set before scipy is
# imported, the second gives every argument numbers of no meaning, which the checks of annotations in these tests refuse.
APART = ("check_array_api_input", "check_do_not_raise_errors_in_init_or_set_params")


def name_of(check):
    while hasattr(check, "func"):
        check = check.func
    return check.__name__


CHECKS = [
    pytest.param(each, check, id=f"{type(each).__name__}-{name_of(check)}")
    for estimator in ESTIMATORS
    for each, check in estimator_checks_generator(estimator, mark=None)
    if name_of(check) not in APART
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


def test_the_checks_are_all_there():
    for estimator in ESTIMATORS:
        names = [name_of(check) for _, check in estimator_checks_generator(estimator, mark=None)]
        assert len(names) >= 40
        assert {*APART, "check_fit_idempotent", "check_methods_subset_invariance", "check_n_features_in"} <= set(names)


ELSEWHERE = f"""
from sklearn.utils import estimator_checks as checks
from scorefield.estimators import ExponentialFamily, KernelExponentialFamily, ScoreMatching, ScoreMatchingGraph
for estimator in (ExponentialFamily(), KernelExponentialFamily(), ScoreMatchingGraph(), ScoreMatching(steps=2)):
    name = type(estimator).__name__
    checks.{APART[0]}(name, estimator, array_namespace="numpy", expect_only_array_outputs=False)
    checks.{APART[1]}(name, estimator)
    print(name)
"""


def test_nor_in_a_process_of_its_own():
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == [type(each).__name__ for each in ESTIMATORS], done.stderr[-2000:]
