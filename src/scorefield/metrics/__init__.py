"""Measures of how far a model is from the truth, each with its uncertainty.

Scores: F(p‖q) = E_p ½‖∇log p − ∇log q‖² (`fisher_divergence`). Samples: MMD, energy, Wasserstein and Fréchet distances,
the accuracy of a classifier (`two_sample`). What a distance does not tell apart: dropped modes (`coverage`, `entropy`)
and copied training rows (`copies`). Images in one table: `report`. What a Markov chain is worth: `effective_sample_size`.
"""

from .calibration import Calibration, calibration, distance_to_exact
from .chains import acceptance, effective_sample_size, potential_scale_reduction
from .coverage import Coverage, coverage, entropy, entropy_ratio, expected_coverage
from .estimate import Estimate
from .finite_set import PlacesTest, Witness, places_test, witness
from .fisher import fisher_divergence
from .frechet import frechet_distance, frechet_gaussian
from .judge import Judge
from .ksd import SteinTest, aggregated_test, composite_test, ksd, ksd_biased, ksd_test
from .memorization import Copies, copies, copying_z
from .mmd import energy_distance, median_distance, mmd, mmd_biased
from .normaliser import log_normaliser
from .quality import report
from .thinning import thin
from .two_sample import TwoSample, two_sample
from .uniformity import band, uniformity
from .wasserstein import gaussian_wasserstein2, sliced_wasserstein, wasserstein2

__all__ = [
    "Calibration",
    "Copies",
    "Coverage",
    "Estimate",
    "Judge",
    "PlacesTest",
    "SteinTest",
    "TwoSample",
    "Witness",
    "acceptance",
    "aggregated_test",
    "band",
    "calibration",
    "composite_test",
    "copies",
    "copying_z",
    "coverage",
    "distance_to_exact",
    "effective_sample_size",
    "energy_distance",
    "entropy",
    "entropy_ratio",
    "expected_coverage",
    "fisher_divergence",
    "frechet_distance",
    "frechet_gaussian",
    "gaussian_wasserstein2",
    "ksd",
    "ksd_biased",
    "ksd_test",
    "log_normaliser",
    "median_distance",
    "mmd",
    "mmd_biased",
    "places_test",
    "potential_scale_reduction",
    "report",
    "sliced_wasserstein",
    "thin",
    "two_sample",
    "uniformity",
    "wasserstein2",
    "witness",
]
