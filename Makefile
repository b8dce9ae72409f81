# Every task of the project in one place. `make help` lists them.
#
# Python 3.11 or newer. CONSTRAINTS= (empty) takes the newest versions instead of the locked ones.
# ARGS= passes options on to pytest, `mois bench`, `mois train-baseline`, and the tools behind `gpu`
# and `weights`.
# TORCH_INDEX= is where torch comes from, if the package index has a build without CUDA.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS ?= --constraint requirements.lock
ARGS ?=
TORCH_INDEX ?=
# Of training, for `make gpu`.
MINUTES ?= 0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# torch comes first and by its exact version: asked for by another package, pip would look for the
# newest one.
TORCH := $(shell grep '^torch==' requirements.lock)
BASELINES := runs/baselines
TRAINED := unet dins sw-fastedit
# A Python of an environment that has nnunetv2, to train and measure nnU-Net as well.
NNUNET ?=
NNUNET_MODEL := nnUNet_results/Dataset501_MOIS/TimedTrainer__nnUNetPlans__3d_fullres
COMMA := ,
# The processes that share the tests.
SHARE := -n auto --maxprocesses 4 --dist loadfile
# A test that takes minutes on purpose gets half an hour before it counts as stuck.
FULL_TIMEOUT := 1800

.DEFAULT_GOAL := help
.PHONY: help test test-full demo bench gpu baselines weights ablation lint format clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: $(STAMP) ## run the tests, except those that need the full-size golden set or minutes
	$(BIN)/python -m pytest $(SHARE) -m "not full" $(ARGS)

test-full: $(STAMP) ## run every test
	$(BIN)/python -m pytest $(SHARE) --timeout $(FULL_TIMEOUT) $(ARGS)

demo: $(STAMP) ## segment a phantom from a few clicks; results in demo/
	$(BIN)/mois demo --out demo

bench: $(STAMP) ## time each step of the network on this machine
	$(BIN)/mois bench $(ARGS)

gpu: $(STAMP) ## measure everything on a GPU and train for MINUTES=; goes on, report in runs/gpu
	$(BIN)/python -m tools.gpu --out runs/gpu --minutes $(MINUTES) $(ARGS)

baselines: MINUTES = 60
baselines: $(STAMP) ## train what MOIS-SAM2 is compared with, MINUTES= each (60), and measure; goes on
	for kind in $(TRAINED); do \
	  $(BIN)/mois train-baseline $$kind --minutes $(MINUTES) --cache runs/phantoms \
	    --out $(BASELINES)/$$kind $(ARGS) || exit 1; \
	done
	$(if $(NNUNET),$(BIN)/mois train-baseline nnunet --python $(NNUNET) --minutes $(MINUTES) \
	  --cache runs/phantoms --out $(BASELINES)/nnunet)
	$(BIN)/mois train --config mois_core/training/configs/sam2-phantom.json --out $(BASELINES)/sam2
	$(BIN)/mois evaluate --benchmark long --out $(BASELINES)/results \
	  --segmenter mois=phantom --segmenter mois-clicks=phantom --segmenter region-growing \
	  --segmenter sam2=$(BASELINES)/sam2/joint/newest.pt \
	  $(foreach kind,$(TRAINED),--segmenter $(kind)=$(BASELINES)/$(kind)/weights.safetensors) \
	  $(if $(NNUNET),--segmenter nnunet=$(BASELINES)/nnunet/$(NNUNET_MODEL)$(COMMA)python=$(NNUNET))

weights: $(STAMP) ## train the next small network from nothing, in runs/weights; hours, goes on
	$(BIN)/python -m tools.make_weights --out runs/weights $(ARGS)

ablation: $(STAMP) ## the paper's Table 2 at small scale, in runs/ablation; an afternoon, goes on
	$(BIN)/python -m tools.ablation --out runs/ablation $(ARGS)

lint: $(STAMP) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## put everything into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the other tasks made, except the environment
	rm -rf build dist demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find mois_core MOISSAM2Segment Testing tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(CONSTRAINTS) setuptools wheel
	$(PIP) $(CONSTRAINTS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) $(CONSTRAINTS) --editable '.[tools,test,slicer,dicom]'
	SAM2_BUILD_CUDA=0 $(PIP) $(CONSTRAINTS) --no-deps --no-build-isolation sam2
	touch $@
