# Two commands for a fresh machine with Python >= 3.11 and nothing else:
#   make quickstart   installs and runs the main job on the embedded example
#   make test         installs and runs the tests
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# Tests write and read PyTorch files on the CPU. PyPI's torch for Linux brings gigabytes of CUDA, so
# the CPU build comes from PyTorch's own index; TORCH_INDEX= (empty) asks pip's usual places only.
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: quickstart test lint

quickstart: $(VENV)/installed
	$(RUN) -m launch.quickstart --out=runs/quickstart

# The quick tests; MARKERS= (empty) runs all of them, as CI does.
MARKERS ?= not slow
test: $(VENV)/installed-torch
	$(RUN) -m pytest -n 2 --dist loadfile -m "$(MARKERS)"

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[data,report,dev]"
	touch $@

# torch first and alone, so that the other index is asked for nothing else; then what it needs.
$(VENV)/installed-torch: $(VENV)/installed
	$(RUN) -m pip install --quiet --no-deps $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)"
	$(RUN) -m pip install --quiet --editable ".[convert]"
	touch $@
