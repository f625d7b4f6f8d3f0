"""int8: which layers bear it, a report that sees a ruined model, and rows that stay apart."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

import scorefield as sf
from scorefield import export
from scorefield.errors import ExportError, RangeError
from scorefield.export.backend import session
from scorefield.export.int8 import _Maker
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Ancestral

onnx = pytest.importorskip("onnx")
HOW = Drawing(Ancestral(eta=0.0), 6)


def rows(n=600):
    x = sf.data.moons(n, generator=torch.Generator().manual_seed(0))
    return sf.data.prepare(x, name="moons", scaling=sf.data.Scaling.identity())


@pytest.fixture(scope="module")
def trained():
    """A small denoiser of a plane mixture that is better than nothing, and its data."""
    data = rows()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = sf.MLP(2, 24, 1)
    model = sf.Preconditioned(network, sf.EDM(10.0), partial(sf.models.edm, data_std=1.0))
    return sf.fit(model, sf.Diffusion(), sf.data.batches(data.train, 64), steps=150, learning_rate=5e-3).eval(), data


@pytest.fixture(scope="module")
def graphs(trained):
    model, data = trained
    return export.graphs(model, how=HOW, shape=data.shape)


def levels(model, data, walk):
    return export.noisy(walk, model.noise, data.train, None)


def test_noisy_rows_have_the_law_of_the_level(trained):
    model, data = trained
    walk = export.program(model, HOW)
    found = levels(model, data, walk)
    assert [level.t for level in found] == sorted(set(walk.times.tolist()), reverse=True)
    for level in found:
        z = (level.x - level.clean) / level.ratio  # EDM: alpha is 1
        assert abs(float(z.mean())) < 5 / 128**0.5
        assert abs(float(z.square().mean()) - 1) < 5 * (2 / 128) ** 0.5
        assert level.inputs["t"].dtype == "float64"
    assert torch.equal(found[0].x, levels(model, data, walk)[0].x)


def test_layers_are_chosen_by_the_harm_they_do(trained, graphs):
    model, data = trained
    data_at = levels(model, data, export.program(model, HOW))
    none, some, every = (export.quantised(graphs[0], data_at, bound=b) for b in (0.0, 0.05, 1e9))
    assert none.integer == ()
    assert len(every.integer) == len(every.harm) == len(none.floating)
    assert len(none.integer) <= len(some.integer) <= len(every.integer)
    harms = [some.harm[name] for name in some.integer]
    assert harms == sorted(harms)
    assert all(some.harm[name] >= max(harms, default=0) for name in some.floating)
    plain = session(graphs[0].SerializeToString())
    for made, most in ((none, 0.05), (some, 0.06)):  # int8 weights alone do little harm
        run = session(made.graph.SerializeToString())
        for level in data_at:
            change = torch.from_numpy(run.run(None, level.inputs)[0] - plain.run(None, level.inputs)[0])
            error = torch.from_numpy(plain.run(None, level.inputs)[0]) - level.clean
            assert float(change.square().mean()) <= most * float(error.square().mean())


def test_weights_are_stored_in_eight_bits(graphs, trained):
    model, data = trained
    made = export.quantised(graphs[0], levels(model, data, export.program(model, HOW)), bound=0.0).graph
    kinds = onnx.TensorProto
    held = {each.name: each for each in made.graph.initializer}
    wide = [w for w in held.values() if w.data_type == kinds.FLOAT and len(w.dims) == 2 and min(w.dims) > 1]
    assert wide == []
    integers = [onnx.numpy_helper.to_array(w) for name, w in held.items() if name.endswith("_int8")]
    original = {w.name: onnx.numpy_helper.to_array(w) for w in graphs[0].graph.initializer}
    assert len(integers) == len([node for node in graphs[0].graph.node if node.op_type == "Gemm"])
    for name, weight in original.items():
        if name + "_int8" in held:
            q, s = (onnx.numpy_helper.to_array(held[name + end]) for end in ("_int8", "_scale"))
            assert abs(q * s - weight).max() <= 0.5001 * s.max()
            assert abs(q).max() == 127


def test_rows_stay_apart_and_dynamic_quantisation_would_mix_them(trained, graphs, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    model, data = trained
    level = levels(model, data, export.program(model, HOW))[1]
    made = export.quantised(graphs[0], [level], bound=1e9).graph

    def mixing(graph):
        run = session(graph.SerializeToString())
        whole = run.run(None, level.inputs)[0]
        alone = run.run(None, {name: value[:1] for name, value in level.inputs.items()})[0]
        return abs(whole[:1] - alone).max()

    assert mixing(made) < 1e-6
    onnx.save(graphs[0], tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    assert mixing(onnx.load(tmp_path / "dynamic.onnx")) > 1e-4


def test_the_report_compares_and_the_files_are_written(trained, tmp_path):
    model, data = trained
    done = export.compact(model, tmp_path, how=HOW, data=data, samples=300, run="tiny")
    quality = done.quality
    assert quality.fine
    assert quality.after.size < quality.before.size
    assert [path.name for path in done.files] == ["denoiser-int8.onnx", "sampler-int8.onnx", "int8.json", "int8.png"]
    report = json.loads((tmp_path / "int8.json").read_text())
    assert report["fine"] is True
    assert report["ratio"] == pytest.approx(quality.after.frechet.value / quality.before.frechet.value)
    assert set(report["integer"]) | set(report["floating"]) == set(done.chosen.harm)
    drawn = export.OnnxSampler(tmp_path / "sampler-int8.onnx")(range(5), seed=3)
    walked = HOW.sample(export.OnnxDenoiser(tmp_path / "denoiser-int8.onnx"), 5, shape=(2,), seed=3)
    assert float((drawn - walked).abs().max()) < 0.1 * float(drawn.abs().max())
    assert "times" in quality.table()
    about = export.about(tmp_path / "sampler-int8.onnx")
    assert about["integer"] == list(done.chosen.integer)


def test_a_ruined_model_is_not_called_fine(trained, tmp_path):
    model, data = trained
    with pytest.raises(ExportError, match=r"rises from .* at most 1e-06 and 2 times count as fine"):
        export.compact(model, tmp_path, how=HOW, data=data, samples=300, ratio=1e-6)
    assert not list(tmp_path.glob("*.onnx"))
    assert json.loads((tmp_path / "int8.json").read_text())["fine"] is False


def test_the_report_sees_broken_weights(trained, graphs):
    model, data = trained
    walk = export.program(model, HOW)
    broken = onnx.ModelProto()
    broken.CopyFrom(graphs[0])
    for weight in broken.graph.initializer:
        if weight.name.endswith("last.weight"):  # one wrong sign
            values = -2 * onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    bad = broken, export.sampler_graph(broken, walk, sf.data.Scaling.identity())
    at = export.noisy(walk, model.noise, data.held_out, None)
    judged = partial(
        export.drawn_distance, distance=export.plain_distance(data.held_out), labels=torch.zeros(300).long(),
        scaling=data.scaling,
    )  # fmt: skip
    good = judged(graphs[1])
    found = export.compared(graphs[:2], bad, at, (good, judged(bad[1])), samples=300)
    assert not found.fine
    assert found.worst > 1.5
    with pytest.raises(ExportError, match="not written"):
        found.require_fine()
    same = export.compared(graphs[:2], graphs[:2], at, (good, judged(graphs[1])), samples=300)
    assert same.ratio == same.worst == 1
    assert {level.change for level in same.levels} == {0.0}
    assert not replace(same, bound=0.9).fine


def test_wrong_bounds_are_refused(graphs, trained):
    model, data = trained
    at = levels(model, data, export.program(model, HOW))
    with pytest.raises(RangeError, match=r"bound=-1"):
        export.quantised(graphs[0], at, bound=-1.0)
    with pytest.raises(RangeError, match="must be positive"):
        export.compared(graphs[:2], graphs[:2], at, (sf.metrics.Estimate(1.0, 0.1),) * 2, samples=2, bound=0.0)
    with pytest.raises(RangeError, match="at least 5 calls"):
        export.timed({}, calls=2)


def test_ranges_are_found_once(graphs, trained, tmp_path):
    model, data = trained
    at = levels(model, data, export.program(model, HOW))
    make = _Maker(graphs[0], at, tmp_path)
    names = [node.name for node in graphs[0].graph.node if node.op_type == "Gemm"]
    make(names[:1])
    before = (tmp_path / "ranges.json").stat().st_mtime_ns
    make(names)
    assert (tmp_path / "ranges.json").stat().st_mtime_ns == before
