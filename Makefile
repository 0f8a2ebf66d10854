# `make help` lists the targets. Everything runs in .venv, which the first target that needs it creates.

PYTHON ?= python3
DATA ?= demo
SESSIONS ?= 100000
SEED ?= 1
FOLDER ?= var/data/shop
BIN := .venv/bin
# .venv is the project's own: compiled once, its modules are not compiled again by each of Airflow's processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo-data test lint format bench generate pictures screenshots lock environment environment-dev system-packages deploy-env up clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: environment ## start everything, run the pipeline on DATA (demo, cdnow, completejourney, or a folder with a sources.yaml), show the dashboards; ONCE=1 stops when it is done
	@exec $(BIN)/python -m include.launch --data "$(DATA)" $(if $(filter 1 true yes,$(ONCE)),--once)

demo-data: environment ## write a simulated shop with known truth into FOLDER: SESSIONS (1000 to 100 million), SEED
	@exec $(BIN)/python -m include.datasets.shop --sessions "$(SESSIONS)" --seed "$(SEED)" --folder "$(FOLDER)"

test: environment-dev system-packages lint ## lint, types and every test, on real servers
	$(BIN)/python -m pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder $(TESTS)

lint: environment-dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: environment-dev ## put the code into the house's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: environment-dev ## measure beside peers, write docs/benchmarks.md; SIZES=100k,1m,10m ONLY=bulk,analyses
	@$(BIN)/python -m benchmarks$(if $(SIZES), --sizes "$(SIZES)")$(if $(ONLY), --only "$(ONLY)")

generate: environment-dev ## write the generated files again: suites, docs/metrics.md, docs/configuration.md
	$(BIN)/python -m include.generate

pictures: environment-dev ## write docs/what-the-data-say.md and the pictures of analyses again, on real data and a simulated shop
	$(BIN)/python -m include.datasets.what_the_data_say

screenshots: environment-dev system-packages ## take pictures of every dashboard on DATASETS (all three), those of the documentation among them
	@$(BIN)/python -m include.launch.screenshots$(if $(DATASETS), --data "$(DATASETS)")

lock: environment-dev ## pin requirements.txt and requirements-dev.txt in the lock files
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" requirements.txt -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" -c requirements.lock deploy/requirements.txt -o deploy/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" -c requirements.lock requirements-dev.txt -o requirements-dev.lock

environment:
	@$(PYTHON) include/launch/bootstrap.py requirements.lock

environment-dev:
	@$(PYTHON) include/launch/bootstrap.py requirements.lock requirements-dev.lock

system-packages: ## install what the tests need from the system: Chromium, a Java runtime, Redis
	@.ci/system-packages

deploy-env: ## write .env with new secrets for docker-compose.yaml; one that is there is kept
	@$(PYTHON) deploy/generate_env.py

up: ## build the image and start the stack of docker-compose.yaml (docs/deploy.md)
	@test -f .env || $(PYTHON) deploy/generate_env.py
	docker compose up --build --detach --wait

clean: ## delete what `make run` wrote; the environment stays
	rm -rf var
