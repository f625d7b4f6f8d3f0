# The commands of this project. `make digits` is the main one: from a fresh clone to new digits.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/digits
DONE := $(VENV)/.done
OF_A_RUN := benchmarks/few_steps.py benchmarks/restoration.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: digits test test-browser test-all bench docs lint clean

digits: $(DONE)  ## learn the score of handwritten digits and draw new ones, in runs/digits
	$(BIN)/scorefield train digits --out $(RUN) $(if $(wildcard $(RUN)/run.json),--resume)

test: $(DONE)  ## what proves the mathematics, in minutes
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" \
		--doctest-modules --doctest-glob=README.md tests src/scorefield README.md

test-browser: $(DONE)  ## the explorer's pages in a real Chromium, which must be installed
	$(BIN)/pip install -q -c constraints.txt -e '.[browser]'
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

test-all: $(DONE)  ## also what takes minutes rather than seconds; which lines of the package were run
	$(BIN)/pip install -q -c constraints.txt -e '.[ray]' einops
	$(BIN)/pip install -q -c constraints.txt --no-deps azula
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 \
		--doctest-modules --doctest-glob=README.md --cov=scorefield --cov-report=term --cov-fail-under=95 \
		tests src/scorefield README.md

bench: $(DONE)  ## side by side with peers, in one run; some need `make digits` first
	$(BIN)/pip install -q -c constraints.txt -e '.[all,bench]'
	$(BIN)/pip install -q -c constraints.txt --no-deps azula k-diffusion torchsde torchdiffeq trampoline
	for file in $(filter-out $(OF_A_RUN),$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done
	for file in $(OF_A_RUN) benchmarks/samplers.py; do echo "== $$file $(RUN)"; $(BIN)/python $$file $(RUN) || exit 1; done

docs: $(DONE)  ## the site, strictly, in site/
	$(BIN)/mkdocs build --strict

lint: $(DONE)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove what the commands above made; runs/ stays
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

# Build requirements are pinned by PIP_CONSTRAINT too, which -c alone would not do.
$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install -q -e '.[all,docs,test]'
	touch $@
