# Graft's commands. `make` alone lists them.
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install serve tour test check fix bench clean

help: ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: ## create .venv with everything in it (vLLM's GPU build where there is a CUDA GPU)
	@deploy/install.sh $(VENV)

serve: install ## serve the embedded base model on 127.0.0.1:8000, on real vLLM; Ctrl-C ends it
	@$(BIN)/graft serve

tour: install ## with `make serve` running: advise, tune, publish, ask and compare on the example data
	@$(BIN)/graft tour

check: install ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: check ## everything that must hold: lint, types and all tests, real vLLM included
	@OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

fix: install ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: install ## speed, beside a peer in the same run; tests/bench/README.md says what
	@$(BIN)/python -m tests.bench

clean: ## remove .venv and caches; models and jobs stay where settings say
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
