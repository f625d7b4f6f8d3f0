"""One new sampler, objective and noise: one file and one import line each. Laws, documentation and command line find them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SAMPLER = '''
"""The trapezoidal rule for dy/du = y − x̂, with u = log σ/α and y = x/α."""

import math
from dataclasses import dataclass

from ..models import Denoiser
from .base import Sampler
from .flow import drift, ends


@dataclass(frozen=True)
class Trapezoid(Sampler):
    """The mean of the slopes at both ends, in the logarithm of the noise level: order 2, two evaluations."""

    order = 2
    evaluations = 2

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = around = ends(model, t, s)
        if sigma_s == 0:
            return drift(x, denoised, around), denoised
        h = math.log(sigma_s / alpha_s * alpha_t / sigma_t)
        y = x / alpha_t
        first = y - denoised
        ahead = y + h * first
        second = ahead - model(alpha_s * ahead, s, **cond)
        return alpha_s * (y + h / 2 * (first + second)), denoised
'''

OBJECTIVE = '''
"""Denoising with each noise and its opposite."""

from dataclasses import dataclass

from ..models import Score
from ..tensors import normal, sum_event
from .base import Objective


@dataclass(frozen=True)
class Antithetic(Objective):
    """½|s(x ± σz) ± z/σ|², averaged over the signs: the odd part of the variance cancels."""

    sigma: float = 0.7

    def __call__(self, model: Score, x, generator=None, **cond):
        z = normal(x, generator)
        return sum(0.25 * sum_event((model(x + v, **cond) + v / self.sigma**2) ** 2) for v in (self.sigma * z, -self.sigma * z))
'''

NOISE = '''
"""A noise whose signal fades like a parabola."""

from dataclasses import dataclass

from .base import Gaussian


@dataclass(frozen=True)
class Parabola(Gaussian):
    """α = 1 − 0.998 t², σ = 2t."""

    def scales(self, t):
        return 1 - 0.998 * t**2, 2 * t
'''

NEW = {"samplers": ("trapezoid", SAMPLER), "objectives": ("antithetic", OBJECTIVE), "noises": ("parabola", NOISE)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with three more files, and one more import line in each of three packages."""
    place = tmp_path_factory.mktemp("copy")
    leave = shutil.ignore_patterns("__pycache__")
    for part in ("src/scorefield", "tests/laws"):
        shutil.copytree(ROOT / part, place / part, ignore=leave)
    (place / "docs").mkdir()
    for name in ("docs/tables.py", "tests/conftest.py", "pyproject.toml"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, place / name)
    for package, (module, code) in NEW.items():
        folder = place / "src" / "scorefield" / package
        (folder / f"{module}.py").write_text(code.lstrip(), encoding="utf-8")
        with (folder / "__init__.py").open("a", encoding="utf-8") as file:
            file.write(f"from .{module} import {module.title()}; __all__ += [{module.title()!r}]\n")
    return place


def python(place, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(place / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment = {name: value for name, value in environment.items() if not name.startswith(("PYTEST", "COV_CORE"))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


def test_the_laws_take_them_up_without_being_told(copy):
    chosen = "Trapezoid and karras and (Cosine or Parabola) or Antithetic or test_noise and Parabola"
    done = python(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/laws/test_laws.py", "-k", chosen)
    passed = re.findall(r"::(\w+)\[(.*)\] PASSED", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    names = " ".join(f"{test}:{parameters}" for test, parameters in passed)
    assert "test_noise:Parabola()" in names
    assert "test_objective:Antithetic(sigma=0.7)" in names
    # On a noise that was there, and on the new one.
    assert sum("Trapezoid()" in parameters for _, parameters in passed) == 2


def test_a_wrong_one_does_not_pass(copy):
    path = copy / "src" / "scorefield" / "objectives" / "antithetic.py"
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace("+ v / self", "- v / self"), encoding="utf-8")
    try:
        code = "from scorefield import laws, objectives; laws.check(objectives.Antithetic())"
        done = python(copy, "-c", code)
    finally:
        path.write_text(right, encoding="utf-8")
    assert done.returncode == 1
    assert "LawError: Antithetic(sigma=0.7): dL(c s*)/dc = 0 at c = 1" in done.stderr


def test_the_tables_of_the_documentation_list_them(copy):
    done = python(copy, "docs/tables.py", "samplers", "objectives", "noises")
    assert done.returncode == 0, done.stderr
    assert "| `sf.samplers.Trapezoid` | 2 | 2 | The mean of the slopes at both ends" in done.stdout
    assert "`sf.objectives.Antithetic`" in done.stdout
    assert "`sf.noises.Parabola`" in done.stdout


def test_the_command_line_knows_the_sampler(copy):
    code = "from scorefield.cli import main; main(['sample', '--help'])"
    assert re.search(r"Samplers:.*\bTrapezoid\b", " ".join(python(copy, "-c", code).stdout.split()))
    code = "from scorefield.cli.named import sampler; print(sampler('trapezoid'))"
    assert python(copy, "-c", code).stdout.strip() == "Trapezoid()"
