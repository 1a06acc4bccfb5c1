# make reproduce    the environment, then everything that params.yaml names, then where the report is
# make test         the environment, then lint, types and all tests
# make use RUN=…    choose another parameter file; `make help` lists the rest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env reproduce test test-s3 test-slurm torture fuzz parity lint use own look videos export publish rulegraph gpu-check talk page image

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
ENV_GB := 8
CORES ?= all
WORKERS ?= 2

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Snakemake stops where a user has no home, as in a container of a number alone.
ifneq ($(shell test -d "$$HOME" -a -w "$$HOME" && echo home),home)
export HOME := $(CURDIR)/.snakemake/home
endif
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

env: $(READY) ## the environment .venv, from requirements.lock

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11 …" >&2; exit 1; }
	@free=$$(df -Pk . | awk 'END {print int($$4 / 1048576)}'); [ "$$free" -ge $(ENV_GB) ] || \
	  { echo "$(CURDIR) has $$free GB free; the environment takes $(ENV_GB): free some, or clone to another disk" >&2; exit 1; }
	@echo "making $(VENV) from requirements.lock (a few minutes, once)"
	@if [ -L $(VENV) ] || { [ -e $(VENV) ] && [ ! -e $(READY) ] && [ ! -e $(VENV)/made-by-make ]; }; then \
	  echo "$(VENV) was not made by make, which would replace it; move it away, or take another folder: make VENV=.env …" >&2; exit 1; fi
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $(VENV)/made-by-make
	@mkdir $(VENV)/downloads
	@TMPDIR=$(CURDIR)/$(VENV)/downloads $(VENV)/bin/python -m pip install -qq --require-hashes --requirement requirements.lock
	@rm -rf $(VENV)/downloads
	@touch $@

reproduce: env ## everything that params.yaml names; rerun it to resume after a kill
	@snakemake --cores $(CORES)
	@python -m workflow.headline

gpu-check: env ## ten minutes of a GPU: speed of the paper's network, and what it learns in the rest; on a CPU: make gpu-check SMALL=1
	@python -m benchmarks.gpu_check $(if $(SMALL),--small)

fuzz: env ## damaged media and tables against every reader: make fuzz CASES=5000
	@CASES=$(or $(CASES),200) python -m pytest -q tests/fuzz

torture: env ## kill the smoke run at random moments, rerun it, compare all bytes: make torture KILLS=50 (some 20 CPU minutes)
	@python -m benchmarks.torture --kills $(or $(KILLS),50)

parity: env $(VENV)/parity/ready ## public packages beside ours on random weights, a table of differences; not part of make test
	@PYTHONPATH="$(VENV)/parity:." python -W ignore -m benchmarks.parity

$(VENV)/%/ready: requirements-%.lock $(READY)
	@echo "making $(VENV)/$* from requirements-$*.lock (once)"
	@rm -rf $(VENV)/$*
	@$(VENV)/bin/python -m pip install -qq --no-deps --require-hashes --target $(VENV)/$* --requirement requirements-$*.lock
	@touch $@

test-slurm: env $(VENV)/slurm/ready ## the smoke run on a Slurm of one node, which it starts and stops; needs Debian's slurm-wlm and munge, and root
	@SLURM_TEST=1 python -m pytest -q tests/workflow/test_slurm.py

test-s3: env $(VENV)/s3/ready $(VENV)/s3-test/ready ## push to an S3 server that it starts on this machine, clone, pull; a smoke run first
	@S3_TEST=1 python -m pytest -q tests/workflow/test_s3.py

test: lint ## lint, types, all tests, by two processes
	@python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: env ## ruff, snakefmt, mypy
	@ruff check --quiet .
	@ruff format --check --quiet .
	@snakefmt --check Snakefile workflow/rules
	@mypy

use: env ## choose a parameter file of presets/: make use RUN=smoke
	@python -m workflow.use $(RUN)

own: env ## parameters for one's own videos: make own VIDEOS=folder (a sub-folder a speaker)
	@python -m workflow.own "$(VIDEOS)" $(OPTIONS)

look: env ## a page of faces, masks and blinks of params.yaml's media, before anything is trained
	@snakemake --cores $(CORES) $$(python -c 'from stages.base.params import load; print(load().data / "index.parquet")')
	@python -m workflow.look

videos: env ## unpack the sampled videos of the run to videos_out/<run>/
	@python -m workflow.videos

talk: env ## a portrait that talks: make talk FACE=me.jpg SOUND=speech.mp3; without both, an unseen rendered portrait and another's sound
	@$(if $(and $(FACE),$(SOUND)),,$(if $(FACE)$(SOUND),echo "give both: make talk FACE=me.jpg SOUND=speech.mp3" >&2; exit 2,python -m workflow.example talk_out > /dev/null))
	@python -m stages.talk $(or $(MODEL),$$(python -c 'from stages.base.params import load; print(load().default_model)')) \
	  "$(if $(FACE)$(SOUND),$(FACE),talk_out/portrait.png)" "$(if $(FACE)$(SOUND),$(SOUND),talk_out/speech.mp4)" \
	  --out "$(or $(OUT),talk_out/talk.mp4)" $(OPTIONS)

page: env ## a page on this machine in which a portrait is made to talk: make page MODEL=hifidiff-demo-full
	@exec python -m stages.page "$(or $(MODEL),$$(python -c 'from stages.base.params import load; print(load().default_model)'))" $(OPTIONS)

export: env ## weights, configuration and model card in one folder: make export METHOD=full OUT=hifidiff-full
	@python -m stages.export --method "$(METHOD)" --out "$(OUT)" $(if $(REPLACE),--replace)

publish: env ## write reports/<run>/provenance.md: commit, hardware, run ids, times
	@python -m workflow.publish

image: ## an image of the environment: hifidiff.sif by Apptainer, or where that is missing hifidiff by podman, buildah or docker
	@if command -v apptainer > /dev/null; then exec apptainer build --force hifidiff.sif containers/hifidiff.def; fi; \
	  for builder in podman buildah docker; do \
	    if command -v $$builder > /dev/null; then \
	      exec $$builder build $(if $(BASE),--build-arg BASE=$(BASE)) --tag hifidiff --file containers/Containerfile .; fi; done; \
	  echo "no apptainer, podman, buildah or docker here: install one, and run 'make image' again" >&2; exit 1

rulegraph: env ## write the graph of rules to docs/rulegraph.md
	@python -m workflow.rulegraph
