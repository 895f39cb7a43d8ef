# The project's commands. They make .venv by themselves, from requirements.lock; python3 (3.10 or newer), pip and git do.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST_DSPY := $(VENV)/dspy-3.3
DOCS := $(VENV)/docs

# litellm asks the network for prices unless it is told to use those it ships.
export LITELLM_LOCAL_MODEL_COST_MAP ?= True
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo quick test coverage soak oldest lint bench upstream clients docs dist lock clean
.DEFAULT_GOAL := help

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## an evolution run with DSPy, on scripted answers; LIVE=1 uses your login
	@$(BIN)/python -m examples.support_tickets $(if $(filter-out 0,$(LIVE)),--live)

quick: $(READY) ## the tests that start no process: a first verdict, within a minute
	@$(BIN)/python -m pytest -m "not processes and not live" -n 2 --dist worksteal

test: $(READY) ## the tests, on the real Claude Code CLI and scripted answers; CI=true runs a test that fails up to twice more
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=20 --durations-min=5 \
		$(if $(CI),--reruns 2 --reruns-delay 1 --rerun-show-tracebacks -raR)

coverage: $(READY) ## the tests, and which lines and branches none of them reaches (a report: no threshold)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report term --cov-report html

soak: $(READY) ## two thousand calls of every kind, at eight in flight, and ten times as many generated requests and answers
	@SOAK_CALLS=2000 $(BIN)/python -m pytest tests/test_soak.py tests/test_answers.py tests/test_fuzz.py \
		tests/test_fuzz_requests.py tests/test_system_prompts.py tests/test_wire_clouds.py tests/test_wire_generated.py

oldest: $(OLDEST_DSPY) ## what DSPy does, on the oldest DSPy that is supported
	@PYTHONPATH=$(OLDEST_DSPY) $(BIN)/python -m pytest -n 2 tests/test_dspy.py \
		tests/test_run.py::test_a_program_that_takes_model_names_takes_ours

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## what a call costs on top of the model's own time
	@$(BIN)/python benchmarks/overhead.py

upstream: ## the tests on the newest litellm, DSPy and Claude Agent SDK, in an environment of its own; PRE=1 takes pre-releases
	@$(PYTHON) tools/upstream.py $(if $(filter-out 0,$(PRE)),--pre)

clients: $(READY) ## other people's frameworks and clients, from PyPI and npm; CLIENT=instructor runs one, WRITE=1 writes docs/clients.md
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python tools/clients.py $(CLIENT) $(if $(filter-out 0,$(WRITE)),--write)

docs: $(DOCS)/.ready ## the documentation site, in site/; it needs no .venv but its own tools
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs --quiet build --strict
	@echo "Open site/index.html."

dist: $(READY) ## the source distribution and the wheel, in dist/; TAG=v1.2.3 must be pyproject.toml's version
	@version="v$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"; [ "$${TAG:-$$version}" = "$$version" ] \
		|| { echo "The tag is $$TAG, but pyproject.toml says $$version: change one of them."; exit 1; }
	@$(BIN)/python -m pip install --quiet uv
	@rm -rf dist
	$(BIN)/uv build

lock: $(READY) ## write requirements.lock from pyproject.toml, with hashes; versions change with UPGRADE=1 only, or if they must
	@$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --group dev --generate-hashes \
		$(if $(filter-out 0,$(UPGRADE)),--upgrade) --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

$(OLDEST_DSPY): $(READY)
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ 'dspy==3.3.*'

$(DOCS)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' # which knows dependency groups
	@$(DOCS)/bin/python -m pip install --quiet --group docs
	@touch $@

clean: ## remove .venv and what tools have cached here
	rm -rf $(VENV) .venv-upstream .venv-clients .coverage* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks dist site
	find litellm_claude_code litellm_claude_code_runs dspy_adapter examples tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: install it (Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@echo "Installing into $(VENV) (once for each change of requirements.lock or pyproject.toml)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
