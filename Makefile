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

.PHONY: help setup demo local test check bench nemesis schemas lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo [SCENARIO=extract] [DATA=folder] [REPORT=file] [SEED=0]   play the whole loop, report, open the board"
	@echo "make local     run everything in .learnback/ until Ctrl-C"
	@echo "make test      all tests        make check   format, lint, types, layers"
	@echo "make bench NAME=ingest [QUICK=1] [REPORT=file]   measure a published figure again"
	@echo "make nemesis [MINUTES=20] [REPORT=file] [SEED=0]   break everything at random, prove that nothing is lost"
	@echo "make schemas   export the events     make lock   pin all packages"
	@echo "TORCH=cpu with any of them spares the CUDA packages at the first set-up."

setup: .venv/.ready

demo: setup
	@$(BIN)/python -m local.demo $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(DATA),--data "$(DATA)") $(if $(REPORT),--report "$(REPORT)") $(if $(SEED),--seed $(SEED))

local: setup
	@$(BIN)/python -m local.up

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
	@for service in $(SERVICES); do echo "requirements/$$service.txt"; \
		$(COMPILE) pyproject.toml --extra $$service -c $(LOCK) -o requirements/$$service.txt || exit 1; done
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
