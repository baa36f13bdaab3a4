# What one runs daily. `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup fast test check format demo ci pythons pins outdated licences image

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: ## the environment, and the checks before each commit
	uv sync
	uvx pre-commit install

fast: ## tests without servers
	uv run pytest -m "not integration"

test: ## all tests
	uv run pytest

check: ## lint, format, types, who imports whom
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports

format: ## put the code into its format
	uv run ruff format .
	uv run ruff check --fix .

demo: ## the engine against the sandbox Stripe
	uv run retry-engine demo

ci: ## all that must hold before a change lands
	.ci/run

pythons: ## fast tests on the other Pythons that are here
	.ci/other-pythons

pins: ## pin a new dependency, write requirements/
	.ci/pins.py

outdated: ## what is newer than what is pinned
	.ci/pins.py --outdated

licences: ## docs/licences.md, from what is installed
	uv run .ci/licences.py

image: ## the container
	docker build -t retry-engine .
