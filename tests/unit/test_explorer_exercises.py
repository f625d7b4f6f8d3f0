"""Exercises of the explorer: every claimed answer against what is known in closed form, and code that prints what the page shows."""

import contextlib
import io
import json
import math
import re
from pathlib import Path

import pytest
import torch

from scorefield.errors import RangeError, UnknownNameError
from scorefield.exact import Components
from scorefield.explorer import application, exercises
from scorefield.explorer.exercises import EXERCISES, Choices, Estimate, find
from scorefield.explorer.references import FACTS
from scorefield.explorer.sources import PAPERS

client = pytest.importorskip("fastapi.testclient").TestClient(application(), base_url="http://localhost")
ROOT = Path(__file__).parents[2]
SHOWN = {}


def shown(key):
    """The reveal of an exercise, once a worker."""
    if key not in SHOWN:
        SHOWN[key] = find(key).shown()
    return SHOWN[key]


def numbers(key):
    return [number.value for number in shown(key).numbers]


# The right answer (a choice's number) of each, and what is known of its numbers: value and tolerance, or bounds.
RIGHT = {
    "gaussian": (0, {0: (2.0, 1e-9), 1: (1.0, 1e-9)}),
    "between": (0, {0: (0.0, 1e-9), 1: (8 * math.tanh(0.8) - 0.4, 1e-9)}),
    "normaliser": (0, {0: (0.0, 1e-12), 1: (math.log(7), 1e-9)}),
    "weights": (0, {0: (0.0, 1e-20), 1: (0.5 * (math.log(5) + math.log(1.8)), 0.09)}),
    "divergence": (0, {0: (-8 + 64, 1e-6), 1: (-8, 1e-6)}),
    "rotation": (1, {0: (math.pi, 1e-9), 1: (0.0, 1e-9)}),
    "probes": (0, {0: (0.0, 1e-3), 1: (96.0, 1e-3)}),
    "posterior-mean": (2, {0: (math.tanh(0.1), 1e-9), 1: (1 / (1 + math.exp(-0.2)), 1e-9)}),
    "mixing": (2, {0: (0.0, 1e-9), 1: (0.5, 5 * 0.5 / math.sqrt(300))}),
    "likelihood": (1, {0: (0.0, 1e-3), 1: (-math.log(0.2 * 0.5), 1e-6)}),
    "stein": (0, {1: (2 * (1 - 1.2**2), 0.1)}),
    "product": (1, {0: (1.5, 1e-5), 2: (math.sqrt(50) / 101, 5e-3), 3: (math.sqrt(0.5), 0.06)}),
}


@pytest.mark.parametrize("key", RIGHT)
def test_the_library_finds_the_known_answer_and_its_numbers(key):
    right, known = RIGHT[key]
    assert shown(key).right == right
    for place, (value, tolerance) in known.items():
        assert abs(numbers(key)[place] - value) <= tolerance, (key, shown(key).numbers[place])


def test_estimates_come_to_what_theory_says():
    assert abs(shown("merging").right - math.sqrt(2**2 - 0.5**2)) < 1e-3
    assert abs(shown("two-scales").right - 100) < 1e-4
    assert 2 * 0.5**2 < shown("exploding").right < 2 * 0.5**2 * 1.03
    assert abs(shown("order").right - 4) < 0.5
    assert abs(numbers("order")[1] - 2) < 0.1
    gap = shown("typical").numbers[0]
    assert abs(gap.value - 50) < 5 * gap.error


def test_errors_of_learnt_scores_are_in_empty_regions_and_noise_fills_them():
    assert shown("empty").right == 1
    outside, inside, _ = numbers("empty")
    assert outside > 5 * inside
    quiet = find("empty").shown(2.5)
    assert quiet.numbers[0].value < 0.05 * outside


def test_the_best_guess_at_large_noise_is_the_mean_and_at_little_noise_the_data():
    assert shown("most-noise").right == 0
    assert find("most-noise").shown(0.02).numbers[0].value > 0.95


def test_targets_average_to_the_score_and_scatter_about_it():
    assert shown("targets").right == 1
    miss, spread, size = shown("targets").numbers
    assert miss.value < 4 * miss.error
    assert spread.value > size.value


def test_the_floor_of_the_loss_is_what_the_target_has_beyond_the_score():
    # E ½|target − s|² = ½(E|target|² − E|s|²), and E|target|² = d/σ².
    assert shown("loss-floor").right == 1
    floor = shown("loss-floor").numbers[0]
    x = exercises.scores.pair().sample(20_000, torch.Generator().manual_seed(5))
    x = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    squares = 0.5 * exercises.scores.pair().score(x, 1.0, 0.5).square().sum(1)
    error = math.hypot(floor.error, float(squares.std()) / math.sqrt(len(x)))
    assert abs(floor.value - (2 / (2 * 0.25) - float(squares.mean()))) < 5 * error


def test_langevin_with_long_steps_is_too_wide_by_what_a_recursion_says():
    assert shown("bias").right == 2
    variance = shown("bias").numbers[0]
    assert abs(variance.value - 1 / (1 - 0.25)) < 5 * variance.error


def test_the_flow_is_a_map_and_the_noisy_walk_is_not():
    assert shown("flow").right == 0
    assert numbers("flow")[0] < 1e-12 < 1 < numbers("flow")[1]


def test_the_exact_empirical_score_draws_copies_and_new_data_are_farther():
    assert shown("memory").right == 1
    near, usual = numbers("memory")
    assert near < 1e-3 < 0.05 < usual


def test_a_stein_test_does_not_see_a_missing_mode_that_mmd_sees():
    assert shown("lost-mode").right == 1
    p_value, discrepancy = shown("lost-mode").numbers
    assert p_value.value > 0.05
    assert discrepancy.value > 5 * discrepancy.error
    assert find("lost-mode").shown(0.9).right == 0, "modes that touch are not lost unseen"


def test_guidance_narrows_and_moves_and_weight_one_does_neither():
    assert shown("guidance").right == 0
    assert numbers("guidance")[0] < 0.7
    assert numbers("guidance")[1] > 0.5
    assert find("guidance").shown(1.0).numbers[0].value == 1


def test_stein_is_zero_within_its_error_only_at_the_right_width():
    own, other = shown("stein").numbers
    assert abs(own.value) < 4 * own.error
    assert abs(other.value) > 20 * other.error


def test_a_wrong_score_changes_the_answer(monkeypatch):
    true = Components.score
    monkeypatch.setattr(Components, "score", lambda self, x, alpha=1.0, sigma=0.0: -true(self, x, alpha, sigma))
    assert find("gaussian").shown().right == 2


def test_a_probe_is_exact_for_diagonals_alone():
    coupled = find("probes").shown(0.2)
    measured, _, foretold = coupled.numbers
    assert coupled.right != 0
    assert abs(measured.value - foretold.value) < 5 * measured.error


def test_every_claim_above_is_of_an_exercise_and_every_exercise_is_claimed():
    text = Path(__file__).read_text()
    for each in EXERCISES:
        assert f'"{each.key}"' in text, each.key


LONG = ("mixing", "likelihood", "exploding")
"""Exercises whose code takes longest, left to the slow tests."""


@pytest.mark.parametrize(
    "exercise",
    [pytest.param(each, marks=[pytest.mark.slow] * (each.key in LONG), id=each.key) for each in EXERCISES],
)
def test_the_code_prints_the_first_number_of_the_reveal(exercise):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(exercise.code, exercise.key, "exec"), {})
    first = numbers(exercise.key)[0]
    assert math.isclose(float(out.getvalue()), first, rel_tol=1e-5, abs_tol=1e-9), (out.getvalue(), first)
    assert exercise.code.count("\n") <= 14


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.key)
def test_questions_are_whole_and_reveals_are_small_plain_numbers(exercise):
    assert len(exercise.question) > 40
    assert exercise.question.rstrip()[-1] in "?…"
    assert exercise.dial.low <= exercise.dial.value <= exercise.dial.high
    if isinstance(exercise.answer, Choices):
        assert 2 <= len(exercise.answer.texts) <= 4
    else:
        assert isinstance(exercise.answer, Estimate)
        assert exercise.answer.low < shown(exercise.key).right < exercise.answer.high
        assert not exercise.answer.agrees(exercise.answer.low, shown(exercise.key).right), "the slider starts there"
    found = json.dumps(shown(exercise.key).plain(), allow_nan=False)
    assert len(found) < 120_000
    assert shown(exercise.key).pictures


def test_there_are_enough_and_each_has_its_own_key():
    assert len({each.key for each in EXERCISES}) == len(EXERCISES) >= 18
    assert len({each.chapter for each in EXERCISES}) == 5


def test_keys_and_dials_that_are_not_there_are_told():
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
        find("gausian")
    with pytest.raises(RangeError, match=r"standard deviation = 9; wanted 0.5 to 2"):
        find("gaussian").shown(9.0)


def test_questions_come_without_answers_and_answers_after_a_commitment():
    asked = client.get("/api/exercises").json()
    assert [each["key"] for each in asked] == [each.key for each in EXERCISES]
    assert not {"right", "why", "code", "formula"} & set(asked[0])
    wrong = client.post("/api/exercises/gaussian", json={"answer": 1}).json()
    assert (wrong["agrees"], wrong["right"]) == (False, 0)
    turned = client.post("/api/exercises/gaussian", json={"answer": 0, "value": 2.0}).json()
    assert turned["agrees"]
    assert turned["numbers"][1]["value"] == pytest.approx(1 / 4)
    assert client.post("/api/exercises/gaussian/code").json()["sources"][0]["text"] == "Hyvärinen (2005), section 3.1"


@pytest.mark.parametrize(
    ("key", "sent", "status"),
    [
        ("gaussian", {}, 422),
        ("gaussian", {"answer": 7}, 422),
        ("gaussian", {"answer": "NaN"}, 422),
        ("gaussian", {"answer": 0, "value": 1e9}, 422),
        ("nobody", {"answer": 0}, 422),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(key, sent, status):
    found = client.post(f"/api/exercises/{key}", json=sent)
    assert found.status_code == status
    assert found.json()["detail"]


def test_every_paper_is_on_the_page_of_sources_with_its_authors_year_and_title():
    page = (ROOT / "docs" / "sources.md").read_text()
    for paper in PAPERS:
        line = next((line for line in page.split("\n") if paper.title in line and f"({paper.year}" in line), None)
        assert line, paper
        assert paper.authors.split(",")[0] in line, paper
        assert paper.number in line, paper
        assert paper.number == "" or paper.address.startswith("https://")


def test_every_citation_is_of_a_listed_paper_and_names_a_place():
    for citation in [each.source for each in EXERCISES] + [each.source for each in FACTS]:
        assert citation.paper in PAPERS
        assert re.match(r"(eq\.|section|algorithm|theorem|appendix|abstract)", citation.place), str(citation)
    found = client.get("/api/sources").json()
    assert [each["year"] for each in found["papers"]] == sorted(each.year for each in PAPERS)
    assert {each["view"] for each in found["facts"]} == {"field", "point", "walk", "train", "images"}
