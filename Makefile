# Everything lives in .venv; PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=

.PHONY: demo test test-on format bench soak lock clean

demo: $(VENV)/run
	@exec $(BIN)/tallystick demo $(DEMO)

test: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

# Which tests were passed on the bundled PostgreSQL and say little new on another: they look at input, texts, commands and doors, whose
# statements the rooms' own tests send to each of them, or kill and wait for long.
SAME = kit docs camt053 calendars berka_reader berka_chain protocol commands closing_doors sdk_% cron bench tlog_% record_docs \
       http_% cli_% client_% approval_doors guides_% policy_rules policy_cases gate_only_way work_docs webhooks \
       crash work_soak work_kills worker_faults record_stress ledger_stress berka_import verify_record verify_meaning \
       identity_in_bodies erasure_doors
ALL := $(patsubst tests/test_%.py,%,$(wildcard tests/test_*.py))

# The tests on another PostgreSQL: make test-on PG=/usr/lib/postgresql/15/bin; all of them with SAME=
test-on: $(VENV)/dev
	TALLYSTICK_TEST_PG=$(PG) $(BIN)/pytest $(patsubst %,--ignore=tests/test_%.py,$(filter $(SAME),$(ALL))) $(if $(SAME),--ignore=tests/security)

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The ledger against pgbench, and over HTTP against two peers; tasks against two other queues; the gate. Takes half an hour.
bench: $(VENV)/dev
	$(BIN)/python -m bench.ledger
	$(BIN)/python -m bench.work
	$(BIN)/python -m bench.gate

# Fifty clients for thirty seconds while everything is killed.
soak: $(VENV)/dev
	TALLYSTICK_SOAK_S=60 $(BIN)/pytest -n 0 -s tests/test_crash.py tests/test_ledger_stress.py
	TALLYSTICK_WORK_SOAK_S=60 TALLYSTICK_WORK_SOAK_TASKS=2000 $(BIN)/pytest -n 0 -s tests/test_work_soak.py
	TALLYSTICK_MODEL_STEPS=10000 $(BIN)/pytest tests/test_ledger_machine.py
	TALLYSTICK_WORK_STEPS=12000 TALLYSTICK_WORK_CALLS=1000 $(BIN)/pytest tests/test_work_machine.py tests/test_work_stress.py

# Run after changing the dependencies in pyproject.toml.
lock: $(VENV)/dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --quiet --upgrade --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra build --extra dev --extra bench --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --quiet --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Tallystick into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.lock
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
