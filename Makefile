# Everything runs from .venv, which requirements/sync lays out from the hash-locked requirements; repeating costs nothing.
PYTHON_OF_VENV := .venv/bin/python
LOCKS := $(addprefix requirements/,bootstrap.txt runtime.txt media.txt node.txt)
PAGES := agentos/pages/built/licenses.txt

.PHONY: help install up test check lint types docs bench clients clean lock

help: ## List what can be made; ARGS=… is handed on by up, test, bench and lock
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | expand -t 10

install: .venv/.runtime ## Lay out .venv with all that serving and making clips needs

up: .venv/.runtime $(PAGES) ## Start everything, stores included, and show a living system
	$(PYTHON_OF_VENV) -m agentos up --demo $(ARGS)

test: .venv/.dev $(PAGES) ## Run the tests on two processes
	$(PYTHON_OF_VENV) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types test ## Run all that must be green before anything lands

lint: .venv/.dev ## Look for wrong format, broken rules, forbidden imports, stale generated pages
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports
	.venv/bin/hadolint Dockerfile
	$(PYTHON_OF_VENV) -m agentos docs --check
	$(PYTHON_OF_VENV) -m agentos endpoints check

types: .venv/.dev ## Check every annotation, strictly
	.venv/bin/mypy

docs: .venv/.runtime ## Write the generated pages and golden files anew
	$(PYTHON_OF_VENV) -m agentos docs

bench: .venv/.dev ## Measure against the budgets
	$(PYTHON_OF_VENV) -m pytest -m benchmark -s $(ARGS) tests/benchmarks

clients: .venv/.dev tests/clients/node_modules/.package-lock.json ## Install the clients and judges from outside that the tests ask

clean: ## Remove what was installed, built and cached; data in .agentos stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	rm -rf agentos/pages/built tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: .venv/.dev ## Resolve requirements/*.in into the locks; ARGS=--upgrade for newer versions
	for name in bootstrap runtime media node dev; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$(ARGS) requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done

.venv/.runtime: requirements/sync $(LOCKS)
	requirements/sync runtime media node
	@touch $@

.venv/.dev: requirements/sync $(LOCKS) requirements/dev.txt
	requirements/sync runtime media node dev
	@touch .venv/.runtime $@

# Not fatal: everything but the pages at /graphql and /docs is there without them, and those say what is missing.
$(PAGES): requirements/pages agentos/pages/package-lock.json | .venv/.runtime
	@requirements/pages || echo "the npm registry was not reached: /graphql and /docs stay plain until it is" >&2

tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json | .venv/.dev
	requirements/npm ci --prefix tests/clients
	@touch $@
