"""ONNX graphs: the same samples for the same seed, rows apart, and wrong graphs refused."""

import json
import math
from functools import partial

import pytest
import torch

import scorefield as sf
from scorefield import export
from scorefield.errors import DamagedError, ExportError, RangeError, RunError, ShapeError
from scorefield.export import equal, graph
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Adaptive, Ancestral, Churn, Corrected, Heun, Langevin, Midpoint, Multistep

onnx = pytest.importorskip("onnx")
SHAPE = (1, 8, 8)


def lively(module, scale=0.1):
    """The module with no weight at zero, so that every operation shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(scale * torch.randn(weight.shape, generator=generator))
    return module.eval()


def unet(noise=None, predict=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = sf.UNet(size=8, width=8, multipliers=(1, 2), blocks=1, classes=3, compute=torch.bfloat16)
    return lively(sf.Preconditioned(network, noise or sf.EDM(20.0), predict or partial(sf.models.edm, data_std=0.5)))


GUIDED = Drawing(None, 5, classes=3, weight=1.5, low=0.3, high=4.0)
SCALING = sf.data.Scaling.pixels()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return export.export(unet(), folder, how=GUIDED, shape=SHAPE, scaling=SCALING, run="tiny")


def test_sample_i_of_the_graph_is_sample_i_of_the_library(written):
    sampler = export.OnnxSampler(written.files[1])
    labels = GUIDED.labels(12, seed=7)
    drawn = sampler(range(12), labels, seed=7)
    model = graph.in_float32(unet())
    wanted = SCALING.to_data(GUIDED.sample(model, 12, shape=SHAPE, seed=7))
    assert float((drawn - wanted).abs().max()) < 127.5 * 1e-4
    assert float((drawn - SCALING.to_data(GUIDED.sample(model, 12, shape=SHAPE, seed=8))).abs().max()) > 12.75
    bfloat16 = SCALING.to_data(GUIDED.sample(unet(), 12, shape=SHAPE, seed=7))
    assert float((drawn - bfloat16).abs().mean()) < 127.5 * 0.05  # what eight bits of precision leave


def test_rows_do_not_know_each_other(written):
    sampler, denoiser = export.OnnxSampler(written.files[1]), export.OnnxDenoiser(written.files[0])
    labels = GUIDED.labels(9)
    together = sampler(range(9), labels)
    for i in (0, 4, 8):
        assert float((sampler(range(i, i + 1), labels[i : i + 1]) - together[i : i + 1]).abs().max()) < 1e-3
    x, t = torch.randn(5, *SHAPE), torch.rand(5, dtype=torch.float64)
    whole = denoiser(x, t, label=labels[:5])
    assert float((denoiser(x[2:3], t[2], label=labels[2]) - whole[2:3]).abs().max()) < 1e-5


def test_a_graph_is_a_denoiser_for_any_sampler(written):
    denoiser, model = export.OnnxDenoiser(written.files[0], threads=2), graph.in_float32(unet())
    assert denoiser.shape == SHAPE
    assert denoiser.noise == sf.EDM(20.0)
    for how in (GUIDED, Drawing(Heun(), 4, classes=3)):
        drawn = how.sample(denoiser, 3, shape=SHAPE, seed=2)
        assert float((drawn - how.sample(model, 3, shape=SHAPE, seed=2)).abs().max()) < 1e-4
    unlabelled = sf.sample(denoiser, 3, steps=4)
    assert float((unlabelled - sf.sample(model, 3, steps=4)).abs().max()) < 1e-4
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    identity = 0.7 * denoiser(x, torch.tensor(0.01)) * 0 + x
    alpha, sigma = denoiser.noise.at(torch.tensor(0.01), x)
    t = torch.tensor(0.01)
    torch.testing.assert_close(alpha * denoiser(x, t) + sigma * denoiser.epsilon(x, t), identity)


def test_the_file_says_what_it_is(written):
    about = export.about(written.files[1])
    assert (about["kind"], about["run"], about["classes"], about["shape"]) == ("sampler", "tiny", 3, list(SHAPE))
    assert about["calls"] > GUIDED.steps  # guidance asks twice
    assert sf.describe.build(about["noise"]) == sf.EDM(20.0)
    assert sf.describe.build(about["model"]).predict.keywords == {"data_std": 0.5}
    assert about["versions"]["scorefield"] == sf.__version__
    assert len(about["sha256"]) == 64
    assert json.loads(written.files[2].read_text())["equality"]["sampler"] <= 1e-4
    text = written.files[1].read_bytes()
    assert b"scorefield/" not in text  # no paths of this machine
    weights = sum(weight.numel() for weight in unet().parameters())
    assert len(text) < 4 * weights + 40_000  # stored once, however many steps


SAMPLERS = [
    Ancestral(eta=0.0),
    Ancestral(),
    Heun(),
    Midpoint(),
    Churn(),
    Corrected(3),
    Multistep(2, eta=1.0, data_std=0.0),
]
NOISES = [sf.VP(), sf.Rectified(), sf.Cosine(), sf.EDM()]


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_walk_is_a_matrix(sampler, noise):
    means, spread = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.1 * torch.eye(2).repeat(2, 1, 1)
    known = sf.exact.Mixture(torch.tensor([0.3, 0.7]).double(), means.double(), spread.double())
    model = known.denoiser(noise)
    how = Drawing(sampler, 9)
    walk = export.program(model, how)
    assert len(walk.times) in (9 * sampler.evaluations, 9 * sampler.evaluations - 1)
    assert torch.equal(walk.inputs[:, walk.draws :].triu(), torch.zeros(len(walk.times), len(walk.times)).double())
    streams = sf.tensors.Streams(3, range(5))
    noise = torch.stack([streams.normal(torch.empty(5, 2, dtype=torch.float64)) for _ in range(walk.draws)], 1)
    streams = sf.tensors.Streams(3, range(5))
    x = model.prior(torch.empty(5, 2, dtype=torch.float64), streams)
    *_, last = sampler.walk(model, x, sampler.times(model, 9), streams)
    assert float((walk.run(model, noise) - last.x).abs().max()) < 1e-9
    assert torch.equal(noise.float(), export.draws(walk.draws, (2,), 3, range(5)))


def test_walks_that_no_graph_can_take_are_refused():
    model = unet()
    with pytest.raises(RangeError, match=r"Adaptive.*depend on where the walk is"):
        export.program(model, Drawing(Adaptive(), 5, classes=3))
    with pytest.raises(RangeError, match="static score"):
        export.program(model, Drawing(Langevin(), 5))


def mutant(file, change):
    """The tiny model's graphs, the walk of one of them changed, held against the model."""
    model = unet()
    walk = export.program(model, GUIDED)
    denoiser = onnx.load(file)
    sampler = export.sampler_graph(denoiser, change(walk), SCALING)
    export.require_equal(model, walk, GUIDED.labels(2), SCALING, denoiser, sampler, n=2)


def replaced(walk, **parts):
    return export.Program(**(vars(walk) | parts))


MUTANTS = {
    "sign": lambda walk: replaced(
        walk, inputs=walk.inputs * torch.where(torch.arange(walk.inputs.shape[1]) == 2, -1.0, 1.0)
    ),
    "step": lambda walk: replaced(walk, times=walk.times * torch.where(torch.arange(len(walk.times)) == 3, 1.05, 1.0)),
    "end": lambda walk: replaced(walk, end=1.001 * walk.end),
    "guidance": lambda walk: replaced(walk, told=~walk.told),
    "draws": lambda walk: replaced(
        walk, inputs=walk.inputs * torch.where(torch.arange(walk.inputs.shape[1]) == 0, 0.99, 1.0)
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_graphs_are_refused(name, written):
    with pytest.raises(ExportError, match=r"differs from PyTorch by .*nothing was written"):
        mutant(written.files[0], MUTANTS[name])


def test_the_right_graph_is_not(written):
    mutant(written.files[0], lambda walk: walk)


def test_a_graph_that_mixes_rows_is_refused():
    model = lively(sf.Preconditioned(sf.MLP(2, 8, 1), sf.VP()))
    how = Drawing(steps=4)
    walk = export.program(model, how)
    denoiser = export.denoiser_graph(model, (2,))
    sampler = export.sampler_graph(denoiser, walk, sf.data.Scaling.identity())
    mean = onnx.helper.make_node("ReduceMean", ["samples_of_rows"], ["mean"], keepdims=1)
    mean.input.append("walk_zero")
    shifted = [
        mean,
        onnx.helper.make_node("Mul", ["mean", "small"], ["shift"]),
        onnx.helper.make_node("Add", ["samples_of_rows", "shift"], ["samples"]),
    ]
    sampler.graph.node[-1].output[0] = "samples_of_rows"
    sampler.graph.node.extend(shifted)
    sampler.graph.initializer.append(onnx.numpy_helper.from_array(torch.tensor(0.0).numpy(), "small"))
    export.require_equal(model, walk, None, sf.data.Scaling.identity(), denoiser, sampler)
    sampler.graph.initializer[-1].CopyFrom(onnx.numpy_helper.from_array(torch.tensor(0.01).numpy(), "small"))
    with pytest.raises(ExportError):
        export.require_equal(model, walk, None, sf.data.Scaling.identity(), denoiser, sampler)


def test_models_without_labels_and_stochastic_walks(tmp_path):
    model = lively(sf.Preconditioned(sf.MLP(2, 16, 1), sf.VP()))
    scaling = sf.data.Scaling((1.0, -2.0), (3.0, 0.5))
    how = Drawing(Ancestral(), 5)
    done = export.export(model, tmp_path, how=how, shape=(2,), scaling=scaling)
    sampler = export.OnnxSampler(done.files[1])
    assert sampler.about["draws"] == 5  # one to begin with, one a step, none in the last
    drawn = sampler(range(100, 107), seed=1)
    wanted = scaling.to_data(how.sample(model, 107, shape=(2,), seed=1))[100:]
    assert float((drawn - wanted).abs().max()) < 1e-4
    denoiser = export.OnnxDenoiser(done.files[0])
    with pytest.raises(ShapeError, match="this model has none"):
        denoiser(torch.zeros(1, 2), torch.tensor(0.5), label=torch.tensor([1]))


def test_what_cannot_be_exported_is_told(tmp_path, written):
    class Sorted(torch.nn.Module):
        shape = (2,)

        def forward(self, x, t):
            return torch.linalg.eigvalsh(x[:, :, None] * x[:, None, :])

    model = sf.Preconditioned(Sorted(), sf.VP())
    with pytest.raises(RangeError, match=r"Preconditioned\(Sorted\).*cannot be written as an ONNX graph"):
        export.export(model, tmp_path / "a", how=Drawing(steps=3), shape=(2,))
    with pytest.raises(RangeError, match=r"export\(opset=12\): operator sets 18 to"):
        export.export(unet(), tmp_path / "a", how=GUIDED, shape=SHAPE, opset=12)
    with pytest.raises(RunError, match="no noise levels"):
        export.export(sf.MLP(2), tmp_path / "a", how=Drawing(), shape=(2,))
    plane = sf.Preconditioned(sf.MLP(2, 8, 1), sf.VP())
    with pytest.raises(ExportError):
        export.export(lively(plane), tmp_path / "a", how=Drawing(steps=3), shape=(2,), tolerance=1e-12)
    assert not (tmp_path / "a").exists()
    with pytest.raises(RunError, match="no file of that name"):
        export.OnnxDenoiser(tmp_path / "nothing.onnx")
    with pytest.raises(RunError, match="no exported denoiser but sampler"):
        export.OnnxDenoiser(written.files[1])
    (tmp_path / "torn.onnx").write_bytes(written.files[0].read_bytes()[:1000])
    with pytest.raises(DamagedError, match="cannot read it"):
        export.OnnxDenoiser(tmp_path / "torn.onnx")
    denoiser, sampler = export.OnnxDenoiser(written.files[0]), export.OnnxSampler(written.files[1])
    with pytest.raises(RangeError, match=r"label 7 in row 1: it was trained on labels 0 to 2"):
        sampler(range(2), torch.tensor([0, 7]))
    with pytest.raises(RangeError, match="ask for one sample"):
        sampler(range(0), torch.tensor([], dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"x of shape \(1, 1, 9, 9\)"):
        denoiser(torch.zeros(1, 1, 9, 9), torch.tensor(0.5))
    with pytest.raises(RangeError, match="at least 1 thread"):
        export.OnnxDenoiser(written.files[0], threads=0)


def test_a_network_that_fixes_the_batch_is_told_how_not_to(tmp_path):
    class Fixed(torch.nn.Module):
        shape = (2,)

        def forward(self, x, t):
            return x + t.expand(len(x))[:, None]

    with pytest.raises(RangeError, match=r"batch"):
        export.denoiser_graph(sf.Preconditioned(Fixed(), sf.VP()), (2,))


def test_the_tolerance_is_one_ten_thousandth_of_the_size_of_the_data():
    assert equal.TOLERANCE == 1e-4
    assert math.isclose(equal.SLACK, 10)


class Steep(sf.models.Denoiser):
    """x ↦ −7 x."""

    def forward(self, xt, t, **cond):
        return -7 * xt


def test_a_nudge_is_how_far_the_end_moves_when_each_draw_becomes_the_next_float32_number():
    walk = export.Program(
        torch.eye(2)[:1].double(),
        torch.tensor([0.0, 3.0]).double(),
        torch.tensor([1.0]).double(),
        torch.ones(1).bool(),
        1,
    )
    z = torch.tensor([[[1.0, 1.5]], [[-0.25, 4.0]]])
    found = equal._nudged(Steep(), walk, z, None)
    eps = torch.finfo(torch.float32).eps
    assert found.tolist() == [21 * eps, 21 * 4 * eps]


def test_samples_beyond_the_tolerance_are_told_with_their_nudge():
    fine = export.Equality(1e-6, 2e-6, 2e-6, 1e-6, 3e-6, 0, 16, 1e-4)
    assert "above" not in str(fine)
    told = str(export.Equality(1e-6, 2e-4, 2e-4, 1e-6, 3e-4, 1, 16, 1e-4, 5e-4))
    assert told.endswith(
        "1 of 16 above 0.0001: there float64 itself moves by 5.0e-04 when each draw becomes the next float32 number"
    )


@pytest.mark.slow
def test_twenty_steps_of_the_digits_in_float32_are_those_of_pytorch():
    """64 samples each of two seeds, against `sample`; one that its draws do not determine so far may differ as they let it."""
    import copy

    from scorefield.checkpoints import facts
    from scorefield.export.backend import session

    how, model = facts("digits")["sampling"], graph.in_float32(sf.load("digits"))
    walk = export.program(model, how)
    asked = session(
        export.sampler_graph(
            export.denoiser_graph(model, (1, 28, 28)), walk, sf.data.Scaling.identity()
        ).SerializeToString()
    )
    for seed in (0, 1):
        noise, labels = export.draws(walk.draws, (1, 28, 28), seed, range(64)), how.labels(64, seed)
        drawn = torch.from_numpy(asked.run(None, {"noise": noise.numpy(), "label": labels.numpy()})[0])
        miss = (drawn - how.sample(model, 64, shape=(1, 28, 28), seed=seed)).abs().flatten(1).amax(1)
        assert float(miss.median()) < 1e-5
        beyond = miss > 1e-4
        if bool(beyond.any()):  # hard ones on this processor
            nudged = equal._nudged(copy.deepcopy(model).double(), walk, noise[beyond], labels[beyond])
            assert bool((miss[beyond] <= 10 * nudged).all())
            assert int(beyond.sum()) <= 1
