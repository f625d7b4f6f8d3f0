"""The notebook runs from top to bottom on a few steps, and its outputs are committed."""

import base64
import io

import nbformat
import numpy as np
import pages

NOTEBOOK = pages.ROOT / "docs" / "notebooks" / "digits.ipynb"


def pictures(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield base64.b64decode(output["data"]["image/png"])


def spread(png):
    from PIL import Image

    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float).std())


def test_the_notebook_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("SCOREFIELD_STEPS", "6")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    pages.execute(notebook, tmp_path)
    drawn = list(pictures(notebook))
    assert len(drawn) == 5
    assert all(spread(png) > 5 for png in drawn)  # not an empty figure


def test_it_is_committed_with_the_outputs_of_a_real_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size <= 400_000
    assert len(list(pictures(notebook))) == 5
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
