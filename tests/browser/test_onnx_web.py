"""An exported walk in a browser: onnxruntime-web draws in Chromium what `scorefield.sample` draws."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading

import numpy as np
import pytest
import torch

from conftest import patient
from scorefield import export, load
from scorefield.checkpoints import facts
from scorefield.export.graph import in_float32

pytest.importorskip("onnx")
PACKAGE = "onnxruntime-web@1.30.0"
PAGE = "<!doctype html><meta charset=utf-8><title>ONNX</title><link rel=icon href=data:,><p>ready"
DRAW = """async ([path, noise, shape, label]) => {
    const ort = await import("/dist/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/dist/";
    const floats = new Float32Array(Uint8Array.from(atob(noise), (c) => c.charCodeAt(0)).buffer);
    const graph = await ort.InferenceSession.create(path, { executionProviders: ["wasm"] });
    const given = { noise: new ort.Tensor("float32", floats, shape) };
    if (label) given.label = new ort.Tensor("int64", BigInt64Array.from(label.map(BigInt)), [label.length]);
    const start = performance.now();
    const { samples } = await graph.run(given);
    return { dims: samples.dims, data: Array.from(samples.data), ms: performance.now() - start };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with onnxruntime-web and a page, and its address on the loopback."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: onnxruntime-web cannot be fetched")
    folder = tmp_path_factory.mktemp("web")
    command = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--fetch-retries=1",
        "--fetch-timeout=30000",
        "--prefix",
        str(folder),
        PACKAGE,
    ]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not fetch {PACKAGE} in 240 s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm could not fetch {PACKAGE}: {error.stderr.strip()[:200]}")
    (folder / "dist").symlink_to(folder / "node_modules" / "onnxruntime-web" / "dist")
    (folder / "index.html").write_text(PAGE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://{server.server_address[0]}:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["digits-fast", "moons"])
def test_the_browser_draws_the_same_samples(name, site, chromium):
    folder, address = site
    about, model, n = facts(name), load(name), 3
    how, shape = about["sampling"], tuple(about["data"]["shape"])
    export.export(model, folder / name, how=how, shape=shape, scaling=about["scaling"])
    count = export.about(folder / name / "sampler.onnx")["draws"]
    noise = export.draws(count, shape, 11, range(n)).numpy()
    labels = how.labels(n, 11).tolist() if how.classes else None
    page = patient(chromium.new_context()).new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:")) or wrong.append(asked.url))
    page.goto(address)
    given = [f"/{name}/sampler.onnx", base64.b64encode(noise.tobytes()).decode(), list(noise.shape), labels]
    found = page.evaluate(DRAW, given)
    page.context.close()
    drawn = torch.from_numpy(np.array(found["data"], dtype=np.float32)).reshape(found["dims"])
    wanted = how.sample(in_float32(model), n, shape=shape, seed=11)
    assert float((about["scaling"].to_model(drawn) - wanted).abs().max()) < 1e-4
    assert wrong == []
