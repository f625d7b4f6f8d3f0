"""What every network promises: rows independent, zero to begin with, exact in float64, t and labels per row."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scorefield.describe import build, describe
from scorefield.errors import RangeError, ShapeError
from scorefield.networks import MLP, DiT, EncoderDecoder, UNet, fastest
from scorefield.networks.dit import positions
from scorefield.networks.embeddings import Condition, FiLM, Fourier
from scorefield.networks.layers import attend, whole_norm

NETWORKS = {
    "mlp": lambda: MLP(3, width=16, depth=2),
    "unet": lambda: UNet(channels=2, size=7, width=8, multipliers=(1, 2, 2), blocks=1, heads=2, classes=3),
    "unet, unfolded": lambda: UNet(channels=1, size=8, width=8, multipliers=(1, 2), blocks=1, patch=1),
    "dit": lambda: DiT(channels=2, size=8, patch=2, width=16, depth=2, heads=2, classes=3),
    "encoder-decoder": lambda: EncoderDecoder(channels=2, size=7, width=4),
}
LABELLED = ("unet", "dit")


def scrambled(network: nn.Module) -> nn.Module:
    """All weights drawn, none zero, in float64: what training would make of it, as far as structure goes."""
    generator = torch.Generator().manual_seed(0)
    network = network.double()
    with torch.no_grad():
        for weight in network.parameters():
            spread = 1 / max(1.0, weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.3
            weight.copy_(spread * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return network


@pytest.fixture(params=NETWORKS)
def network(request):
    return scrambled(NETWORKS[request.param]())


def batch(network, n=5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, *network.shape, generator=generator, dtype=torch.float64)
    return x, torch.linspace(-2, 1, n, dtype=torch.float64)


def test_rows_are_independent(network):
    x, t = batch(network)
    together = network(x, t)
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-11)
    other = x.clone()
    other[1:] += 1
    torch.testing.assert_close(network(other, t)[0], together[0], rtol=1e-11, atol=1e-11)
    assert (network(other, t)[1:] - together[1:]).abs().amax() > 1e-3


def test_one_time_for_all_is_the_same_time_for_each(network):
    x, t = batch(network)
    torch.testing.assert_close(network(x, t[3]), network(x, t[3].expand(len(x))), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(network(x), network(x, torch.zeros_like(t)), rtol=1e-11, atol=1e-11)


def test_time_modulates_each_row_by_its_own(network):
    x, t = batch(network)
    x = x[:1].expand_as(x)
    moved = t.clone()
    moved[2] += 0.3
    change = (network(x, moved) - network(x, t)).flatten(1).abs().amax(1)
    assert change[2] > 1e-3
    assert change[[0, 1, 3, 4]].max() < 1e-11
    assert torch.pdist(network(x, t).flatten(1)).min() > 1e-3


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_starts_as_the_zero_function(make):
    network = make()
    x = torch.randn(2, *network.shape)
    assert torch.equal(network(x, torch.tensor([-1.0, 1.0])), torch.zeros_like(x))


def test_every_weight_is_used_with_and_without_time(network):
    x, t = batch(network)
    for output in (network(x, t), network(x)):
        gradients = torch.autograd.grad(output.square().sum(), list(network.parameters()), allow_unused=True)
        assert not [name for (name, _), g in zip(network.named_parameters(), gradients) if g is None]
    unmoved = [n for (n, _), g in zip(network.named_parameters(), gradients) if not g.any()]
    assert unmoved == []


def test_gradient_is_the_slope_and_has_a_slope(network):
    x, t = batch(network, n=2)
    x = x.requires_grad_()
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (first,) = torch.autograd.grad((network(x, t) * v).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * v).sum(), x)

    @torch.no_grad()
    def value(h):
        return (network(x + h * v, t) * v).sum()

    h = 1e-4  # errors: h² f‴/6 and h² f⁗/12, and 1e-16/h² by rounding
    slope, curve = (value(h) - value(-h)) / (2 * h), (value(h) - 2 * value(0) + value(-h)) / h**2
    scale = value(0).abs().item() + 1
    torch.testing.assert_close((first * v).sum().detach(), slope, rtol=1e-5, atol=1e-5 * scale)
    torch.testing.assert_close((second * v).sum(), curve, rtol=1e-4, atol=1e-4 * scale)


def test_described_and_built_is_the_same_function(network):
    plain = json.loads(json.dumps(describe(network)))
    copy = build(plain).double()
    assert describe(copy) == plain
    copy.load_state_dict(network.state_dict())
    x, t = batch(network)
    assert torch.equal(copy(x, t), network(x, t))


@pytest.mark.parametrize("name", LABELLED)
def test_no_label_is_the_null_class_and_labels_act_by_row(name):
    network = scrambled(NETWORKS[name]())
    x, t = batch(network)
    null, label = torch.full((5,), 3), torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(network(x, t), network(x, t, label=null), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(network(x, t, label=torch.tensor(1)), network(x, t, label=torch.full((5,), 1)))
    change = (network(x, t, label=label) - network(x, t)).flatten(1).abs().amax(1)
    assert change[3] < 1e-11
    assert change[[0, 1, 2, 4]].min() > 1e-3


def test_label_without_classes_is_refused():
    with pytest.raises(ShapeError, match="classes=None"):
        UNet(size=8, width=4)(torch.zeros(1, 1, 8, 8), torch.zeros(1), label=torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize("name", ["unet", "unet, unfolded", "dit", "encoder-decoder"])
def test_bfloat16_inside_is_the_same_function_to_its_precision(name):
    exact = scrambled(NETWORKS[name]()).float()
    rounded = build(describe(exact))
    rounded.compute = torch.bfloat16
    rounded.load_state_dict(exact.state_dict())
    x, t = (value.float() for value in batch(exact))
    output, truth = rounded(x, t), exact(x, t)
    assert output.dtype == torch.float32
    error = (output - truth).square().mean().sqrt() / truth.square().mean().sqrt()
    assert 0 < error < 20 * 2**-9  # 2⁻⁹ is one rounding; about twenty layers, each with its own


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_fastest_precision_is_what_the_processor_says():
    native = any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_tile"))
    assert fastest() == (torch.bfloat16 if native else None)


@pytest.mark.parametrize("size", [7, 8, 28, 32])
def test_unet_of_any_size_sees_every_pixel(size):
    network = scrambled(UNet(size=size, width=4, multipliers=(1, 2, 2), blocks=1))
    x, t = batch(network, n=1)
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x, t).square().sum(), x)
    assert (gradient != 0).all()


def test_dit_knows_places_by_positions_alone():
    network = scrambled(NETWORKS["dit"]())
    x, t = batch(network)
    shifted = x.roll(network.patch, dims=3)
    assert (network(shifted, t) - network(x, t).roll(network.patch, dims=3)).abs().max() > 1e-3
    network.positions.zero_()
    torch.testing.assert_close(network(shifted, t), network(x, t).roll(network.patch, dims=3), rtol=1e-10, atol=1e-10)


def test_positions_differ_and_keep_their_norm():
    places = positions(7, 16)
    assert torch.pdist(places).min() > 0.1
    torch.testing.assert_close(places.square().sum(1), torch.full((49,), 8.0))


def test_fourier_features_lie_on_circles_and_resolve_ten_per_cent_of_noise():
    t = torch.arange(-2.2, 1.2, 0.025)  # log(1.1)/4 ≈ 0.024
    features = Fourier(32)(t)
    torch.testing.assert_close(features.square().sum(1), torch.full_like(t, 16.0))
    torch.testing.assert_close(features[:, 0], (0.5 * t).sin())
    torch.testing.assert_close(features[:, -1], (32 * t).cos())
    assert torch.pdist(features).min() > 0.3


def test_film_is_affine_in_the_signal():
    film, h, e = FiLM(4, 3), torch.randn(2, 3, 5), torch.randn(2, 4)
    scale, shift = film.linear(e)[:, :3, None], film.linear(e)[:, 3:, None]
    torch.testing.assert_close(film(h, e), h * (1 + scale) + shift)


def test_attention_is_the_fused_one():
    q, k, v = torch.randn(3, 2, 4, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v), nn.functional.scaled_dot_product_attention(q, k, v))


def test_norm_is_of_each_example():
    h = 3 * torch.randn(4, 6, 5, 5, dtype=torch.float64) + 2
    normed = whole_norm(h)
    torch.testing.assert_close(normed.flatten(1).mean(1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(
        normed.flatten(1).var(1, unbiased=False), torch.ones(4, dtype=torch.float64), rtol=1e-4, atol=0
    )


def test_condition_adds_time_and_label():
    condition, t = Condition(8, classes=2), torch.tensor([0.5])
    plain = condition.linear(condition.time(t))
    torch.testing.assert_close(condition(t, torch.tensor([1])), nn.functional.silu(plain + condition.label.weight[1]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MLP(0), r"MLP\(dim=0\)"),
        (lambda: MLP(2, out=0), r"MLP\(out=0\)"),
        (lambda: UNet(blocks=0), r"UNet\(blocks=0\)"),
        (lambda: UNet(multipliers=()), r"UNet\(multipliers=0\)"),
        (lambda: UNet(heads=5), r"UNet\(heads=5\)"),
        (lambda: UNet(classes=0), r"UNet\(classes=0\)"),
        (lambda: DiT(size=28, patch=5), r"DiT\(size=28, patch=5\)"),
        (lambda: DiT(width=18), r"DiT\(width=18"),
        (lambda: EncoderDecoder(width=0), r"EncoderDecoder\(width=0\)"),
    ],
)
def test_impossible_sizes_are_refused_by_name(make, match):
    with pytest.raises(RangeError, match=match):
        make()
