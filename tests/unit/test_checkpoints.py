"""Runs: what is saved comes back, what was altered is refused by name, what cannot be written leaves no trace."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch

from scorefield import checkpoints
from scorefield.checkpoints import Run, facts, load, read_log, save
from scorefield.errors import DamagedError, LockedError, RangeError, RunError, StorageError
from scorefield.files import read_tensors, replace, write_tensors
from scorefield.models import Preconditioned, clean
from scorefield.networks import MLP
from scorefield.noises import VE
from scorefield.training import State


def model_of(seed=0):
    torch.manual_seed(seed)
    model = Preconditioned(MLP(2, width=8, depth=1), VE(0.1, 5.0), clean)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def state_of(step, model=None):
    weights = {name: value + step for name, value in (model or model_of()).state_dict().items()}
    whole = {f"model.{name}": value for name, value in weights.items()}
    average = {name: -value for name, value in weights.items()}
    moments = {"0.exp_avg": torch.randn(3, 3), "0.step": torch.tensor(float(step))}
    return State(step, 7, 0.25, whole, average, moments, {"dict": {"values": 1}})


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def steps(folder):
    return sorted(path.name for path in (folder / "state").iterdir())


def test_loading_leaves_the_global_randomness_alone(tmp_path):
    save(model_of(), tmp_path / "run")
    before = torch.get_rng_state()
    load(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_model_comes_back_with_its_facts(tmp_path):
    model = model_of()
    save(model, tmp_path / "run", recipe="moons", seed=3, scaling=(0.5, float("inf")))
    back = load(tmp_path / "run")
    assert same(back.state_dict(), model.state_dict())
    assert not back.training
    assert back.noise == VE(0.1, 5.0)
    known = facts(tmp_path / "run")
    assert (known["recipe"], known["seed"], known["scaling"]) == ("moons", 3, (0.5, float("inf")))
    assert known["versions"]["torch"] == torch.__version__


def test_states_come_back_and_the_last_two_are_kept(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        assert run.load_state() is None
        states = [state_of(step) for step in (5, 10, 15)]
        for state in states:
            run.save_state(state)
    assert steps(tmp_path) == ["step-00000010", "step-00000015"]
    with Run.open(tmp_path) as run:
        for got, wanted in ((run.load_state(), states[2]), (run.load_state(previous=True), states[1])):
            assert (got.step, got.seed, got.seconds, got.numbers) == (wanted.step, 7, 0.25, wanted.numbers)
            assert same(got.weights, wanted.weights)
            assert same(got.average, wanted.average)
            assert same(got.optimizer, wanted.optimizer)
    assert same(load(tmp_path).state_dict(), states[2].average)
    assert same(read_tensors(tmp_path / "model.safetensors"), states[2].model())


def test_states_of_a_future_that_was_given_up_go(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        for step in (10, 20, 12):
            run.save_state(state_of(step))
        assert steps(tmp_path) == ["step-00000010", "step-00000012"]
        run.save_state(state_of(12))
        assert steps(tmp_path) == ["step-00000010", "step-00000012"]


def corrupt(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"truncated": content[:middle], "altered": flipped, "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "altered", "empty"])
@pytest.mark.parametrize(
    "name", ["weights.safetensors", "average.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_state_is_named_and_the_previous_one_offered(tmp_path, name, how):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        run.save_state(state_of(2))
        corrupt(tmp_path / "state" / "step-00000002" / name, how)
        with pytest.raises(DamagedError, match=rf"step-00000002/{name}.*step-00000001.*previous=True"):
            run.load_state()
        assert run.load_state(previous=True).step == 1
        run.save_state(state_of(2))
        assert run.load_state().step == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_missing_file_is_damage(tmp_path, name):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        (tmp_path / "state" / "step-00000001" / name).unlink()
        with pytest.raises(DamagedError, match=rf"{name} is missing.*no other state"):
            run.load_state()
        with pytest.raises(RunError, match="no state before"):
            run.load_state(previous=True)


@pytest.mark.parametrize("how", ["truncated", "altered", "empty"])
@pytest.mark.parametrize("name", ["average.safetensors", "run.json"])
def test_damaged_weights_and_descriptions_are_refused(tmp_path, name, how):
    save(model_of(), tmp_path)
    corrupt(tmp_path / name, how)
    with pytest.raises(DamagedError, match=name):
        load(tmp_path)


def test_tensors_renamed_in_place_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"abc": torch.ones(2), "abd": torch.zeros(2)})
    path.write_bytes(path.read_bytes().replace(b'"abc"', b'"abx"'))
    with pytest.raises(DamagedError, match="checksum"):
        read_tensors(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_come_back_bit_for_bit(tmp_path, dtype):
    tensors = {"a": torch.randn(3, 2).to(dtype), "b": torch.tensor(1).to(dtype), "c": torch.empty(0, 2).to(dtype)}
    tensors["tied"] = tensors["a"]
    write_tensors(tmp_path / "a.safetensors", tensors)
    assert same(read_tensors(tmp_path / "a.safetensors"), tensors)


def test_weights_of_another_model_are_damage(tmp_path):
    save(model_of(), tmp_path)
    write_tensors(tmp_path / "average.safetensors", {"other": torch.ones(1)})
    with pytest.raises(DamagedError, match="not those of the model"):
        load(tmp_path)


def test_no_run_other_version_and_no_weights(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="no run"):
        load(tmp_path)
    with pytest.raises(RunError, match="no run"):
        Run.open(tmp_path / "nothing")
    with Run.create(tmp_path / "new", model_of()), pytest.raises(RunError, match="no weights have been saved"):
        load(tmp_path / "new")
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    save(model_of(), tmp_path / "later")
    monkeypatch.undo()
    for reader in (load, facts, Run.open):
        with pytest.raises(RunError, match=r"format is 2, this scorefield reads 1.*0\.1"):
            reader(tmp_path / "later")


def test_a_run_is_not_overwritten(tmp_path):
    save(model_of(1), tmp_path)
    with pytest.raises(RunError, match=r"holds a run already.*--resume"):
        save(model_of(2), tmp_path)
    assert same(load(tmp_path).state_dict(), model_of(1).state_dict())


def test_what_cannot_be_described_leaves_no_folder(tmp_path):
    with pytest.raises(RangeError):
        save(model_of(), tmp_path / "run", recipe=lambda: None)
    assert not (tmp_path / "run").exists()


def test_untrusted_models_are_not_built(tmp_path):
    save(model_of(), tmp_path)
    with pytest.raises(RangeError, match="not trusted"):
        load(tmp_path, trust=("mine",))


LOCKING = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print('held', flush=True)
input()
"""


def test_a_run_in_use_is_locked_and_the_lock_goes_with_its_process(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        with pytest.raises(LockedError, match="running training"):
            Run.open(tmp_path)
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", LOCKING, str(tmp_path / ".lock")], **pipe) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match="running training"):
            Run.open(tmp_path)
        assert not load(tmp_path).training  # reading needs no lock
        other.kill()
        other.wait()
    Run.open(tmp_path).close()


@pytest.fixture
def small_disk():
    """Files may grow to a given size only, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, small_disk, size):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        before = tree(tmp_path)
        small_disk(size)
        with pytest.raises(StorageError, match=r"cannot be written.*free some space"):
            run.save_state(state_of(2))
        small_disk(resource.RLIM_INFINITY)
        assert tree(tmp_path) == before
        assert run.load_state().step == 1
        run.save_state(state_of(2))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        save(model_of(), tmp_path / "file" / "run")


def test_the_log_is_cut_back_to_the_state(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        for step in range(1, 8):
            run.log({"step": step, "loss": step / 3})
            if step == 4:
                run.save_state(state_of(step))
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"step": 8, "lo')
        assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
        run.load_state()
        assert read_log(tmp_path) == [{"step": step, "loss": step / 3} for step in range(1, 5)]
        run.log({"step": 5})
        assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
            1,
            2,
            3,
            4,
            5,
        ]


def test_the_log_of_a_run_that_begins_anew_is_empty(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        run.log({"step": 1})
        assert run.load_state() is None
        assert read_log(tmp_path) == []


def test_a_crash_before_the_rename_changes_nothing(tmp_path, monkeypatch):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        before = tree(tmp_path)
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.save_state(state_of(2))
        monkeypatch.undo()
        assert tree(tmp_path) == before


def test_a_file_is_replaced_whole_never_written_over(tmp_path):
    path = tmp_path / "a"
    replace(path, b"old")
    with path.open("rb") as reader:
        replace(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_whole_file_of_another_state_is_refused(tmp_path):
    with Run.create(tmp_path, model_of()) as run:
        run.save_state(state_of(1))
        run.save_state(state_of(2))
        first, second = sorted((tmp_path / "state").iterdir())
        (second / "weights.safetensors").write_bytes((first / "weights.safetensors").read_bytes())
        with pytest.raises(DamagedError, match=r"step-00000002/weights.safetensors was truncated or altered"):
            run.load_state()
