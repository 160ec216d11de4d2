# make demo    set everything up in .venv, train both parts of the demo, show what they learned
# make test    set everything up and pass lint, types, import direction and tests
# make clean   remove what make has made (runs stay)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GLASSFORMER_DATA ?= $(abspath $(wildcard ../shared/data))
export GLASSFORMER_DATA

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/glassformer demo

# Hundreds of processes read our modules: bytecode is kept, also where the environment says otherwise.
test: lint
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: $(VENV)/.installed-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		(echo "glassformer needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." && exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-development: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[development]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
