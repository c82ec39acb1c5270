# Two commands: `make run` starts TuneDesk, `make test` runs every default test. Both do their own
# set-up in .venv. `make run ARGS="--port 8000"` passes flags on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_HOME := build/test-home

.PHONY: run test test-all test-gpu lint audit bench clean

run: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m tests.browser
	$(BIN)/python app.py --data-folder $(TEST_HOME) fetch
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-all: ARGS += -m "not gpu"
test-all: test

test-gpu: $(VENV)/.installed-dev
	TUNEDESK_TEST_GPU=1 $(BIN)/python -m pytest -m gpu

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ty check --quiet core ui app.py bench

audit: $(VENV)/.installed-dev
	.ci/audit

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench.start_up
	$(BIN)/python -m bench.starter
	$(BIN)/python -m bench.evaluation
	$(BIN)/python -m bench.load --parts clients,clicks,restarts

$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -r requirements.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) build
