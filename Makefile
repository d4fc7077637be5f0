# Each target sets up what it needs: a virtual environment in .venv, once.
# On Windows, or without make, see the README for the plain pip lines.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo
# Tests run in parallel, one thread each: two threads a process on two cores are many times slower.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test quick lab notebooks exercises lint format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.base  ## train a small latent diffusion model on real digits; the result is in runs/demo
	$(BIN)/ldm-edu train --out $(RUN) --resume

test: $(VENV)/.dev lint  ## run every check and test
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadscope
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=300 \
	  --nbval-sanitize-with=notebooks/sanitize.cfg notebooks

quick: $(VENV)/.dev lint  ## run the tests that take seconds
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadscope -m "not slow"

lab: $(VENV)/.lab  ## open the notebooks and exercises in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/00_welcome.ipynb

notebooks: $(VENV)/.dev  ## run every notebook and store its outputs and measured cost
	$(ONE_THREAD) $(BIN)/python notebooks/build.py

exercises: $(VENV)/.dev  ## make the learners' exercises from solutions/
	$(BIN)/python solutions/make.py

lint: $(VENV)/.dev  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## mend style where a program can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment; runs/ stays
	rm -rf $(VENV) build *.egg-info

# One environment, grown as far as a target needs; a changed pyproject.toml installs anew.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "ldm_edu needs Python 3.10 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.base: $(VENV)/.python pyproject.toml
	@echo "Installing ldm_edu (torch is large: a minute or more) ..."
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.lab: $(VENV)/.base
	@echo "Installing JupyterLab ..."
	@$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --editable '.[lab,dev]'
	@touch $@
