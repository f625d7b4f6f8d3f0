"""Divergences by every way that there is: equal numbers, equal gradients, and nothing that hides a part of the derivative."""

import math

import pytest
import torch
from torch import nn

from scorefield.calculus import Difference, Exact, Hutchinson, forward, gaussian, jacobian, laplacian, orthogonal
from scorefield.errors import RangeError, ShapeError
from scorefield.likelihood import log_density
from scorefield.models import Energy, Preconditioned, Tangent
from scorefield.networks import MLP, UNet
from scorefield.noises import VP
from scorefield.objectives import Implicit
from scorefield.spaces import Euclidean, Sphere, Torus
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
SPACES = [Euclidean(), Sphere(), Torus()]
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), **D)
X = X / X.norm(dim=1, keepdim=True)


def seeded(net):
    """The network with random weights everywhere, those that start at zero too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return net.double()


def plain(depth, activation):
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), activation())]
    return seeded(nn.Sequential(nn.Linear(4, 16), activation(), *hidden, nn.Linear(16, 4)))


MLP4, TOLD = seeded(MLP(4, 16, 3)), seeded(MLP(4, 16, 2, given=2))
T = torch.linspace(0.1, 0.9, 6, **D)
PRECONDITIONED = Preconditioned(MLP4, VP())
FOLLOWED = {
    **{f"{depth} hidden": plain(depth, nn.Tanh) for depth in range(4)},
    **{kind.__name__: plain(1, kind) for kind in (nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.Sigmoid, nn.Mish)},
    "residual": MLP4,
    "a time for all": lambda x: MLP4(x, torch.tensor(0.3, **D)),
    "a time for each": lambda x: MLP4(x, T),
    "conditional": lambda x: TOLD(x, None, torch.ones(6, 2, **D)),
    "denoiser": lambda x: PRECONDITIONED(x, T),
    "score": lambda x: PRECONDITIONED.score(x, T),
    "velocity": lambda x: PRECONDITIONED.velocity(x, torch.tensor(0.3)),
    "tangent": Tangent(MLP4, Sphere()),
    "arithmetic": lambda x: 1 - x / 2 + 2 / (1 + x**2) - x * x.sin() + (x @ torch.full((4, 4), 0.3, **D)),
    "radial": lambda x: -x * (x * x).sum(-1, keepdim=True),
    "constant": torch.ones_like,
}


@pytest.mark.parametrize("f", FOLLOWED.values(), ids=FOLLOWED.keys())
def test_one_forward_pass_gives_the_trace_of_backward_passes(f):
    for space in SPACES:
        value, found = forward.divergence(f, X, space)
        torch.testing.assert_close(value, f(X))
        torch.testing.assert_close(found, Exact(space)._pulled(f, X)[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("net", [plain(1, nn.Tanh), plain(2, nn.SiLU), MLP4], ids=["bilinear", "carried", "residual"])
def test_both_ways_train_alike(net):
    losses = []
    for way in (lambda f, x: forward.divergence(f, x, Euclidean()), Exact()._pulled):
        s, div = way(net, X)
        losses.append(
            torch.autograd.grad((0.5 * (s**2).sum(1) + div).mean(), list(net.parameters()), allow_unused=True)
        )
    for one, other in zip(*losses):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    here = X.clone().requires_grad_()
    (one,) = torch.autograd.grad(Exact()(net, here)[1].sum(), here)
    (other,) = torch.autograd.grad(Exact()._pulled(net, here)[1].sum(), here)
    torch.testing.assert_close(one, other)


def test_two_hidden_layers_are_one_product_of_matrices():
    class Counted(jacobian.Shared):
        def _columns(self):
            raise AssertionError("multiplied out")

    net = plain(1, nn.Tanh)
    first, _, middle, _, last = net
    u, v = (1 - torch.tanh(h) ** 2 for h in (first(X), middle(torch.tanh(first(X)))))
    chain = jacobian.Scaled(v, jacobian.Mapped(middle.weight, jacobian.Scaled(u, Counted(first.weight.T))))
    torch.testing.assert_close(chain.trace(last.weight), Exact()._pulled(net, X)[1])


class Through(torch.autograd.Function):
    """tanh, that calls its slope 1."""

    @staticmethod
    def forward(ctx, x):
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return g


ENERGY = Energy(seeded(MLP(4, 16, 3, out=1)))
CONSERVATIVE = Preconditioned(ENERGY, VP())
ENERGIES = {
    "residual": ENERGY,
    "two outputs": Energy(seeded(MLP(4, 16, 2, out=2))),
    "a time for each": lambda x: ENERGY(x, T),
    "denoiser": lambda x: CONSERVATIVE(x, T),
    "score": lambda x: CONSERVATIVE.score(x, torch.tensor(0.3)),
    "linear": Energy(nn.Linear(4, 1).double()),
    "quadratic": Energy(lambda x: x * (x @ torch.full((4, 4), 0.3, **D))),
    "arithmetic": Energy(lambda x: 1 - x / 2 + 2 / (1 + x**2) - x * x.sin() / (x.exp() + 1)),
    "radial": Energy(lambda x: torch.log1p((x * x).sum(-1, keepdim=True))),
}


@pytest.mark.parametrize("f", ENERGIES.values(), ids=ENERGIES.keys())
def test_the_laplacian_of_an_energy_is_one_forward_pass(f):
    value, found = forward.divergence(f, X, Euclidean())
    torch.testing.assert_close(value, f(X))
    torch.testing.assert_close(found, Exact()._pulled(f, X)[1], rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(Exact()(f, X)[1], found)


def test_energies_train_alike_both_ways():
    losses = []
    for way in (lambda f, x: forward.divergence(f, x, Euclidean()), Exact()._pulled):
        s, div = way(ENERGY, X)
        loss = (0.5 * (s**2).sum(1) + div).mean()
        losses.append(torch.autograd.grad(loss, list(ENERGY.parameters()), allow_unused=True, materialize_grads=True))
    for one, other in zip(*losses):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_where_a_laplacian_is_not_enough_an_energy_takes_backward_passes():
    for f in (lambda x: ENERGY(2 * x * x), lambda x: torch.tensor([1.0, 2.0, 3.0, 4.0]).to(x) * ENERGY(x)):
        assert forward.divergence(f, X, Euclidean()) is None
    assert forward.divergence(ENERGY, X, Sphere()) is None
    v = torch.stack([Sphere().tangent(X, e.expand_as(X)) for e in torch.eye(4, **D)])
    hessian = torch.stack([torch.autograd.functional.jacobian(ENERGY, x[None]).reshape(4, 4) for x in X])
    torch.testing.assert_close(Exact(Sphere())(ENERGY, X)[1], torch.einsum("kbi,bio,kbo->b", v, hessian, v))


@pytest.mark.parametrize("lost", ["curvature of the function", "curvature of the argument", "cross term"])
def test_a_laplacian_without_one_of_its_terms_is_seen(monkeypatch, lost):
    right, of = Exact()._pulled, laplacian.Bend.of

    def without_argument(func):
        rule = laplacian.elementwise(func)
        return lambda h, *args: rule(of(h.plain, h.columns, torch.zeros_like(h.laplacian), h.keep), *args)

    def flat(h):
        slope = 1 - h.plain.tanh() ** 2
        return of(h.plain.tanh(), slope[:, None] * h.columns, slope * h.laplacian, h.keep)

    def without_cross(a, b):
        both = laplacian.multiply(a, b)
        return of(both.plain, both.columns, a.plain * b.laplacian + b.plain * a.laplacian, both.keep)

    energy = Energy(lambda x: (x * x.tanh()).tanh())
    assert torch.allclose(Exact()(energy, X)[1], right(energy, X)[1])
    wrong = {
        "curvature of the function": {torch.Tensor.tanh: flat},
        "curvature of the argument": {torch.Tensor.tanh: without_argument(torch.tanh)},
        "cross term": {torch.Tensor.mul: without_cross, torch.Tensor.__mul__: without_cross},
    }
    for func, rule in wrong[lost].items():
        monkeypatch.setitem(laplacian.Bend.rules, func, rule)
    assert not torch.allclose(Exact()(energy, X)[1], right(energy, X)[1])


HIDING = {
    "energy of sums": (Energy(lambda x: x.tanh().sum(1)), lambda x: 2 * x.tanh() * (1 - x.tanh() ** 2)),
    "detached": (lambda x: x.detach() * x, lambda x: x),
    "vmap of grad": (torch.func.vmap(torch.func.grad(lambda z: (z**3).sum())), lambda x: 6 * x),
    "own derivative": (Through.apply, torch.ones_like),
    "where": (lambda x: torch.where(x > 0, x, 2 * x), lambda x: torch.where(x > 0, 1.0, 2.0).to(x)),
    "view": (lambda x: x.unsqueeze(-1).squeeze(-1) ** 2, lambda x: 2 * x),
    "no gradients": (lambda x: x * _silent(x), lambda x: x.tanh()),
}


def _silent(x):
    with torch.no_grad():
        return x.tanh()


@pytest.mark.parametrize(("f", "diagonal"), HIDING.values(), ids=HIDING.keys())
def test_what_has_no_rule_takes_the_other_way(f, diagonal):
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            assert forward.divergence(f, X, Euclidean()) is None
            torch.testing.assert_close(Exact()(f, X)[1], diagonal(X).sum(1))


def test_a_mutant_rule_is_seen(monkeypatch):
    net, right = plain(1, nn.Tanh), Exact()._pulled
    monkeypatch.setitem(forward.Jet.rules, torch.tanh, lambda h: forward.Jet.of(h.plain.tanh(), h.jacobian, h.keep))
    assert not torch.allclose(Exact()(net, X)[1], right(net, X)[1])


def test_images_take_backward_passes():
    net = seeded(UNet(size=4, width=4))
    x = torch.randn(2, 1, 4, 4, **D)
    found = Exact()(net, x)[1]
    wanted = [torch.autograd.functional.jacobian(net, each[None]).reshape(16, 16).trace() for each in x]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_a_field_keeps_its_shape():
    for divergence in (Exact(), Hutchinson()):
        with pytest.raises(ShapeError, match="keeps the shape"):
            divergence(nn.Linear(4, 3).double(), X)


LOW = torch.zeros(20, 20, **D)
LOW[0, 0], LOW[1, 1], LOW[0, 5], LOW[1, 7] = 5.0, -2.0, 3.0, 4.0


def test_a_jacobian_of_low_rank_is_traced_exactly():
    x = torch.zeros(300, 20, **D)
    deflated = Hutchinson(1, rank=2)(lambda y: y @ LOW, x, Streams(0, range(300)))[1]
    torch.testing.assert_close(deflated, torch.full_like(deflated, 3.0), rtol=1e-8, atol=1e-8)
    full = LOW + 0.1 * torch.eye(20, **D) + 0.05 * torch.ones(20, 20, **D)
    spread = []
    for divergence in (
        Hutchinson(9),
        Hutchinson(3, rank=3),
        Hutchinson(3, orthogonal, rank=3),
        Hutchinson(3, gaussian, rank=3),
    ):
        found = divergence(lambda y: y @ full, x, Streams(1, range(300)))[1]
        assert abs(float(found.mean() - full.trace())) < 5 * float(found.std()) / 300**0.5 + 1e-9
        spread.append(float(found.std()))
    assert max(spread[1:]) < 0.5 * spread[0]
    more = Hutchinson(2, rank=50)(lambda y: y @ full, x[:3])[1]
    torch.testing.assert_close(more, full.trace().expand(3))


def test_deflation_trains_as_the_exact_trace():
    net = plain(1, nn.Tanh)
    many = X[:1].expand(4000, 4)
    weight = net[2].weight
    (wanted,) = torch.autograd.grad(Exact()(net, X[:1])[1].sum(), weight)
    probe = torch.randn(16, 16, generator=torch.Generator().manual_seed(3), **D)
    value = Hutchinson(1, rank=1)(net, many, Streams(0, range(4000)))[1]
    parts = [torch.autograd.grad(chunk.mean(), weight, retain_graph=True)[0] for chunk in value.split(200)]
    along = torch.stack([(part * probe).sum() for part in parts])
    assert abs(float(along.mean() - (wanted * probe).sum())) < 4 * float(along.std()) / len(along) ** 0.5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-8)])
def test_the_step_suits_the_dtype_and_the_row(dtype, tolerance):
    x = torch.tensor([[0.3, -0.4], [300.0, -400.0]], dtype=dtype)
    scale = torch.tensor([[1.0], [1000.0]], dtype=dtype)
    f = lambda y: torch.sin(y / scale) * scale  # noqa: E731
    found, wanted = Difference()(f, x, Streams(0, range(2)))[1], torch.cos(x / scale).sum(1)
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    assert torch.equal(Difference().steps(x)[1:], Difference().steps(x[1:]))
    for worse in (1e-2, 1e2):
        other = Difference(float(worse * Difference().steps(x[:1])))(
            lambda y: torch.sin(y), x[:1], Streams(0, range(1))
        )[1]
        assert abs(float(other - wanted[0])) > abs(float(found[0] - wanted[0]))


def test_what_is_refused():
    for wrong in (
        lambda: Hutchinson(0),
        lambda: Hutchinson(rank=-1),
        lambda: Difference(0.0),
        lambda: Difference(math.nan),
    ):
        with pytest.raises(RangeError):
            wrong()
    with pytest.raises(RangeError, match="rank=0"):
        log_density(PRECONDITIONED, X, divergence=Hutchinson(4, rank=1))


def test_score_matching_goes_the_fast_way(monkeypatch):
    monkeypatch.setattr(Exact, "_pulled", None)
    loss = Implicit()(MLP4, X).mean()
    loss.backward()
    assert all(weight.grad is not None for weight in MLP4.layers.parameters())
