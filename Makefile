# Set-up is plain venv and pip, so every target can be repeated by hand with the commands that it prints.
# Paths are relative on purpose: GNU make splits names at blanks, so an absolute path could not hold one.

PROJECTS := transformer_from_scratch bert_sentiment text_generation rag_qa model_optimization multimodal
NUMBERS := 1 2 3 4 5 6

PYTHON ?= python3
ARGS ?=
CONFIG ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PRESENT := $(foreach name,$(PROJECTS),$(if $(wildcard projects/$(name)/pyproject.toml),$(name)))
PYPROJECTS := shared/pyproject.toml $(PRESENT:%=projects/%/pyproject.toml)
EDITABLES := -e "shared[dev]" $(foreach name,$(PRESENT),-e "projects/$(name)[dev]")

PIP_INSTALL = -m pip install --disable-pip-version-check --no-input -c constraints.txt
# One thread: the tests' models are too small to share out, and the figures do not depend on the machine's core count.
PYTEST = PYTHONPATH= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} MPLBACKEND=Agg $(1)/python -P -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

## help: this list
.PHONY: help
help:
	@awk '/^## /{line = substr($$0, 4); at = index(line, ": "); \
	    printf "  %-16s %s\n", substr(line, 1, at - 1), substr(line, at + 2)}' Makefile
	@printf '\nN is the number of a project:\n'
	@printf '  %s\n' $(foreach n,$(NUMBERS),'$(n) $(word $(n),$(PROJECTS))$(call absent_note,$(word $(n),$(PROJECTS)))')

absent_note = $(if $(filter $(1),$(PRESENT)),, (not in this checkout yet))

# ---------------------------------------------------------------------------------------------------------------------
# Set-up. A stamp is newer than all that its installation depends on, so that a second call does nothing.

$(STAMPS)/venv: tools/make_venv.sh
	@sh tools/make_venv.sh "$(PYTHON)" $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/shared: $(STAMPS)/venv constraints.txt shared/pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -e shared
	@touch $@

$(STAMPS)/shared-dev: $(STAMPS)/venv constraints.txt requirements-dev.txt shared/pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -r requirements-dev.txt -e "shared[dev]"
	@touch $(STAMPS)/shared $@

$(STAMPS)/all: $(STAMPS)/venv constraints.txt requirements-dev.txt $(PYPROJECTS)
	$(BIN)/python $(PIP_INSTALL) -r requirements-dev.txt $(EDITABLES)
	@touch $(foreach name,shared $(PRESENT),$(STAMPS)/$(name) $(STAMPS)/$(name)-dev $(STAMPS)/$(name)-demo) $@

## setup: .venv with every project of this checkout and the development tools
.PHONY: setup
setup: $(STAMPS)/all
	@echo 'Ready. Activate it with: . $(VENV)/bin/activate'

# ---------------------------------------------------------------------------------------------------------------------
# One project: $(1) is its number, $(2) its name.

# A shipped configuration, such as `full`, or a YAML file.
config_flag = $(if $(CONFIG),--config "$(CONFIG)")

# `full` of project $(1) goes on with the other models and data that it ships for a GPU: full_*.yaml.
more_of_full = $(if $(filter full,$(CONFIG)),$(sort $(notdir $(basename $(wildcard projects/$(1)/src/$(1)/configs/full_*.yaml)))))

define targets_of_present
$(STAMPS)/$(2): $(STAMPS)/venv constraints.txt shared/pyproject.toml projects/$(2)/pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -e shared -e projects/$(2)
	@touch $$@

$(STAMPS)/$(2)-dev: $(STAMPS)/venv constraints.txt shared/pyproject.toml projects/$(2)/pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -e shared -e "projects/$(2)[dev]"
	@touch $(STAMPS)/$(2) $$@

# What the web server needs besides, where the project has an extra for it.
$(STAMPS)/$(2)-demo: $(STAMPS)/venv constraints.txt shared/pyproject.toml projects/$(2)/pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -e shared -e "projects/$(2)$(if $(shell grep '^demo = ' projects/$(2)/pyproject.toml),[demo])"
	@touch $(STAMPS)/$(2) $$@

.PHONY: project-$(1) install-$(1) test-$(1) test-isolated-$(1) bench-$(1) serve-$(1)

## project-N: set up what it needs, run the main job, print where the report is [ARGS="--run.seed 1"] [CONFIG=full]
project-$(1): $(STAMPS)/$(2)
	$(BIN)/python -m $(2) run $$(config_flag) $$(ARGS)
	$$(foreach more,$$(call more_of_full,$(2)),$(BIN)/python -m $(2) run --config $$(more) $$(ARGS) &&) true

## install-N: .venv with roadmap-shared and project N only
install-$(1): $(STAMPS)/$(2)
	@echo 'Ready. Its command is: $(BIN)/$(subst _,-,$(2)) --help'

## test-N: project N's tests [ARGS="-k attention"]
test-$(1): $(STAMPS)/$(2)-dev
	$$(call PYTEST,$(BIN)) projects/$(2)/tests $$(ARGS)

## test-isolated-N: the same in a fresh venv that holds that project alone, installed from its wheel
test-isolated-$(1):
	@rm -rf .venv-isolated-$(1)
	@sh tools/make_venv.sh "$$(PYTHON)" .venv-isolated-$(1)
	.venv-isolated-$(1)/bin/python $(PIP_INSTALL) ./shared "./projects/$(2)[dev]"
	$$(call PYTEST,.venv-isolated-$(1)/bin) projects/$(2)/tests $$(ARGS)

## bench-N: project N's benchmarks, each measured beside a peer in the same run [ARGS=...]
# One that ends with 77 has not the data that it needs, and says so.
bench-$(1): $(STAMPS)/$(2)-dev
	@found=; for script in projects/$(2)/benchmarks/[!_]*.py; do \
	    [ -e "$$$$script" ] || continue; \
	    found=yes; echo "== $$$$script"; $(BIN)/python "$$$$script" $$(ARGS) || [ $$$$? = 77 ] || exit 1; \
	done; [ -n "$$$$found" ] || { echo 'project $(1) ($(2)) has no benchmarks yet' >&2; exit 2; }

## serve-N: project N's web server [ARGS=...]
serve-$(1): $(STAMPS)/$(2)-demo
	@$(BIN)/python -c 'import sys; from $(2).cli import COMMANDS; sys.exit(all(c.name != "serve" for c in COMMANDS))' \
	    || { echo 'project $(1) ($(2)) has no server' >&2; exit 2; }
	$(BIN)/python -m $(2) serve $$(config_flag) $$(ARGS)
endef

define targets_of_missing
.PHONY: project-$(1) install-$(1) test-$(1) test-isolated-$(1) bench-$(1) serve-$(1)
project-$(1) install-$(1) test-$(1) test-isolated-$(1) bench-$(1) serve-$(1):
	$$(error project $(1) ($(2)) is not in this checkout yet)
endef

kind_of = $(if $(filter $(1),$(PRESENT)),targets_of_present,targets_of_missing)
$(foreach n,$(NUMBERS),$(eval $(call $(call kind_of,$(word $(n),$(PROJECTS))),$(n),$(word $(n),$(PROJECTS)))))

# Any other number. test-isolated-% stands before test-%, because make 3.81 takes the first pattern that fits.
define target_of_unknown_number
$(1)-%:
	$$(error there is no $$@: the projects are $(foreach n,$(NUMBERS),$(n) $(word $(n),$(PROJECTS))$(if $(filter $(lastword $(NUMBERS)),$(n)),,,)))
endef
$(foreach verb,project install test-isolated test bench serve,$(eval $(call target_of_unknown_number,$(verb))))

# ---------------------------------------------------------------------------------------------------------------------
# The whole repository.

# Up to four processes, a file's tests in one of them: they share what is made for the file.
PARALLEL = -n auto --maxprocesses 4 --dist loadfile

## test: every suite, without a network [ARGS="-k config"]
.PHONY: test
test: $(STAMPS)/all
	$(call PYTEST,$(BIN)) $(PARALLEL) $(ARGS)

## test-shared: roadmap-shared's tests
.PHONY: test-shared
test-shared: $(STAMPS)/shared-dev
	$(call PYTEST,$(BIN)) shared/tests $(ARGS)

## gallery: runs/index.html, the latest report of each project on one page
.PHONY: gallery
gallery: $(STAMPS)/shared
	$(BIN)/python tools/gallery.py $(ARGS)

## lint: style, formatting, import direction and types; changes nothing
.PHONY: lint
lint: $(STAMPS)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

## format: rewrite the files in the house style
.PHONY: format
format: $(STAMPS)/all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## typecheck: pyright alone
.PHONY: typecheck
typecheck: $(STAMPS)/all
	$(BIN)/pyright

## clean: remove the virtual environments, caches and build outputs; runs/ stays
.PHONY: clean
clean:
	rm -rf .venv .venv-isolated-* .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks .coverage
	rm -rf shared/build shared/dist projects/*/build projects/*/dist
	find . \( -path ./.git -o -path ./runs \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
