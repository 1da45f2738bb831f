# `make run` and `make test` do everything on a machine with Python 3.11, git and make.

PYTHON ?= python3
VENV := .venv
MILVUS := .venv-milvus
BIN := $(VENV)/bin

.PHONY: run test lint milvus lock sbom docker-verify clean

run: $(VENV)/.can-run
	$(BIN)/mien serve

# Two processes; tests/support/scheduling.py decides which tests stay together.
test: $(VENV)/.can-test milvus
	$(BIN)/pytest -n 2

lint: $(VENV)/.can-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The server of a distributed gallery, for its tests, in a separate environment: the package pins an old client. It exists
# for few machines; without it those tests are skipped.
milvus: $(MILVUS)/.can-serve

# Resolves the dependencies of the images again; needs uv (pip install uv).
lock:
	$(PYTHON) docker/lock.py

# A bill of materials of the CPU image, with licences (CycloneDX); needs a Docker engine.
sbom:
	docker run --rm --volume /var/run/docker.sock:/var/run/docker.sock anchore/syft:v1.18.1 mien:cpu \
		--output cyclonedx-json > sbom.json

# Builds the image, runs docker-compose.yml on a Docker engine, and removes everything again.
docker-verify:
	$(PYTHON) docker/verify.py

# make bundle: from photographs to the bundle that ships.
TRAINING_INSTALLATION := $(VENV)/.can-test
MIEN := $(BIN)/mien
include bundle.mk

clean:
	rm -rf $(VENV) $(MILVUS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV) || { echo "cannot create $(VENV); on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.can-run: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[cpu]'
	touch $@

$(VENV)/.can-test: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[cpu,train,dev]'
	touch $@ $(VENV)/.can-run

$(MILVUS)/.can-serve:
	$(PYTHON) -m venv $(MILVUS)
	$(MILVUS)/bin/pip install --quiet 'milvus==2.3.5' || echo "no Milvus server for this machine" >&2
	touch $@
