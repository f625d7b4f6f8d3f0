"""Models in the box: what is stored is what is loaded, cards say what reports say, and nothing is written there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield import box, files, plots
from scorefield.checkpoints import copy, facts, load, read_log
from scorefield.cli import main
from scorefield.data import prepare
from scorefield.errors import DamagedError, DataError, RangeError, RunError
from scorefield.metrics import median_distance, mmd
from scorefield.recipes.card import card, command
from scorefield.recipes.fidelity import fidelity
from scorefield.recipes.find import find
from scorefield.tensors import Streams, normal

ROOT = Path(__file__).parents[2]
NAMES = ("digits", "digits-fast", "moons", "rings")
FIELDS = {"moons": sf.data.moons, "rings": sf.data.rings}
MOONS = [[1.4469955, -0.8612897], [1.6545814, -0.6607304]]
RINGS = [[0.9787905, -0.9155446], [1.2052699, -0.4887968]]


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCOREFIELD_TRACEBACK", raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        seen = capsys.readouterr()
        return stop.value.code or 0, seen.out, " ".join(seen.err.split())

    return run


def snapshot():
    """Every file of the box, with its size and the time of its last change."""
    return {
        p: (p.stat().st_size, p.stat().st_mtime_ns)
        for p in Path(box.__file__).parent.rglob("*")
        if "__pycache__" not in p.parts
    }


def draw(name, n, seed=0):
    how = facts(name)["sampling"]
    return how.sample(load(name), n, shape=tuple(facts(name)["data"]["shape"]), seed=seed)


# ------------------------------------------------------------------------------------------------------------ what is there


def test_the_box_is_these_models_and_each_is_small():
    assert box.names() == NAMES
    for name in NAMES:
        sizes = {path.name: path.stat().st_size for path in box.find(name).iterdir()}
        assert {"run.json", "average.safetensors", "report.json", "card.md", "samples.png", "manifest.json"} <= set(
            sizes
        )
        assert sum(sizes.values()) <= 3_000_000
        assert sizes["average.safetensors"] <= (200_000 if name in FIELDS else 2_000_000)
        assert "state" not in sizes


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_as_it_was_packed(name):
    files.check_manifest(box.find(name))


@pytest.mark.parametrize("name", NAMES)
def test_loading_gives_the_stored_numbers_as_float32(name):
    stored, state = files.read_tensors(box.find(name) / "average.safetensors"), load(name).state_dict()
    assert stored.keys() == state.keys()
    for key, kept in stored.items():
        assert kept.dtype == torch.float16
        assert state[key].dtype == torch.float32
        assert torch.equal(state[key], kept.float())
    assert all(getattr(part, "compute", None) is None for part in load(name).modules())


@pytest.mark.parametrize("name", NAMES)
def test_altered_weights_are_refused(name, tmp_path):
    shutil.copytree(box.find(name), tmp_path / name)
    weights = tmp_path / name / "average.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DamagedError, match="altered"):
        load(tmp_path / name)


def test_the_digits_are_those_of_their_pictures(tmp_path):
    """The first sixteen are the first row, up to the rounding of another machine; beside their neighbours they are far off."""
    from PIL import Image

    for name in ("digits", "digits-fast"):
        plots.sheet(draw(name, 16), tmp_path / "now.png", columns=16)
        now, then = (
            np.asarray(Image.open(p), dtype=float) for p in (tmp_path / "now.png", box.find(name) / "samples.png")
        )
        first = then[: len(now)]
        assert first.shape == now.shape
        assert float((abs(first - now) > 2).mean()) < 1e-3
        assert float(abs(first - np.roll(now, 60, axis=1)).mean()) > 20


def test_the_points_are_as_recorded():
    torch.testing.assert_close(draw("moons", 2), torch.tensor(MOONS), atol=1e-3, rtol=0)
    torch.testing.assert_close(draw("rings", 2), torch.tensor(RINGS), atol=1e-3, rtol=0)


# -------------------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_report_and_run_say(name):
    text, folder = (box.find(name) / "card.md").read_text(), box.find(name)
    assert text == card(folder, name=name, notes=(folder / "notes.md").read_text())
    measures = json.loads((folder / "report.json").read_text())["measures"]
    table = dict(re.findall(r"^\| ([\w ]+) \| (\S+)", text.split("## Evaluation")[1], re.M))
    for key, each in measures.items():
        assert float(table[key.replace("_", " ")]) == pytest.approx(each["value"], rel=6e-3, abs=1e-9)
    about = facts(name)
    assert f"`{command(find(about['recipe']), about['recipe'], about['arguments'])}`" in text
    assert f"{read_log(folder)[-1]['seconds']:,.0f} s" in text
    for section in ("## Evaluation", "## Data", "## Use", "## Limits"):
        assert section in text


def test_a_card_of_other_figures_is_seen(tmp_path):
    shutil.copytree(box.find("moons"), tmp_path / "moons")
    report = json.loads((tmp_path / "moons" / "report.json").read_text())
    report["measures"]["mmd2"]["value"] = 0.01
    (tmp_path / "moons" / "report.json").write_text(json.dumps(report))
    notes = (tmp_path / "moons" / "notes.md").read_text()
    assert card(tmp_path / "moons", name="moons", notes=notes) != (tmp_path / "moons" / "card.md").read_text()


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_draw_their_law(name):
    """MMD² to fresh data within four standard errors of nothing; of mirrored moons and wider rings it is far from that."""
    x = draw(name, 1500, seed=7)
    fresh = FIELDS[name](1500, generator=Streams(99, range(1500)))
    width = [median_distance(fresh, fresh)]
    found = mmd(x, fresh, bandwidths=width)
    assert found.value < 4 * found.error
    wrong = mmd(x * torch.tensor([1.0, -1.0]) * (1 if name == "moons" else 1.3), fresh, bandwidths=width)
    assert wrong.value > 8 * wrong.error


@pytest.mark.parametrize(("name", "share"), [("moons", 0.003), ("rings", 0.004)])
def test_few_points_lie_off_the_data_and_their_share_is_on_the_card(name, share):
    x, near = draw(name, 2000, seed=3), FIELDS[name](8000, generator=Streams(98, range(8000)))
    off = (torch.cdist(x, near).amin(1) > 0.1).double().mean()
    assert float(off) < share + 4 * (share / 2000) ** 0.5
    assert f"{1000 * share:.0f} in a thousand" in (box.find(name) / "card.md").read_text()


def test_the_student_is_as_good_as_its_default_claims():
    measures = json.loads((box.find("digits-fast") / "report.json").read_text())["measures"]
    two, teacher = measures["student_2"], measures["teacher_20"]
    assert facts("digits-fast")["sampling"].steps == 2
    assert two["value"] < 1.5 * teacher["value"]
    assert measures["student_1"]["value"] > two["value"]


# ----------------------------------------------------------------------------------------------------------------- who wins


def test_a_run_in_a_folder_of_the_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons").mkdir()
    assert load("moons").noise == sf.VP()  # an empty folder is no run
    sf.save(sf.Preconditioned(sf.MLP(2), sf.EDM()), "moons", seed=5)
    assert load("moons").noise == sf.EDM()
    assert facts("moons")["seed"] == 5
    assert box.results("moons") == Path("moons")


def test_a_name_of_neither_is_told_the_names():
    with pytest.raises(RunError, match=r"nobody: this is no run .* digits, digits-fast, moons, rings\."):
        load("nobody")
    assert box.find("nobody") is None
    assert box.find("../box/moons") is None


def test_commands_take_the_names_and_write_elsewhere(told):
    before = snapshot()
    code, out, err = told("sample", "digits-fast", "-n", "4", "--label", "7", "--steps", "1", "--seed", "3")
    assert (code, err) == (0, "")
    assert "4 samples in runs/box/digits-fast/drawn-3.png\n" in out
    assert "--label 3" in out
    assert told("sample", "moons", "-n", "4", "--sampler", "heun", "--out", "four.npy")[0] == 0
    assert np.load("four.npy").shape == (4, 2)
    code, out, err = told("evaluate", "moons", "-n", "200")
    assert code == 0, err
    assert Path("runs/box/moons/report.json").exists()
    code, _, err = told("tune", "moons", "--steps", "5")
    assert code == 2
    assert "scorefield pack moons --out" in err
    assert told("tune", box.find("moons"), "--steps", "5")[0] == 2
    assert not Path("moons").exists()
    code, _, err = told("sample", "nobody")
    assert code == 2
    assert "moons, rings" in err
    assert snapshot() == before


# ------------------------------------------------------------------------------------------------------------------ packing


def test_pack_makes_a_run_to_hand_over(told):
    copy("moons", "runs/moons", arguments=facts("moons")["arguments"] | {"rows": 400, "samples": 100})
    (Path("runs/moons") / "notes.md").write_text("Theirs.")
    Path("notes.md").write_text("My moons.\n\n## Limits\n\nAll of them.\n")
    code, out, err = told("pack", "runs/moons", "--half", "--steps", "3", "--notes", "notes.md", "--out", "mine")
    assert code == 0, err
    files.check_manifest(Path("mine"))
    assert {p.name for p in Path("mine").iterdir()} == {p.name for p in box.find("moons").iterdir()}
    for (key, a), b in zip(load("mine").state_dict().items(), load("runs/moons").state_dict().values()):
        assert torch.equal(a, b.half().float()), key
    assert facts("mine")["sampling"].steps == 3
    assert facts("mine")["arguments"] == facts("runs/moons")["arguments"]
    text = Path("mine/card.md").read_text()
    assert text.startswith("# mine\n\nMy moons.\n")
    assert text.endswith("## Limits\n\nAll of them.\n")
    assert "`scorefield train moons --rows 400 --width 96 --steps 6000 --samples 100`" in text
    assert told("tune", "mine", "--steps", "4")[0] == 0
    code, _, err = told("pack", "runs/moons", "--out", "mine")
    assert code == 2
    assert "it is there already" in err
    code, _, err = told("pack", "runs/moons", "--out", "other", "--notes", "nowhere.md")
    assert code == 2
    assert not Path("other").exists()


def test_a_copy_in_float32_is_exact_and_no_number_beyond_float16_is_lost(tmp_path):
    model = sf.Preconditioned(sf.UNet(size=8, width=8, compute=torch.bfloat16), sf.VP())
    sf.save(model, tmp_path / "a", seed=1)
    copy(tmp_path / "a", tmp_path / "b")
    for a, b in zip(model.state_dict().values(), load(tmp_path / "b").state_dict().values()):
        assert torch.equal(a, b)
    assert load(tmp_path / "b").network.compute is None
    with pytest.raises(RunError, match="holds a run already"):
        copy(tmp_path / "a", tmp_path / "b")
    with torch.no_grad():
        model.network.stem.weight.fill_(7e4)
    sf.save(model, tmp_path / "c")
    with pytest.raises(RangeError, match="65,504"):
        copy(tmp_path / "c", tmp_path / "d", half=True)


def test_the_command_of_a_card_is_the_way_back():
    arguments = {"multipliers": (1, 2, 2), "bfloat16": False, "data": "digits8", "width": 48}
    words = command(find("digits"), "digits", arguments)
    assert words == "scorefield train digits --data digits8 --multipliers 1,2,2 --no-bfloat16"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_the_box_and_nothing_else_that_is_big(wheel):
    here = Path(box.__file__).parent
    files = (p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file() and p.suffix != ".pyc")
    sizes = {each.filename: each.file_size for each in wheel.infolist()}
    found = {name for name in sizes if name.startswith("scorefield/box/")}
    assert found == {f"scorefield/box/{name}" for name in files}
    rest = {name: size for name, size in sizes.items() if name not in found}
    assert max(rest.values()) < 500_000
    assert not [name for name in rest if name.endswith((".safetensors", ".lock", ".onnx", ".pt"))]
    assert sum(sizes.values()) < 9_000_000


# ----------------------------------------------------------------------------------------------------------------- fidelity


def test_fidelity_ranks_what_is_nearer_to_real_images():
    """Stripes, across or down: as many training images are at the reference; a lost class and noise are farther away."""
    u = torch.rand(800, 2, generator=torch.Generator().manual_seed(0))
    across = torch.sin(8 * u[:, :1, None, None] + torch.arange(8.0)[:, None]).expand(800, 1, 8, 8)
    x = torch.where(u[:, 1:, None, None] < 0.5, across, across.transpose(2, 3))
    labels = (u[:, 1] < 0.5).long()
    rows = prepare(x, name="stripes", scaling=sf.data.Scaling.identity(), labels=labels, held_out=0.4)
    judged = fidelity(rows, count=len(rows.train), judge_steps=40)
    lost = rows.train[rows.labels == 0]
    real, lost, rough = (
        judged(rows.train),
        judged(lost),
        judged(rows.train + normal(rows.train, Streams(0, range(480)))),
    )
    assert real.value == pytest.approx(real.reference, rel=1e-6)
    assert lost.value > real.value + 3 * lost.error
    assert rough.value > real.value + 3 * rough.error
    with pytest.raises(DataError, match="labelled"):
        fidelity(prepare(x, name="x", scaling=sf.data.Scaling.identity()))


# --------------------------------------------------------------------------------------------------------------------- slow


@pytest.mark.slow
def test_the_command_of_the_card_makes_the_field_again(told):
    """Samples of a model trained anew and of the one in the box follow one law, as nearly as either follows the data."""
    line = re.search(r"`scorefield (train moons[^`]*)`", (box.find("moons") / "card.md").read_text())[1]
    code, _, err = told(*shlex.split(line), "--out", "again")
    assert code == 0, err
    new, old = (
        json.loads((p / "report.json").read_text())["measures"]["mmd2"] for p in (Path("again"), box.find("moons"))
    )
    assert abs(new["value"] - old["value"]) < 4 * (new["error"] ** 2 + old["error"] ** 2) ** 0.5
    x, y = draw("again", 4000, seed=1), draw("moons", 4000, seed=2)
    between = mmd(x, y, bandwidths=[median_distance(x, y)])
    assert between.value < 4 * between.error


BARE = """
import sys, time
for name in ("matplotlib", "mlxtend", "sklearn", "scipy", "pandas", "datasets", "onnx", "fastapi"):
    sys.modules[name] = None
import scorefield
from scorefield.cli import main
try:
    main(["sample", "digits", "-n", "16"])
finally:
    print(scorefield.__file__, time.process_time())
"""


@pytest.mark.slow
def test_sixteen_digits_are_there_in_five_seconds_of_what_the_wheel_holds(wheel, tmp_path):
    """Without the optional packages, in processor time: the machine may be busy with other tests."""
    wheel.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    where, seconds = done.stdout.split()[-2:]
    assert Path(where).is_relative_to(tmp_path)
    assert float(seconds) < 5
    assert (tmp_path / "runs" / "box" / "digits" / "drawn-0.png").exists()
