"""Requests made up from the OpenAPI document, right ones and wrong ones: no server error, and no answer but what the document declares.

A body of the right form may still hold what cannot be: bytes in base64 that are no picture, a mask that sees nothing. Such a body is
answered 422, so the check that whatever fits the schema is accepted is left out.
"""

import re
import subprocess
import sys
from collections import Counter
from functools import partial

import pytest
from serving import bell, images, serving

LEFT_OUT = "positive_data_acceptance"


def fuzzed(server, tmp_path, examples, *more):
    """(test cases, requests by status) of schemathesis over the whole API, which must find nothing."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{server.address}/openapi.json",
        "--max-examples",
        examples,
    ]
    command += [
        "--exclude-checks",
        LEFT_OUT,
        "--seed",
        5,
        "--no-color",
        "--request-timeout",
        600,
        "--generation-database",
        "none",
        *more,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    answers = Counter(line["status"] for line in server.lines if line.get("event") == "request")
    return int(re.search(r"(\d[\d,]*) generated", done.stdout)[1].replace(",", "")), answers


LIMITS = ["--workers", 1, "--threads", 1, "--max-rows", 8, "--max-steps", 20, "--max-points", 8, "--timeout", 500]
SMALL = partial(images, size=4)
# What is made and served how, how many examples of each kind, at least how many cases, and of which addresses. A density of an image
# takes half a second of a processor, so there are fewer of them, of fewer points.
RUNS = {
    "bell": (bell, [], 700, 2500, []),
    "images": (SMALL, [], 700, 2500, ["--exclude-path", "/densities"]),
    "densities": (SMALL, ["--max-points", 2], 40, 40, ["--include-path", "/densities", "--phases", "examples,fuzzing"]),
}


def test_two_hundred_made_up_requests_find_nothing(tmp_path):
    with serving(bell(tmp_path / "run"), *LIMITS) as server:
        cases, answers = fuzzed(server, tmp_path, 80, "--phases", "examples,fuzzing")
    assert cases >= 200
    assert answers[200] > 20
    assert answers[422] > 20
    assert answers[500] == 0


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_thousands_of_made_up_requests_find_nothing(run, tmp_path):
    make, how, examples, least, words = RUNS[run]
    with serving(make(tmp_path / "run"), *LIMITS, *how) as server:
        cases, answers = fuzzed(server, tmp_path, examples, *words)
        print(f"{cases} cases: {dict(answers)}")
        assert [line for line in server.lines if line["event"] == "worker restarts"] == []
    assert cases >= least
    assert answers[200] > least / 13
    assert answers[500] == 0
