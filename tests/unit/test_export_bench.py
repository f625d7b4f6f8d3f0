"""Times: alternating, of whole walks, told as table, picture and JSON; and the commands on the models in the box."""

import json
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

import scorefield as sf
from scorefield import export
from scorefield.cli import main
from scorefield.errors import RangeError, RunError, UnknownNameError
from scorefield.export import bench
from scorefield.recipes.drawing import Drawing

pytest.importorskip("onnx")


def tiny():
    return sf.Preconditioned(sf.MLP(2, 8, 1), sf.EDM(), partial(sf.models.edm, data_std=1.0)).eval()


def test_contenders_take_turns_and_slow_is_slower():
    order = []

    def slow():
        order.append("slow")
        time.sleep(0.004)

    found = export.timed({"fast": lambda: order.append("fast"), "slow": slow}, calls=10, warm=1)
    assert order[2:] == ["fast", "slow"] * 10
    assert found["slow"].p50 >= 4
    assert found["slow"].p50 > found["fast"].p50
    assert found["slow"].p99 >= found["slow"].p50
    assert found["slow"].calls == 10
    assert export.timed({"slow": slow}, calls=1000, seconds=0.05)["slow"].calls < 100


def test_cells_are_of_whole_walks_and_told_in_three_ways(tmp_path):
    cells = list(
        bench.bench(
            tiny(), how=Drawing(steps=4), shape=(2,), backends=("eager", "onnx"), rows=(1, 16), steps=(2, 8),
            seconds=0.05, calls=5,
        )
    )  # fmt: skip
    assert [(c.backend, c.rows, c.steps) for c in cells] == [
        (backend, rows, steps) for steps in (2, 8) for rows in (1, 16) for backend in ("eager", "onnx")
    ]
    assert [c.evaluations for c in cells] == [2] * 4 + [8] * 4
    eager = {(c.rows, c.steps): c for c in cells if c.backend == "eager"}
    assert eager[16, 2].throughput == pytest.approx(16_000 / eager[16, 2].timing.p50)
    assert bench.table(cells).count("\n") == 8
    told = json.loads(bench.plain(cells, 3))
    assert (len(told["cells"]), told["threads"]) == (8, 3)
    assert len(bench.picture(cells).axes) == 2


def test_bad_questions_are_told():
    how = Drawing(steps=2)
    with pytest.raises(UnknownNameError, match="did you mean 'onnx'"):
        list(bench.bench(tiny(), how=how, shape=(2,), backends=("onx",)))
    with pytest.raises(RangeError, match="numbers from 1 on"):
        list(bench.bench(tiny(), how=how, shape=(2,), rows=(0,)))
    with pytest.raises(RunError, match="no int8 graph"):
        list(bench.bench(tiny(), how=how, shape=(2,), backends=("int8",)))
    with pytest.raises(RunError, match="a denoiser wanted"):
        list(bench.bench(sf.MLP(2), how=how, shape=(2,)))


def test_a_compiler_that_fails_is_told(monkeypatch):
    def fails(network):
        raise RuntimeError

    monkeypatch.setattr(bench, "compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(RunError, match=r"torch.compile fails: RuntimeError; leave out"):
        list(bench.bench(tiny(), how=Drawing(steps=2), shape=(2,), backends=("compiled",)))
    monkeypatch.setattr(bench, "compiler", lambda: False)
    with pytest.raises(RunError, match=r"needs a C\+\+ compiler"):
        list(bench.bench(tiny(), how=Drawing(steps=2), shape=(2,), backends=("compiled",)))


@pytest.fixture
def run(tmp_path):
    sf.save(
        tiny(), tmp_path / "run", data={"shape": (2,)}, sampling=Drawing(steps=3), scaling=sf.data.Scaling.identity()
    )
    return tmp_path / "run"


def called(*words):
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    return stop.value.code or 0


def test_the_commands(run, tmp_path, capsys):
    assert called("export", run) == 0
    said = capsys.readouterr().out
    assert "against PyTorch" in said
    assert export.OnnxSampler(run / "onnx" / "sampler.onnx")(range(3)).shape == (3, 2)
    assert called("export", run, "--to", "pt", "--out", tmp_path / "pt") == 0
    assert (tmp_path / "pt" / "weights.pt").exists()
    assert called("export", run, "--to", "diffusers", "--out", tmp_path / "hub") == 0
    assert called("import", tmp_path / "hub", "--out", tmp_path / "back") == 0
    x, t = torch.randn(4, 2), torch.tensor(0.3)
    assert torch.equal(sf.load(tmp_path / "back")(x, t), sf.load(run)(x, t))
    assert called("bench", run, "--backends", "eager,onnx", "--rows", "1,2", "--seconds", "0.05") == 0
    assert "samples/s" in capsys.readouterr().out
    assert (run / "bench" / "bench.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("export", "nowhere"), 2, "this is no run"),
        (("export", "RUN", "--to", "onx"), 2, "did you mean 'onnx'"),
        (("export", "RUN", "--opset", "9"), 2, "operator sets 18 to"),
        (("export", "RUN", "--sampler", "adaptive"), 2, "depend on where the walk is"),
        (("export", "RUN", "--to", "int8"), 2, "no recipe made it"),
        (("export", "RUN", "--to", "int8", "--n", "3"), 2, "at least 100 samples"),
        (("import", "RUN", "--out", "new"), 2, "wanted a folder that diffusers saved"),
        (("bench", "RUN", "--rows", "many"), 2, "whole numbers with commas"),
        (("bench", "RUN", "--backends", "int8"), 2, "no int8 graph"),
    ],
    ids=lambda value: value[2].strip("-") if isinstance(value, tuple) and len(value) > 2 else None,
)
def test_errors_are_one_paragraph(words, status, said, run, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert called(*(run if word == "RUN" else word for word in words)) == status
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_missing_package_is_named(run, capsys, monkeypatch):
    import importlib

    real = importlib.import_module

    def without(name, package=None):
        if name == "onnxscript":
            raise ImportError("no", name=name)
        return real(name, package)

    monkeypatch.setattr(export.graph.importlib, "import_module", without)
    assert called("export", run) == 1
    assert "export needs onnxscript: pip install 'scorefield[export]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "digits-fast"])
def test_the_digits_of_the_box_in_onnx_and_int8(tmp_path, name):
    from scorefield.checkpoints import facts
    from scorefield.data import open_data

    about, model = facts(name), sf.load(name)
    done = export.export(model, tmp_path, how=about["sampling"], shape=(1, 28, 28), scaling=about["scaling"])
    assert done.equality.typical < 1e-4
    made = export.compact(model, tmp_path, how=about["sampling"], data=open_data("digits"), samples=1000)
    assert made.quality.ratio <= 1.2
    assert made.quality.before.size >= 3 * made.quality.after.size


@pytest.mark.slow
def test_all_backends_are_timed_by_the_command(tmp_path):
    # In a process of its own: torch cannot compile the checks of types that these tests put around every function.
    for words in ("export digits-fast --to int8", "bench digits-fast --rows 4 --seconds 2"):
        program = "from scorefield.cli import main; main()"
        subprocess.run([sys.executable, "-c", program, *words.split()], cwd=tmp_path, check=True, capture_output=True)
    cells = json.loads((tmp_path / "runs/box/digits-fast/bench/bench.json").read_text())["cells"]
    found = {cell["backend"]: cell["timing"]["p50"] for cell in cells}
    assert set(found) == set(bench.BACKENDS)
    assert found["onnx"] < found["eager"]
