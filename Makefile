# make demo    set everything up, run every notebook's demo, render reports/
# make test [TESTERS=4]    everything that CI runs, in as many processes at most
# make env | lab | lock | lint
# make grid GRID=workflow/grids/smoke.yaml [CORES=2]
# make bench [BENCH="--only read_ptb_xl"]     measure speed, render docs/speed.md; `make peers` first, to have what is beside
# make report NOTEBOOK=lead_kd PRESET=ptb_xl DATA=/path/to/ptb-xl [OUT=reports/lead_kd/mine]

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
NOTEBOOKS := $(notdir $(wildcard params/*))
GRID ?= workflow/grids/smoke.yaml
CORES ?= 2
TESTERS ?= 4
NOTEBOOK ?= lead_kd
PRESET ?= demo
.DEFAULT_GOAL := help
.PHONY: grid help env demo test lint lab report lock peers bench

help:
	@sed -n 's/^# //p' Makefile

env: .venv/.complete

# The stamp is written last: an interrupted set-up is done again.
.venv/.complete: requirements.lock pyproject.toml | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with PYTHON=..." >&2; exit 2; }
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# What the benchmarks measure beside ours, on the lock's own versions: where a peer's pins contradict them, the lock wins.
peers: .venv-peers/.complete

.venv-peers/.complete: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-peers
	$(UV) pip install --quiet --python .venv-peers/bin/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python .venv-peers/bin/python --override requirements.lock --group peers
	$(UV) pip install --quiet --python .venv-peers/bin/python --no-deps --no-build-isolation -e .
	@touch $@

bench: env
	$(BIN)/python -m benchmarks $(BENCH)

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet uv

demo: env
	@for name in $(NOTEBOOKS); do $(BIN)/python -m ecglib.run $$name --preset demo || exit $$?; done
	@$(BIN)/python -m ecglib.index reports
	@echo "Open reports/index.html in a browser."

report: env
	$(BIN)/python -m ecglib.run $(NOTEBOOK) --preset $(PRESET) $(if $(DATA),-p "data=$(DATA)") $(if $(OUT),--out $(OUT))

grid: env
	$(BIN)/python -m snakemake --cores $(CORES) --config grid=$(GRID)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m ecglib.pairing

# A file's tests share what they have trained, so that a file goes to one process.
test: lint
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses $(TESTERS) --dist loadfile

# By `python -m`, because scripts name the folder they were installed in; the path lets a kernel called python3 be this
# environment's, whatever the user's home holds. LAB="--no-browser ..." goes on to JupyterLab.
lab: env
	JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter" $(BIN)/python -m jupyterlab $(LAB) notebooks

lock: | $(UV)
	$(UV) pip compile pyproject.toml --group test --group workflow --group build --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock
	$(PYTHON) -m ecglib.environment --stamp
	$(PYTHON) -m ecglib.environment
