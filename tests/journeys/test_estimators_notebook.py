"""The notebook of the estimators runs from top to bottom on a few steps, and is committed with the outputs of a real run."""

import nbformat
import pages
import pytest

NOTEBOOK = pages.ROOT / "docs" / "notebooks" / "estimators.ipynb"


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text(notebook):
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs(notebook))


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("SCOREFIELD_STEPS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    pages.execute(notebook, tmp_path)
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == 2
    assert "score matching is ahead by" in text(notebook)


def test_it_is_committed_with_the_outputs_of_a_real_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size <= 400_000
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == 2
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]


def test_the_figures_in_its_words_and_on_the_page_are_those_that_it_prints():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    page = (pages.ROOT / "docs" / "estimators.md").read_text()
    gaps = {"Gaussian mixture": "−0.04 ± 0.28", "one Gaussian": "0.56 ± 0.19", "sparse graph": "0.95 ± 0.27"}
    shown = [output.get("data", {}).get("text/plain", "") for output in outputs(notebook)]
    ahead = next(each for each in shown if "ahead by" in each)
    for name, figure in gaps.items():
        line = next(line for line in ahead.splitlines() if line.startswith(name + " "))
        assert line.split()[-2:] == figure.replace("−", "-").split(" ± ")
        assert figure in words
        assert figure in page
