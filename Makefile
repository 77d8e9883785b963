# Everything a person does with this repository is one command here; `make` alone lists them.
# Needs Python 3.11+ with pip, make, git. All else is installed below the folder, from pinned and hashed lists.

PYTHON ?= python3
UV := .tools/uv/bin/uv
RUN := .venv/bin
SAM := .tools/sam/bin/sam
WORKERS ?= auto
ENV ?= default

export UV_PYTHON_DOWNLOADS := never
export SAM_CLI_TELEMETRY := 0
# Where a person's own settings would have pip, uv and Python install or look, in place of the folders below.
export PIP_USER := 0
# Without it every process would compile what it loads, each time: five seconds for the linter of templates alone.
unexport PYTHONDONTWRITEBYTECODE
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX
unexport UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIR UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_PYTHON
export PATH := $(CURDIR)/.tools/uv/bin:$(CURDIR)/.tools/sam/bin:$(PATH)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*##[[:space:]]*(.*)/  make \1\t\2/' | expand -t 20

# ---- environments ---------------------------------------------------------------------------------------------------

STACK := .venv/.ready .tools/sam/.ready .tools/ministack/.ready
SAMSOCKET := .tools/.samsocket
CLIENTS := tests/e2e/clients
TYPESCRIPT := clients/typescript
CONTRACT := contract

.PHONY: setup
setup: $(STACK) $(SAMSOCKET) $(CLIENTS)/node_modules/.ready $(TYPESCRIPT)/node_modules/.ready $(CONTRACT)/node_modules/.ready  ## install all that the other commands need

$(UV): local/requirements/uv.txt
	@echo "» uv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	@rm -rf .tools/uv && $(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$@ --version >/dev/null && touch $@

.venv/.ready: pyproject.toml uv.lock $(UV)
	@echo "» our own environment (.venv)"
	@$(UV) sync --quiet --locked --python $(PYTHON)
	@touch $@

# What samsocket would install into the user's cache folder, it finds here: each environment says what is in it.
.tools/%/.ready: samsocket/src/samsocket/environments/%.txt $(UV)
	@echo "» $* (.tools/$*)"
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/$*
	@$(UV) pip install --quiet --require-hashes --python .tools/$* -r $<
	@cp $< $@

# What its functions find, as on Lambda: boto3, and the AWS SDK for JavaScript.
$(SAMSOCKET): samsocket/src/samsocket/environments/python.txt samsocket/src/samsocket/environments/__init__.py $(STACK)
	@echo "» packages of Lambda's runtimes (.tools)"
	@SAMSOCKET_HOME=$(CURDIR)/.tools $(RUN)/samsocket setup
	@touch $@

.tools/bench/.ready .tools/checks/.ready: .tools/%/.ready: local/requirements/%.txt $(UV)
	@echo "» $* (.tools/$*)"
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/$*
	@$(UV) pip install --quiet --require-hashes --python .tools/$* -r $<
	@touch $@

$(CLIENTS)/node_modules/.ready: $(CLIENTS)/package-lock.json
	@echo "» clients for the tests ($(CLIENTS)/node_modules)"
	@cd $(CLIENTS) && npm ci --loglevel=error > /dev/null
	@touch $@

$(TYPESCRIPT)/node_modules/.ready: $(TYPESCRIPT)/package-lock.json
	@echo "» tools of the TypeScript client ($(TYPESCRIPT)/node_modules)"
	@cd $(TYPESCRIPT) && npm ci --loglevel=error > /dev/null
	@touch $@

$(CONTRACT)/node_modules/.ready: $(CONTRACT)/package-lock.json
	@echo "» AsyncAPI's parser ($(CONTRACT)/node_modules)"
	@cd $(CONTRACT) && npm ci --loglevel=error > /dev/null
	@touch $@

# ---- the embedded stack ---------------------------------------------------------------------------------------------

.PHONY: run
run: $(STACK)  ## the whole service on this machine, on ws://localhost:8080/ws; Ctrl-C ends it
	@exec $(RUN)/realtime up

.PHONY: deploy
deploy: setup  ## the service in the account and Region of your AWS credentials; ENV=prod, YES=1 asks nothing
	@find functions -name __pycache__ -type d -prune -exec rm -rf {} +  # or unchanged code makes another version
	@$(SAM) build
	@$(SAM) deploy --config-env $(ENV) --no-execute-changeset $(ARGS) > .aws-sam/changes.txt || { cat .aws-sam/changes.txt; exit 1; }
	@$(RUN)/realtime apply --env $(ENV) $(if $(YES),--yes)
	@$(RUN)/realtime verify --stack $$($(RUN)/python -c 'import sys; from operate.updating import stack_of; print(stack_of(sys.argv[1]))' $(ENV))

.PHONY: rollback
rollback: setup  ## take the last deployment back: all functions run the versions before it; ENV=prod
	@$(RUN)/realtime rollback --stack $$($(RUN)/python -c 'import sys; from operate.updating import stack_of; print(stack_of(sys.argv[1]))' $(ENV))

# ---- checks ---------------------------------------------------------------------------------------------------------

.PHONY: test
test: setup lint  ## all checks and all tests
	@$(RUN)/pytest -n $(WORKERS) --maxprocesses 4 $(ARGS)

.PHONY: model
model: setup  ## presence under 2,000 random histories, others at each run, and 500 races (make test: 80 and 25)
	@seed=$${MODEL_SEED:-$$RANDOM}; echo "» MODEL_SEED=$$seed"; \
		MODEL_SEED=$$seed MODEL_EXAMPLES=$${MODEL_EXAMPLES:-2000} RACE_ROUNDS=$${RACE_ROUNDS:-500} $(RUN)/pytest tests/model -n $(WORKERS) --maxprocesses 4 $(ARGS)

.PHONY: chaos
chaos: setup  ## runs of the fan-out in which all goes wrong that can: RUNS=200; SEED=17 repeats one
	@CHAOS_RUNS=$(or $(RUNS),200) $(RUN)/pytest -n 4 --dist worksteal -q tests/chaos $(ARGS)

.PHONY: lint
lint: setup .tools/checks/.ready  ## style, types, template (checkov too), workflows, exported requirements
	@$(RUN)/ruff check --quiet
	@$(RUN)/ruff format --check --quiet
	@$(RUN)/mypy
	@AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	@.tools/checks/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(RUN)/python -m tools.hardening
	@AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint --template samples/push/template.yaml
	@diff <($(EXPORT)) layers/realtime/requirements.txt || { echo 'layers/realtime/requirements.txt is not what uv.lock says: make lock'; exit 1; }

.PHONY: check-template
check-template: .venv/.ready  ## hold template.yaml to AWS's own rules (docs/aws-rules.md), with each set of parameters
	@$(RUN)/python -m aws_rules

.PHONY: contract
contract: .venv/.ready  ## write the schemas, the AsyncAPI document, docs/protocol.md and the clients' types anew
	@$(RUN)/python -m tools.contract

.PHONY: format
format: .venv/.ready  ## write all code in one style
	@$(RUN)/ruff check --fix-only --quiet
	@$(RUN)/ruff format --quiet

.PHONY: policies
policies: setup  ## show that each right of each function is needed (some minutes)
	@$(RUN)/pytest tests/e2e/policies.py --verbose --timeout 300 $(ARGS)

.PHONY: mutants
mutants: setup  ## change the core in small ways; show what no fast test notices (days; ARGS="--sample 260": an hour)
	@$(UV) sync --quiet --locked --python $(PYTHON) --group mutants
	@nice $(RUN)/python -m tools.mutants $(ARGS)

.PHONY: fuzz
fuzz: setup  ## give each parser of outside bytes inputs, guided by coverage, for SECONDS=60; FUZZ_INPUTS=1000000: by chance
	@$(if $(FUZZ_INPUTS),nice $(RUN)/python -m tests.fuzz --inputs $(FUZZ_INPUTS) $(ARGS),\
		$(UV) sync --quiet --locked --python $(PYTHON) --group fuzz && nice $(RUN)/python -m tests.fuzz.guided --seconds $(or $(SECONDS),60) $(ARGS))

.PHONY: screenshots
screenshots: setup  ## draw the pictures of the page in docs/ anew (needs Chromium)
	@$(RUN)/python -m tests.e2e.screenshots

.PHONY: bench
bench: setup .tools/bench/.ready  ## measure, and write bench/results.json
	@$(RUN)/python -m tests.support.costs
	@$(RUN)/python -m bench

# ---- dependencies ---------------------------------------------------------------------------------------------------

EXPORT := $(UV) export --quiet --locked --only-group layer --no-header --no-annotate

.PHONY: lock
lock: $(UV)  ## pin all dependencies anew, within the ranges of pyproject.toml and the *.in files
	@$(UV) lock --quiet --upgrade
	@$(EXPORT) > layers/realtime/requirements.txt
	@for list in local/requirements/{uv,checks,bench} samsocket/src/samsocket/environments/{sam,ministack,python,debugpy}; do \
		$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$$list.in -o $$list.txt; \
	done
	@$(UV) sync --quiet --locked --python $(PYTHON)
	@$(RUN)/python -m tools.descriptions

.PHONY: sbom
sbom: $(UV)  ## write what the layer is made of to dist/sbom.json (CycloneDX)
	@mkdir -p dist
	@$(UV) export --quiet --locked --only-group layer --format cyclonedx1.5 > dist/sbom.json
	@echo "dist/sbom.json"

.PHONY: release
release: setup  ## VERSION=0.2.0: commit and tag it, with its section of CHANGELOG.md and dist/sbom.json
	@$(RUN)/python -m tools.release $(or $(VERSION),none)

.PHONY: audit
audit: $(UV)  ## ask the database of open-source vulnerabilities (osv.dev) about all that uv.lock pins
	@$(UV) audit --locked

.PHONY: clean
clean:  ## remove what was built, the tools and environments too
	@if [ -x $(RUN)/realtime ]; then $(RUN)/realtime down; fi
	@rm -rf .venv .tools .realtime .aws-sam .mutants $(CLIENTS)/node_modules $(TYPESCRIPT)/node_modules $(CONTRACT)/node_modules clients/compare/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
