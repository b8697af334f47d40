# Every target works on a fresh machine with Python 3.11 or newer, git and make.
#
#   make quickstart   set up and run the quickstart study
#   make test         set up and pass the tests
#   make install      set up alone; .venv/bin/trialwright works afterwards
#   make check        everything that CI runs
#   make audit        licences and known vulnerabilities of all dependencies; build/sbom.cdx.json lists them
#   make lock         resolve the dependencies anew, with the hashes of their files
#   make validate     simulate the statistics engine against known truths (10 to 15 minutes on two cores)
#   make fuzz         fuzz everything that is parsed, each parser for SECONDS (60 unless it is said)
#   make bench        run every benchmark and keep its results (up to 10 minutes each; leave the machine alone)
#   make faults       strike studies with faults and compare each with its twin: RUNS=20 SEED=1 FAULT=driver-kill+mlflow-half
#   make load         10,000 trials in one study and 100 studies at once, MLflow away for half of it (half an hour, 12 GiB)
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
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-annotate --no-header --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --unsafe-package torch -c constraints.txt pyproject.toml -
RUNS ?= 20
SEED ?= 1
FAULT ?= singles
TIER ?= light
SECONDS ?= 60
TARGETS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_EXTRA_INDEX_URL

ifeq ($(strip $(PIP_EXTRA_INDEX_URL)),)
unexport PIP_EXTRA_INDEX_URL
endif

.PHONY: install quickstart test check lint types layers wheel audit lock validate fuzz bench faults load rehearsal mlflow schema clean

install: $(VENV)/.installed

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 2; }
	@touch $@

# Everything but torch by the hashes of the lock; torch, whose builds differ from index to index, by its pin.
$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt requirements.lock
	@echo "Installing Trialwright into $(VENV): about 1 GB of downloads, 2.5 GB on disk."
	$(BIN)/pip install --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install $(TORCH)
	$(BIN)/pip install --no-deps --no-build-isolation -e .
	$(BIN)/pip check
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

quickstart: install
	$(BIN)/trialwright launch examples/quickstart.yaml --home $(HOME_DIR)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What takes one core goes two at a time, the tests, which take both, after it.
check: $(VENV)/.installed-dev
	$(MAKE) --jobs=2 --output-sync=target lint types layers wheel audit
	$(MAKE) test

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

fuzz: $(VENV)/.installed-dev
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[fuzz]' || echo "atheris has no release for this Python." >&2
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

bench: $(VENV)/.installed
	@failed=; for script in $$(grep -l '^BENCHMARK = ' benchmarks/*.py); do \
		$(BIN)/python $$script --save > /dev/null || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "These did not end:$$failed" >&2; exit 1; }

faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults --runs $(RUNS) --seed $(SEED) --fault $(FAULT) --tier $(TIER)

load: $(VENV)/.installed-dev
	$(BIN)/python -m tests.load --save > /dev/null

rehearsal: $(VENV)/.installed-dev
	$(BIN)/python -m deploy.rehearsal

schema: install
	$(BIN)/python -c 'import json; from study.spec import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/study.schema.json
	$(BIN)/python -c 'import json; from study.claims import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/claims.schema.json
	$(BIN)/python -c 'import json; from study.report.schema import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/report.schema.json
	$(BIN)/python -c 'import json; from study.reproduction.record import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/record.schema.json
	$(BIN)/python -c 'import json; from study.reproduction.reproducing import json_schema; print(json.dumps(json_schema(), indent=2))' \
		> docs/reproduction.schema.json

lock: $(VENV)/.installed
	$(BIN)/pip install --quiet 'pip-tools>=7.5,<8'
	echo 'setuptools>=77,<85' | $(COMPILE) -o requirements.lock
	echo 'setuptools>=77,<85' | $(COMPILE) -c requirements.lock --extra dev --extra postgres --extra reasoning -o requirements-dev.lock

audit: $(VENV)/.installed-dev
	$(BIN)/python -m deploy.audit

mlflow: install
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) \
		--backend-store-uri sqlite:///$(abspath $(HOME_DIR))/mlflow.db \
		--no-serve-artifacts --default-artifact-root $(abspath $(HOME_DIR))/mlartifacts

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
