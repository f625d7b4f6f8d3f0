"""The command line: options from signatures, samplers by name, and what bad input gets."""

import json
import os
import subprocess
import sys
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

import scorefield as sf
from scorefield import samplers
from scorefield.cli import main
from scorefield.cli.named import known, sampler
from scorefield.cli.options import options, story, summary
from scorefield.errors import RangeError, UnknownNameError
from scorefield.recipes import find
from scorefield.recipes.find import names

SHORT = ("--rows", "400", "--steps", "8", "--batch", "32", "--samples", "100", "--width", "16", "--sampling-steps", "4")


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


@pytest.fixture
def trained(told):
    """A short run of moons in ``runs/moons``."""
    code, out, err = told("train", "moons", *SHORT)
    assert code == 0, err
    return Path("runs/moons")


# ---------------------------------------------------------------------------------------------------------------- options


class Colour(Enum):
    RED = "red"


def recipe(
    *,
    width: int = 48,
    rate: float | None = None,
    sizes: tuple[int, ...] = (1, 2),
    columns: list[str] | None = None,
    loud: bool = False,
    colour: Colour = Colour.RED,
    place: Path = Path("here"),
):
    """What it does,
    in ``two`` lines.

    Args:
        width: how wide,
            in metres
        columns: which, by commas

    Raises: nothing.
    """


def test_options_are_the_signature():
    found = {each.name: each for each in options(recipe)}
    assert [(n, o.kind, o.default) for n, o in found.items()] == [
        ("width", int, 48),
        ("rate", float | None, None),
        ("sizes", str, "1,2"),
        ("columns", str | None, None),
        ("loud", bool, False),
        ("colour", Colour, Colour.RED),
        ("place", Path, Path("here")),
    ]
    assert found["width"].words == "how wide, in metres"
    assert found["sizes"].read("3, 4,5") == (3, 4, 5)
    assert found["columns"].read("a,b") == ["a", "b"]
    assert found["columns"].read(None) is None
    with pytest.raises(RangeError, match="--sizes 3,x: ints separated by commas wanted"):
        found["sizes"].read("3,x")
    assert summary(recipe) == "What it does,"
    assert story(recipe) == "What it does,\nin two lines."


def test_arguments_that_no_option_can_stand_for_are_refused():
    def takes_any(**anything): ...

    def takes_out(out: int = 1): ...

    def takes_object(model: sf.MLP | None = None): ...

    for wrong, words in (
        (takes_any, "name every argument"),
        (takes_out, "rename"),
        (takes_object, "cannot be an option"),
    ):
        with pytest.raises(RangeError, match=words):
            options(wrong)


@pytest.mark.parametrize("name", names())
def test_every_recipe_explains_every_option(name):
    found = options(find(name))
    assert summary(find(name)).endswith((".", "?"))
    assert found
    assert all(len(each.words) > 4 for each in found), [each.name for each in found if len(each.words) <= 4]


# --------------------------------------------------------------------------------------------------------------- samplers


def test_samplers_are_found_by_name_whatever_the_case():
    assert sampler("HEUN") == sf.Heun()
    assert sampler(" Ancestral( eta = 0.5 ) ") == sf.Ancestral(eta=0.5)
    assert sampler("ancestral(0.25)") == sf.Ancestral(0.25)
    assert sampler("AnnealedLangevin(steps=3)") == sf.AnnealedLangevin(steps=3)
    exported = {name.lower() for name in samplers.__all__ if name not in ("Past", "Sampler", "State", "default")}
    assert set(known()) == exported


def test_a_new_sampler_appears_without_a_change_here(monkeypatch):
    class Brisk(sf.Heun):
        pass

    monkeypatch.setattr(samplers, "Brisk", Brisk, raising=False)
    monkeypatch.setattr(samplers, "__all__", [*samplers.__all__, "Brisk"])
    assert isinstance(sampler("brisk"), Brisk)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("huen", UnknownNameError, "did you mean 'Heun'"),
        ("Ancestral(eat=1)", RangeError, "does not take this"),
        ("Ancestral(eta='a')", RangeError, "does not take this eta"),
        ("Multistep(points=2.5)", RangeError, "does not take this points"),
        ("PredictorCorrector(predictor=3)", RangeError, "does not take this predictor"),
        ("Ancestral(eta=__import__('os').getcwd())", RangeError, "a name, or a name with arguments"),
        ("Ancestral(eta=1+", RangeError, "a name, or a name with arguments"),
        ("Ancestral(**{})", RangeError, "a name, or a name with arguments"),
        ("a.b", RangeError, "a name, or a name with arguments"),
        ("AnnealedLangevin(steps=0)", RangeError, "at least one"),
    ],
)
def test_other_texts_are_no_samplers(text, error, words):
    with pytest.raises(error, match=words):
        sampler(text)


# ----------------------------------------------------------------------------------------------------------------- recipes


def test_a_recipe_of_ones_own_is_found_in_its_file(tmp_path):
    for name, code in {
        "alone_x": "def anything(): ...\n",
        "same_x": "def same_x(): ...\ndef other(): ...\n",
        "many_x": "def one(): ...\ndef two(): ...\n",
        "broken_x": "1/0\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(code)
    assert find(f"{tmp_path}/alone_x.py").__name__ == "anything"
    assert find(f"{tmp_path}/same_x.py").__name__ == "same_x"
    assert find(f"{tmp_path}/many_x.py:two").__name__ == "two"
    for word, words in (
        ("many_x.py", "name one"),
        ("many_x.py:tow", "did you mean 'two'"),
        ("nowhere_x.py", "no file of that name"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            find(f"{tmp_path}/{word}")
    with pytest.raises(RangeError, match="ZeroDivisionError: division by zero"):
        find(f"{tmp_path}/broken_x.py")
    (tmp_path / "json.py").write_text("def f(): ...\n")
    with pytest.raises(RangeError, match="give the file another name"):
        find(f"{tmp_path}/json.py")


# -------------------------------------------------------------------------------------------------------------------- help


def test_help_tells_a_newcomer_what_there_is(told):
    code, out, _ = told("--version")
    assert (code, out) == (0, f"scorefield {sf.__version__}\n")
    code, out, _ = told("train", "--help")
    assert code == 0
    assert all(name in out for name in names())
    code, out, _ = told("train", "digits", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "--learning-rate <float>" in text
    assert "channels of the U-Net at its finest level [default:" in text
    assert "--bfloat16 / --no-bfloat16" in text
    code, out, _ = told("sample", "--help")
    assert "Heun" in out


# --------------------------------------------------------------------------------------------------------- sample, evaluate


def test_samples_of_a_seed_are_the_same_whatever_their_number(told, trained):
    for n in (3, 7):
        code, _, err = told("sample", trained, "--n", n, "--seed", 5, "--out", f"{n}.npy")
        assert code == 0, err
    few, many = np.load("3.npy"), np.load("7.npy")
    assert few.shape == (3, 2)
    np.testing.assert_allclose(few, many[:3], atol=1e-5)
    assert told("sample", trained, "--n", 3, "--seed", 6, "--out", "6.npy")[0] == 0
    assert np.abs(np.load("6.npy") - few).min() > 1e-4


def test_samples_in_every_form(told, trained):
    for suffix in ("npy", "npz", "csv", "png"):
        code, _, err = told("sample", trained, "--n", 5, "--sampler", "heun", "--steps", 3, "--out", f"x.{suffix}")
        assert code == 0, err
    x = np.load("x.npy")
    np.testing.assert_array_equal(np.load("x.npz")["x"], x)
    np.testing.assert_allclose(np.loadtxt("x.csv", delimiter=",", skiprows=1), x, rtol=1e-5)
    assert Path("x.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = told("sample", trained)
    assert out.splitlines()[0] == "16 samples in runs/moons/drawn-0.png"


def test_evaluating_again_gives_the_same_numbers(told, trained):
    first = json.loads((trained / "report.json").read_text())
    code, out, err = told("evaluate", trained)
    assert code == 0, err
    assert json.loads((trained / "report.json").read_text()) == first
    assert "mmd2" in out
    assert told("evaluate", trained, "--n", 150)[0] == 0
    assert json.loads((trained / "report.json").read_text()) != first


def test_evaluating_against_other_data(told, trained):
    x = np.random.default_rng(0).normal(size=(300, 2)) + 20
    np.save("far.npy", x)
    code, out, err = told("evaluate", trained, "--data", "far.npy", "--n", 200)
    assert code == 0, err
    distance = float(next(line for line in out.splitlines() if line.startswith("sliced")).split()[2])
    assert 15 < distance < 25  # the mean of far data is 20 √2 away, and a direction sees 1/√2 of it
    np.save("wide.npy", np.random.default_rng(0).normal(size=(300, 3)))
    code, _, err = told("evaluate", trained, "--data", "wide.npy")
    assert code == 2
    assert "events of shape (3,); the run's are (2,)" in err


# ------------------------------------------------------------------------------------------------------------------ errors


def write(path, text):
    Path(path).write_text(text)


def rows(n, odd=None):
    lines = ["a,b", *(f"{k},{k * k}" for k in range(n))]
    if odd is not None:
        lines[odd[0]] = odd[1]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "digts"), "recipe 'digts' is not known: did you mean 'digits'?"),
        (("train", "moons", "--widht", "3"), "--width"),
        (("train", "moons", "--width", "much"), "Invalid value for '--width'"),
        (("trian", "moons"), "train"),
        (("train", "mine.py"), "no file of that name"),
        (("train", "moons", "--steps", "0"), "steps must be at least 1"),
        (("train", "moons", "--batch", "0"), "batch must be at least 1"),
        (("train", "moons", "--width", "0"), "width"),
        (("train", "moons", "--learning-rate", "-1"), "learning_rate must be positive"),
        (("train", "moons", "--noise", "-1"), "noise must be at least 0"),
        (("train", "moons", "--rows", "1"), "row"),
        (("train", "moons", "--samples", "3"), "at least 100 samples"),
        (("train", "digits", "--data", "digist8"), "did you mean 'digits8'?"),
        (("train", "digits", "--sigma-max", "0"), "sigma_max must be positive"),
        (("train", "digits", "--sigma-max", "0.001"), "floor"),
        (("train", "digits", "--data", "good.csv"), "square images"),
        (("train", "digits", "--data", "sizes"), "size"),
        (("train", "table", "--data", "nowhere.csv"), "no file"),
        (("train", "table", "--data", "empty.csv"), "empty.csv"),
        (("train", "table", "--data", "nan.csv"), "row 3, column 'b'"),
        (("train", "table", "--data", "constant.csv"), "column 'b' is constant"),
        (("train", "table", "--data", "one.csv"), "one.csv"),
        (("train", "table", "--data", "text.csv"), "column 'b' holds no numbers"),
        (("train", "table", "--data", "good.csv", "--columns", "a,c"), "column 'c' is not known"),
        (("train", "table"), "--data"),
        (("train", "table", "--data", "digits8"), "rows of numbers wanted"),
        (("train", "moons", "--resume"), "this is no run"),
        (("sample", "nowhere"), "this is no run"),
        (("evaluate", "nowhere"), "this is no run"),
        (("doctor", "moonz"), "did you mean 'moons'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_gets_one_paragraph_status_2_and_no_run(told, words, message):
    write("good.csv", rows(60))
    write("empty.csv", "")
    write("nan.csv", rows(60, (3, "2,nan")))
    write("constant.csv", "a,b\n" + "".join(f"{k},7\n" for k in range(60)))
    write("one.csv", "a,b\n1,2\n")
    write("text.csv", "a,b\n" + "".join(f"{k},x\n" for k in range(60)))
    from PIL import Image

    Path("sizes").mkdir()
    for side in (8, 9):
        Image.new("L", (side, side)).save(f"sizes/{side}.png")
    before = sorted(Path().rglob("*"))
    code, out, err = told(*words)
    assert code == 2, (out, err)
    assert message in err
    assert "Traceback" not in err
    assert not out
    made = [path for path in Path().rglob("*") if path not in before]
    assert not any(path.name == "run.json" and not (path.parent / ".lock").exists() for path in made)
    assert not list(Path().rglob("*.safetensors"))


def test_what_is_wrong_with_a_run_is_said(told, trained):
    code, _, err = told("train", "moons", *SHORT)
    assert code == 2
    assert "holds a run already: continue it with --resume" in err
    code, _, err = told("train", "moons", "--resume", "--width", "32")
    assert code == 2
    assert "--width 32 with --resume: the run in runs/moons was begun with 16" in err
    code, _, err = told("train", "rings", "--resume", "--out", trained)
    assert code == 2
    assert "the recipe moons made it, not rings" in err
    code, _, err = told("sample", trained, "--out", "x.jpg")
    assert code == 2
    assert "suffix '.jpg'" in err
    code, _, err = told("sample", trained, "--sampler", "huen", "--out", "x.npy")
    assert code == 2
    assert "did you mean 'Heun'" in err
    code, _, err = told("sample", trained, "--n", "0", "--out", "x.npy")
    assert code == 2
    assert not Path("x.npy").exists()
    text = (trained / "run.json").read_text()
    (trained / "run.json").write_text(text.replace('"format": 1', '"format": 99'))
    code, _, err = told("sample", trained)
    assert code == 2
    assert "altered" in err
    (trained / "run.json").write_text(text)
    weights = trained / "average.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, _, err = told("sample", trained)
    assert code == 2
    assert "average.safetensors was truncated or altered" in err


def test_a_locked_run_and_a_damaged_state(told, trained):
    from scorefield.checkpoints import Run

    with Run.open(trained):
        code, _, err = told("train", "moons", "--resume")
        assert code == 2
        assert "a running training holds it" in err
    newest = sorted((trained / "state").iterdir())[-1] / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8])
    code, _, err = told("train", "moons", "--resume")
    assert code == 2
    assert "weights.safetensors was truncated or altered" in err
    assert "--resume --previous" in err
    code, _, err = told("train", "moons", "--previous")
    assert code == 0, err


def test_the_traceback_is_there_for_those_who_ask(told, monkeypatch):
    monkeypatch.setenv("SCOREFIELD_TRACEBACK", "1")
    with pytest.raises(UnknownNameError):
        main(["train", "digts"])


def test_doctor_on_data_recipe_and_run(told, trained):
    code, out, err = told("doctor", "digits8")
    assert code == 0, err
    assert "distances" in out
    code, out, err = told("doctor", "moons", "--rows", "400")
    assert code == 0, err
    assert "noise" in out
    before = len(out.splitlines())
    code, out, err = told("doctor", trained)
    assert code == 0, err
    assert len(out.splitlines()) > before


@pytest.mark.skipif("ncsn" not in names(), reason="the recipe ncsn")
def test_doctor_warns_of_the_copied_ladder_before_anyone_trains_it(told):
    ladder = ("--sigma-max", "0.1", "--sigma-min", "0.00126", "--levels", "20")
    code, out, err = told("doctor", "ncsn", *ladder)
    assert code == 0, err
    assert "[bad" in out
    assert not Path("runs").exists()


def test_a_full_disk_ends_with_status_1_and_whole_files(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    code = limit + "from scorefield.cli import main; main()"
    words = ["train", "moons", *SHORT, "--width", "96", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not [path for path in tmp_path.rglob("*") if "writing" in path.name]
