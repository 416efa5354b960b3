# Learnback on one machine. `make demo` and `make test` set everything up by themselves.

PYTHON ?= python3
BIN := .venv/bin
LOCK := requirements/all.txt
SERVICES := collector recorder aggregator trainer evaluator predictor board
NETWORK := The first set-up downloads packages: connect, or set your proxy (HTTPS_PROXY), and run make again.
# Compiled once here, not by each process at each start: importing the trainer's libraries takes half the time.
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --no-deps --compile-bytecode
CPU_FREE := ^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --override requirements/overrides.txt

PROJECT ?= learnback
COMPOSE := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) --project-name $(PROJECT)
LEARNBACK_SECRETS ?= ./secrets
LEARNBACK_POLICY ?= $(or $(POLICY),$(if $(filter compose,$(TARGET)),./local/demo/$(if $(filter extract,$(SCENARIO)),extract,learnback).toml,./learnback.toml))
LEARNBACK_THREADS ?= $(shell echo $$((($$(nproc) + 1) / 2)))
export COMPOSE LEARNBACK_SECRETS LEARNBACK_POLICY LEARNBACK_THREADS TORCH

.PHONY: help setup demo local up down compose test test-containers check bench nemesis schemas lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo [SCENARIO=extract] [DATA=folder] [REPORT=file] [SEED=0]   play the whole loop, report, open the board"
	@echo "make local     run everything in .learnback/ until Ctrl-C"
	@echo "make up [POLICY=file]   build and start everything in containers     make down [VOLUMES=1]   stop it [and forget it]"
	@echo "make demo TARGET=compose     play the demo against the containers    make test-containers    prove them, from nothing"
	@echo "make test      all tests        make check   format, lint, types, layers"
	@echo "make bench NAME=ingest [QUICK=1] [REPORT=file]   measure a published figure again"
	@echo "make nemesis [MINUTES=20] [REPORT=file] [SEED=0]   break everything at random, prove that nothing is lost"
	@echo "make schemas   export the events     make lock   pin all packages"
	@echo "TORCH=cpu with any of them spares the CUDA packages at the first set-up."

setup: .venv/.ready

demo: setup $(if $(filter compose,$(TARGET)),up)
	@$(BIN)/python -m local.demo $(if $(TARGET),--target $(TARGET)) $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(DATA),--data "$(DATA)") $(if $(REPORT),--report "$(REPORT)") $(if $(SEED),--seed $(SEED))

local: setup
	@$(BIN)/python -m local.up

# In containers. The secrets are made once; every container reads those of its own alone, and their folder keeps others out.
up: $(addprefix $(LEARNBACK_SECRETS)/,learnback_secret postgres_password recorder_password reader_password s3_credentials) | learnback.toml
	@$(COMPOSE) build
	@$(COMPOSE) up -d
	@sh local/await_containers.sh $(COMPOSE)

down:
	@$(COMPOSE) --profile prometheus down $(if $(VOLUMES),--volumes)

compose:
	@echo "$(COMPOSE)"

learnback.toml:
	@echo "# What the loop may do: docs/operations.md, «Policy». Everything has a default." > $@

$(LEARNBACK_SECRETS)/%:
	@mkdir -p -m 700 $(@D)
	@head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > $@ && chmod 444 $@

$(LEARNBACK_SECRETS)/s3_credentials:
	@mkdir -p -m 700 $(@D)
	@printf '[default]\naws_access_key_id = learnback\naws_secret_access_key = %s\n' "$$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" > $@
	@chmod 444 $@

test-containers: setup
	@LEARNBACK_TEST_CONTAINERS=1 $(BIN)/python -m pytest -s --timeout 2400 tests/containers

test: setup
	@$(BIN)/python -m pytest $(TESTS)

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m bench $(NAME) $(if $(QUICK),--quick) $(if $(REPORT),--json "$(REPORT)")

nemesis: setup
	@$(BIN)/python -m nemesis $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REPORT),--report "$(REPORT)") $(if $(SEED),--seed $(SEED))

schemas: setup
	@$(BIN)/python -m schemas.export
	@$(BIN)/python -m cli.documents

lock: .venv/.uv
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml --all-extras -o $(LOCK)
	@for part in $(SERVICES) cli lm; do echo "requirements/$$part.txt"; \
		$(COMPILE) pyproject.toml --extra $$part -c $(LOCK) -o requirements/$$part.txt || exit 1; done
	@! grep -n "://" requirements/*.txt || { echo "A lock names an address; remove it." >&2; exit 1; }

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- set-up: each step has a stamp, so that it runs again only when what it depends on has changed -----------------

.venv/.uv: | requirements/uv.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; v >= (3, 11) or sys.exit('Learnback needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Run: make PYTHON=python3.12' % v[:2])"
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. Install its venv package (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --retries 1 --disable-pip-version-check --require-hashes -r $| || { echo "$(NETWORK)" >&2; exit 1; }
	@touch $@

.venv/.packages: $(LOCK) .venv/.uv
ifeq ($(TORCH),cpu)
	@awk '/^[^ #]/ { skip = /$(CPU_FREE)/ } !skip' $(LOCK) > .venv/cpu.txt
	@$(INSTALL) --require-hashes -r .venv/cpu.txt || { echo "$(NETWORK)" >&2; exit 1; }
	@$(INSTALL) --torch-backend cpu "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' $(LOCK))" || { echo "$(NETWORK)" >&2; exit 1; }
else
	@$(INSTALL) --require-hashes -r $(LOCK) || { echo "$(NETWORK)" >&2; exit 1; }
endif
	@touch $@

.venv/.ready: .venv/.packages pyproject.toml client/pyproject.toml
	@$(INSTALL) --quiet --no-build-isolation -e . -e client
	@$(BIN)/python -m local.cache
	@touch $@
