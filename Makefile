# Every target works on a fresh machine with Python 3.11 or newer, git and make.
#
#   make quickstart   set up and run the quickstart study
#   make test         set up and pass the tests
#   make install      set up alone; .venv/bin/trialwright works afterwards
#   make check        everything that CI runs
#   make validate     simulate the statistics engine against known truths (10 to 15 minutes on two cores)
#   make bench        run every benchmark and keep its results (up to 10 minutes each; leave the machine alone)
#   make rehearsal    run the stack of docker-compose.yml as plain processes, with a study on two nodes (root; two minutes)
#   make mlflow       browse the tracked runs on http://127.0.0.1:5000
#
# constraints.txt pins torch. Where your package index offers that release as a CUDA build only (PyPI does, for Linux)
# and the machine has no GPU, add an index with CPU builds, whose `+cpu` release pip then prefers:
#   make quickstart PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR ?= $(or $(TRIALWRIGHT_HOME),.trialwright)
MLFLOW_PORT ?= 5000
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_EXTRA_INDEX_URL

ifeq ($(strip $(PIP_EXTRA_INDEX_URL)),)
unexport PIP_EXTRA_INDEX_URL
endif

.PHONY: install quickstart test check lint types layers wheel validate bench rehearsal mlflow schema clean

install: $(VENV)/.installed

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Trialwright into $(VENV): about 1 GB of downloads, 2.5 GB on disk."
	$(BIN)/pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: install
	$(BIN)/trialwright launch examples/quickstart.yaml --home $(HOME_DIR)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint types layers wheel test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

wheel: $(VENV)/.installed-dev
	$(BIN)/python tests/smoke_wheel.py

validate: $(VENV)/.installed-dev
	$(BIN)/python -m tests.validation.long

bench: $(VENV)/.installed
	@failed=; for script in $$(grep -l '^BENCHMARK = ' benchmarks/*.py); do \
		$(BIN)/python $$script --save > /dev/null || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "These did not end:$$failed" >&2; exit 1; }

rehearsal: $(VENV)/.installed-dev
	$(BIN)/python -m deploy.rehearsal

schema: install
	$(BIN)/python -c 'import json; from study.spec import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/study.schema.json
	$(BIN)/python -c 'import json; from study.claims import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/claims.schema.json
	$(BIN)/python -c 'import json; from study.report.schema import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/report.schema.json

mlflow: install
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) \
		--backend-store-uri sqlite:///$(abspath $(HOME_DIR))/mlflow.db \
		--no-serve-artifacts --default-artifact-root $(abspath $(HOME_DIR))/mlartifacts

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
