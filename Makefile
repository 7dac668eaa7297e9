# What people do with this repository; `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup run test aimock check format lock bench-append bench-path bench-project bench-recovery bench-loading bench-api bench-evaluate bench-models faults-models eval-plans golden faults clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## Make .venv with everything, from requirements.lock

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Vigil needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 run"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
		{ echo "Python's venv module is not whole; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing what requirements.lock lists (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: setup ## Set up and see Vigil work on recorded data
	@$(BIN)/vigil up --demo

test: setup ## Prove it: every test, against real servers started for them
	@$(BIN)/python -m pytest -n auto

aimock: .venv/aimock/ready ## Install a stand-in of AI providers that somebody else wrote (npm), for the tests that use it

.venv/aimock/ready: tests/aimock/package.json tests/aimock/package-lock.json | setup
	@mkdir -p $(@D) && cp $^ $(@D)
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

check: setup ## Lint, types, architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports

format: setup ## Format and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Resolve pyproject.toml anew into requirements.lock (names, versions, hashes)
	@$(BIN)/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--output-file requirements.lock pyproject.toml

bench-append: setup ## Events appended a second, against the eventsourcing library and pgbench
	@$(BIN)/python -m benchmarks.append
	@$(BIN)/python -m benchmarks.append_beside

bench-path: setup ## From append to readable, at 1,000 events a second
	@$(BIN)/python -m benchmarks.path

bench-project: setup ## Live projection, and a rebuild of 1,000,000 events
	@$(BIN)/python -m benchmarks.project
	@$(BIN)/python -m benchmarks.project --rebuild 1000000

golden: setup ## Record new versions of stored events for every program to come (tests/golden)
	@$(BIN)/python -m tests.golden.record

bench-loading: setup ## Loading a stream of 10, 1,000 and 20,000 events, with snapshots and without
	@$(BIN)/python -m benchmarks.loading

bench-evaluate: setup ## Evaluations a second, 100,000 monitors due at once, and how soon one starts
	@$(BIN)/python -m benchmarks.evaluate
	@$(BIN)/python -m benchmarks.schedule
	@$(BIN)/python -m benchmarks.starting

bench-api: setup ## Reads and writes of the monitor API, with 100 people at once
	@$(BIN)/python -m benchmarks.api

bench-models: setup ## Evaluations a second with a slow model, and what the layer adds to a call
	@$(BIN)/python -m benchmarks.models

bench-recovery: setup ## Take-over after kill -9 of a projector, and after FLUSHALL
	@$(BIN)/python -m benchmarks.recovery

faults: setup ## Break Vigil on purpose and see that what must hold holds; SEED=1 N=20
	@$(BIN)/python -m faults --seed $(or $(SEED),1) --seeds $(or $(N),20) $(if $(JSON),--json)
	@$(if $(JSON),,$(BIN)/python -m pytest -q tests/faults/test_database_faults.py tests/faults/test_lost_commit.py tests/faults/test_slow_links.py tests/workers/test_jumping_clocks.py)

faults-models: setup ## 1,000 evaluations with one provider broken, then with both (rows 23 to 26)
	@$(BIN)/python -m faults.models --monitors 250 --rounds 4

eval-plans: setup ## How well models compile prompts into plans (a report; needs a key, costs cents); ABOUT=price
	@$(BIN)/python -m evals.plans $(if $(ABOUT),--about $(ABOUT)) $(if $(JSON),--json)

clean: ## Remove what was built and run here, with all data in .vigil and .vigil-*
	rm -rf .venv .vigil .vigil-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
