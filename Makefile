# Two commands for a fresh machine with Python >= 3.11 and nothing else:
#   make quickstart   installs and runs the main job on the embedded example
#   make test         installs and runs the tests
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: quickstart test lint

quickstart: $(VENV)/installed
	$(RUN) -m launch.quickstart --out=runs/quickstart

test: $(VENV)/installed
	$(RUN) -m pytest

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[data,report,dev]"
	touch $@
