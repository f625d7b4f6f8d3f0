"""A run is a folder, and nothing in it is ever half-written.

    run.json              the description: model, facts (recipe, arguments, seed, data, scaling), versions
    model.safetensors     the live weights             average.safetensors   the weights to use
    state/step-00001000/  all that resuming needs, the last two kept, with a manifest of checksums
    log.jsonl             one line per record

Files are written beside their place, flushed to disk and renamed; every file carries a SHA-256 checksum, and an altered
or truncated one is refused by name. A lock keeps a second training out; it goes with the process. No pickle is read.
"""

import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import box, files
from .describe import build, describe
from .errors import DamagedError, LockedError, RangeError, RunError
from .tensors import seeded
from .training import Progress, State

FORMAT = 1
KEPT = 2
LINES = 200
Folder = str | Path


def save(model: nn.Module, folder: Folder, **facts: Any) -> None:
    """The model and what is known about it, as a run without a training: `load` is the way back.

    Facts are anything that can be described: numbers, strings, dictionaries, a scaling.

    Raises: RunError if the folder holds a run; RangeError for what cannot be described; StorageError if the folder
    cannot be written.

    >>> import tempfile
    >>> from scorefield.noises import VP
    >>> from scorefield.networks import MLP
    >>> from scorefield.models import Preconditioned
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Preconditioned(MLP(2), VP()), folder, data="moons")
    ...     load(folder).noise, facts(folder)["data"]
    (VP(beta_min=0.1, beta_max=20.0), 'moons')
    """
    with Run.create(folder, model, **facts) as run:
        run.save_weights(model.state_dict(), model.state_dict())


def load(folder: Folder, *, trust: Sequence[str] = ("scorefield",)) -> nn.Module:
    """The model of a run, or of the `box`, with its averaged weights, in eval mode.

    ``folder`` is the run's folder, or the name of a model of the box where no run of that name lies. Weights stored in half
    precision come as float32. ``trust`` names the packages whose classes may be built; see `build`.

    Raises: RunError if the folder is no run, has no weights yet, or is of another version; DamagedError with the file.

    >>> load("moons").noise
    VP(beta_min=0.1, beta_max=20.0)
    >>> load("nowhere")
    Traceback (most recent call last):
    ...
    scorefield.errors.RunError: nowhere: this is no run (it has no run.json); name the folder that training wrote, \
or a model of the box: digits, digits-fast, moons, rings.
    """
    folder = box.place(folder)
    about = _about(folder)
    path = folder / "average.safetensors"
    if not path.exists():
        raise RunError(f"run {folder}: no weights have been saved yet; continue its training with --resume.")
    with seeded(0):  # the weights that constructors draw, to be overwritten, are nobody else's randomness
        model = build(about["model"], trust)
    try:
        model.load_state_dict(files.read_tensors(path))
    except RuntimeError as error:
        raise DamagedError(f"{path}: these weights are not those of the model that run.json describes.") from error
    return model.eval()


def facts(folder: Folder, *, trust: Sequence[str] = ("scorefield",)) -> dict[str, Any]:
    """What was recorded with the run: recipe, arguments, seed, data fingerprint, scaling, and the versions it ran with.

    Raises: RunError if the folder is no run or one of another version; DamagedError if run.json was altered.

    >>> import tempfile
    >>> from torch import nn
    >>> from scorefield.networks import MLP
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(MLP(2), folder, seed=3)
    ...     facts(folder)["seed"]
    3
    """
    about = _about(box.place(folder))
    return build(about["facts"], trust) | {"versions": about["versions"]}


def read_log(folder: Folder) -> list[dict]:
    """The records of log.jsonl; a last line that a crash cut short is left out.

    >>> read_log("nowhere")
    []
    """
    path = box.place(folder) / "log.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def copy(
    folder: Folder, out: Folder, *, half: bool = False, trust: Sequence[str] = ("scorefield",), **other: Any
) -> None:
    """A run to hand over: what it is, its averaged weights and every so many lines of its log, in a new folder.

    Its network computes in the precision of its input, so that it gives the same on every machine. ``half`` rounds the weights to
    float16, 2⁻¹¹ of themselves; loading gives them back as float32. ``other`` facts replace those recorded.

    Raises: as `load`; RunError if ``out`` holds a run; RangeError for weights beyond float16; StorageError if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     copy("moons", out, half=True)
    ...     load(out).noise
    VP(beta_min=0.1, beta_max=20.0)
    """
    source, out = box.place(folder), Path(out)
    about, model = _about(source), load(source, trust=trust)
    if (out / "run.json").exists():
        raise RunError(f"{out} holds a run already; choose another folder.")
    for part in model.modules():
        if getattr(part, "compute", None) is not None:
            part.compute = None  # type: ignore[assignment]
    weights = model.state_dict()
    if half:
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
        beyond = [name for name, w in weights.items() if not bool(w.isfinite().all())]
        if beyond:
            raise RangeError(f"copy(half=True): {beyond[0]} has numbers beyond 65,504; keep float32.")
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    lines = read_log(source)
    kept = [line for k, line in enumerate(lines) if k % (len(lines) // LINES + 1) == 0 or k == len(lines) - 1]
    files.replace(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())
    files.write_tensors(out / "average.safetensors", weights)
    about["facts"]["dict"] |= describe(other)["dict"]  # type: ignore[index, call-overload]
    files.write_json(out / "run.json", about | {"model": describe(model)})


class Run:
    """A run that this process writes: locked until it is closed.

    >>> import tempfile
    >>> from torch import nn
    >>> from scorefield.networks import MLP
    >>> with tempfile.TemporaryDirectory() as folder, Run.create(folder, MLP(2), seed=0) as run:
    ...     run.load_state() is None
    True
    """

    def __init__(self, folder: Folder):
        self.folder = Path(folder)
        self._lock: Any = None

    @classmethod
    def create(cls, folder: Folder, model: nn.Module, **facts: Any) -> "Run":
        """A new run in the folder, described and locked.

        Raises: RunError if it already holds one; LockedError if another process is at work in it; RangeError for what
        cannot be described; StorageError if it cannot be written.
        """
        run = cls(folder)
        about = {"model": describe(model), "facts": describe(facts), "versions": versions()}
        with files.writing(run.folder):
            run.folder.mkdir(parents=True, exist_ok=True)
        run._acquire()
        try:
            if (run.folder / "run.json").exists():
                raise RunError(f"{run.folder} holds a run already: continue it with --resume, or choose another --out.")
            files.write_json(run.folder / "run.json", {"format": FORMAT, **about})
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, folder: Folder) -> "Run":
        """An existing run, locked, to continue it.

        Raises: RunError if the folder is no run or one of another version; LockedError if another process trains it;
        DamagedError if run.json was altered.
        """
        _about(Path(folder))
        run = cls(folder)
        run._acquire()
        return run

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def amend(self, **facts: Any) -> None:
        """Facts replaced or added in run.json, which is replaced whole. Raises: RangeError for what cannot be described."""
        about = _about(self.folder)
        about["facts"]["dict"] |= describe(facts)["dict"]  # type: ignore[index, call-overload]
        files.write_json(self.folder / "run.json", about)

    def save_weights(self, model: dict[str, Tensor], average: dict[str, Tensor]) -> None:
        """The live weights and their average, each file replaced whole."""
        files.write_tensors(self.folder / "model.safetensors", model)
        files.write_tensors(self.folder / "average.safetensors", average)

    def save_state(self, state: State) -> None:
        """All that resuming needs, as ``state/step-...``; all but the last two go. Give it to ``train(save=...)``.

        Raises: StorageError if the disk is full or read-only; what was saved before is still whole.
        """
        place = self.folder / "state" / f"step-{state.step:08d}"
        with files.replace_folder(place) as temporary:
            files.write_tensors(temporary / "weights.safetensors", state.weights)
            files.write_tensors(temporary / "average.safetensors", state.average)
            files.write_tensors(temporary / "optimizer.safetensors", state.optimizer)
            numbers = {"step": state.step, "seed": state.seed, "seconds": state.seconds, "numbers": state.numbers}
            files.write_json(temporary / "state.json", {"format": FORMAT, **numbers})
        earlier = [path for path in self._states() if path < place]
        # Later states are of a future that was given up when an earlier state was continued.
        later = [path for path in self._states() if path > place]
        for old in earlier[: 1 - KEPT] + later:
            shutil.rmtree(old, ignore_errors=True)
        self.save_weights(state.model(), state.average)

    def load_state(self, *, previous: bool = False) -> State | None:
        """The newest state, or the one before it; None if none was saved. The log is cut back to it.

        Raises: DamagedError naming the file that was truncated or altered, and the state before it; RunError if there
        is no previous one.
        """
        states = self._states()
        if not states:
            self._cut_log(0)
            return None
        if previous and len(states) < 2:
            raise RunError(f"run {self.folder}: there is no state before {states[-1].name}.")
        path = states[-2 if previous else -1]
        try:
            state = _read_state(path)
        except DamagedError as error:
            other = states[-2] if len(states) > 1 and not previous else None
            remedy = "There is no other state; its average.safetensors may still be used."
            if other is not None:
                remedy = f"Continue from {other.name} before it: load_state(previous=True), or --resume --previous."
            raise DamagedError(f"{error} {remedy}") from error
        self._cut_log(state.step)
        return state

    def log(self, record: dict) -> None:
        """Appends one line to log.jsonl."""
        path = self.folder / "log.jsonl"
        with files.writing(path), path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def record(self, progress: Iterator[Progress], *, every: int = 1) -> Iterator[Progress]:
        """The same iterator; every so many steps, and whenever there is a held-out loss, it leaves a line in the log.

        Left early, it closes the training, which then saves its state.
        """
        with closing(iter(progress)) as steps:  # type: ignore[type-var]
            for each in steps:
                line = each.record()
                if each.step % every == 0 or each.held_out is not None:
                    self.log(line)
                yield each

    def _states(self) -> list[Path]:
        return sorted((self.folder / "state").glob("step-*"))

    def _cut_log(self, step: int) -> None:
        lines = [json.dumps(record) + "\n" for record in read_log(self.folder) if record.get("step", 0) <= step]
        files.replace(self.folder / "log.jsonl", "".join(lines).encode())

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / ".lock")
        with files.writing(self.folder):
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                message = f"run {self.folder}: a running training holds it; wait for it, or stop it."
                raise LockedError(message) from error
        self._lock = lock


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on.

    >>> sorted(versions())
    ['python', 'scorefield', 'torch']
    """
    from . import __version__

    return {"scorefield": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def _about(folder: Path) -> dict:
    path = folder / "run.json"
    if not path.exists():
        raise RunError(
            f"{folder}: this is no run (it has no run.json); name the folder that training wrote, or a model of the box: "
            f"{', '.join(box.names())}."
        )
    about = files.read_json(path)
    if about.get("format") != FORMAT:
        raise RunError(
            f"run {folder}: its format is {about.get('format')!r}, this scorefield reads {FORMAT}; "
            f"use the version that wrote it ({about.get('versions', {}).get('scorefield', 'unknown')})."
        )
    return about


def _read_state(path: Path) -> State:
    files.check_manifest(path)
    numbers = files.read_json(path / "state.json")
    if numbers.get("format") != FORMAT:
        raise RunError(f"{path}: its format is {numbers.get('format')!r}, this scorefield reads {FORMAT}.")
    return State(
        step=numbers["step"],
        seed=numbers["seed"],
        seconds=numbers["seconds"],
        weights=files.read_tensors(path / "weights.safetensors"),
        average=files.read_tensors(path / "average.safetensors"),
        optimizer=files.read_tensors(path / "optimizer.safetensors"),
        numbers=numbers["numbers"],
    )
