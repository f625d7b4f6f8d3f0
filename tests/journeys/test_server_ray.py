"""The deployment on a local Ray: two replicas give the answers of one server, and refuse what it refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from scorefield.errors import RangeError
from scorefield.server.ray import app, deployment
from scorefield.server.served import Served

SCRIPT = """
import sys
import ray
from ray import serve
from scorefield.server import Client, ServerError
from scorefield.server.ray import deployment

ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", log_to_driver=False, address="local")
serve.run(deployment("moons", replicas=2), name="moons")
import json, time
with Client("http://localhost:8000", retries=60).wait(120) as client:
    found = [client.samples(3, seed=7).x.tolist() for _ in range(6)]
    try:
        client.samples(3, label=4)
        status = 200
    except ServerError as error:
        status = error.status
    last = [state.x.tolist() for state in client.walk(3, seed=7)][-1]
print(json.dumps({"found": found, "status": status, "last": last}))
serve.shutdown()
ray.shutdown()
"""


def test_numbers_below_one_and_other_words_are_refused():
    with pytest.raises(RangeError, match="at least 1"):
        deployment("moons", replicas=0)
    with pytest.raises(RangeError, match="run="):
        app({"replicas": "2"})
    with pytest.raises(RangeError, match="run="):
        app({"run": "moons", "replica": "2"})


@pytest.mark.slow
def test_replicas_on_a_local_ray_answer_like_one_server():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"found"')))
    served = Served.open("moons")
    wanted = served.drawing.sample(served.model, 3, shape=served.shape, seed=7).numpy()
    for x in [*told["found"], told["last"]]:
        np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)
    assert told["status"] == 422
