# labkit. Nothing to install but Python 3.11 or newer: `make demo` and `make test` do the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash
LOCK   := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
          --generate-hashes --no-emit-index-url --no-header
.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check bench soak images lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/dev ## Install everything into .venv

demo: $(VENV)/lab ## A cluster, a death and nothing lost (ARGS="..." are passed on)
	$(BIN)/labkit demo $(ARGS)

lab: $(VENV)/lab ## Open the notebooks, on this machine only
	$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks $(ARGS)

test: $(VENV)/dev ## Run the tests; those that need Docker run if Docker answers
	@if docker version >/dev/null 2>&1; then $(MAKE) --no-print-directory images; fi
	$(BIN)/pytest $(ARGS)

check: $(VENV)/dev ## Format, lint, types, import layers, fresh locks
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_locks.py

bench: $(VENV)/dev ## Measure, and show one table (ARGS=--peers: other queues too)
	$(BIN)/python benchmarks/run.py $(ARGS)

soak: $(VENV)/dev ## The long test: kill, freeze and restart for minutes, then count
	$(BIN)/python benchmarks/soak.py $(ARGS)

images: .env $(BIN)/python ## Make the Docker images, from Debian's packages if no registry answers
	@$(BIN)/python docker/images.py

lock: $(VENV)/dev ## Resolve requirements/*.txt again (ARGS=--upgrade for newer versions)
	$(LOCK) --extra lab --extra test --output-file requirements/dev.txt $(ARGS)
	$(LOCK) --extra lab --constraint requirements/dev.txt --output-file requirements/lab.txt
	$(LOCK) --constraint requirements/dev.txt --output-file requirements/worker.txt
	$(subst pyproject.toml,requirements/peers.in,$(LOCK)) --output-file requirements/peers.txt $(ARGS)

clean: ## Stop the containers and remove everything that can be made again
	@if docker version >/dev/null 2>&1; then \
	  docker ps -aq --filter label=labkit | xargs -r docker rm -f -v >/dev/null; \
	  docker network ls -q --filter label=labkit | xargs -r docker network rm >/dev/null; \
	  docker volume ls -q --filter label=labkit | xargs -r docker volume rm >/dev/null; \
	fi
	rm -rf $(VENV) benchmarks/.peers build runs *.egg-info .env .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What `docker-compose` reads: a stable project name and a password of this clone's own.
.env: | $(BIN)/python
	@umask 077 && $(BIN)/python -c 'import secrets; print("COMPOSE_PROJECT_NAME=labkit\nREDIS_PASSWORD=" + secrets.token_hex(16))' > $@

# An environment is installed again when its lock or the project's metadata changed.
$(VENV)/dev: requirements/dev.txt
$(VENV)/lab: requirements/lab.txt
$(VENV)/dev $(VENV)/lab: pyproject.toml | $(BIN)/python
	@echo "Installing requirements/$(@F).txt into $(VENV): a minute or two, and only when it changed"
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/$(@F).txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "labkit needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
