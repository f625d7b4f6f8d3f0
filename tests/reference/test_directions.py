"""Von Mises–Fisher as scorematchingad fits it; the efficiency of the hybrid estimator; what mixtures cost."""

import math

import pytest
import torch
from tables import legendre, table

from scorefield.closed import Concentration, LogDensity, VonMisesFisher, asymptotic, fit, hybrid

X = table("von_mises_fisher_3", header=0)


def test_riemannian_score_matching_on_the_sphere():
    fitted = fit(VonMisesFisher(3), X)
    assert f"{fitted.readable['kappa']:.9f}" == "5.184890373"
    assert f"{fitted.error('theta[1]'):.8f}" == "0.12179165"


def test_the_hybrid_estimator_and_its_error():
    fitted = hybrid(X)
    assert f"{fitted['kappa']:.9f}" == "5.184659952"
    assert f"{fitted.error('kappa'):.8f}" == "0.17546357"


def test_maximum_likelihood_on_the_same_data():
    length, kappa = float(X.mean(0).norm()), 5.0
    for _ in range(50):  # coth κ − 1/κ = |x̄|
        slope = 1 / kappa**2 - 1 / math.sinh(kappa) ** 2
        kappa -= (1 / math.tanh(kappa) - 1 / kappa - length) / slope
    assert f"{kappa:.8f}" == "5.14801474"
    # Both estimate the same number, with errors of which score matching's is the larger.
    assert abs(kappa - hybrid(X)["kappa"]) < hybrid(X).error("kappa")


EFFICIENCIES = {
    2: (".9461", ".8510", ".7775", ".9404", ".9900", ".9997"),
    3: (".9845", ".9497", ".8966", ".9457", ".9878", ".9996"),
    10: (".9995", ".9982", ".9938", ".9817", ".9848", ".9989"),
}


@pytest.mark.parametrize("size", EFFICIENCIES)
def test_the_efficiency_of_the_hybrid_estimator_by_quadrature(size):
    angle, w = legendre(0.0, 0.5, math.pi)
    x = torch.zeros(len(angle), size, dtype=torch.float64)
    x[:, :1], x[:, 1:2] = angle.cos(), angle.sin()
    for kappa, figure in zip((0.5, 1.0, 2.0, 5.0, 10.0, 50.0), EFFICIENCIES[size]):
        mass = w * angle[:, 0].sin() ** (size - 2) * (kappa * (angle[:, 0].cos() - 1)).exp()
        matching, likelihood = asymptotic(Concentration(torch.eye(size)[0]), torch.tensor([kappa]), x, mass)
        assert f"{float(likelihood.covariance / matching.covariance):.4f}"[1:] == figure, kappa


@pytest.mark.parametrize(("apart", "figure"), [(1.0, "6.0e-01"), (2.0, "1.1e-01"), (3.0, "7.2e-03"), (4.0, "1.8e-04")])
def test_the_weight_of_known_components(apart, figure):
    x, w = legendre(-apart - 9, -apart, 0.0, apart, apart + 9)

    def both(y):
        return torch.stack([-0.5 * (y[:, 0] - apart) ** 2, -0.5 * (y[:, 0] + apart) ** 2])

    model = LogDensity(
        lambda p, y: (both(y) + torch.stack([p[0], 1 - p[0]]).log()[:, None]).logsumexp(0), torch.tensor([0.5])
    )
    matching, likelihood = asymptotic(model, torch.tensor([0.5]), x, w * both(x).logsumexp(0).exp())
    efficiency = float(likelihood.covariance / matching.covariance)
    assert f"{efficiency:.1e}" == figure
    if apart == 2:
        assert f"{efficiency:.3f}" == "0.106"
