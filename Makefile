# Every target sets up what it needs. `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev packages demo model model-large models comparison language test test-extras fuzz check bench docs clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,baselines,plots,lab,serve,endpoint,dev
CONSTRAINTS := constraints.txt
NATIVE := $(wildcard setup.py src/wirespeak/_native/*.c src/wirespeak/_native/*.h)

# uv where there is one, pip otherwise. uv does not read pip's settings: hand it the folder of extra wheels.
UV := $(shell command -v uv)
ifdef UV
  ifdef PIP_FIND_LINKS
    export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
  endif
  MAKE_VENV = uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
  INSTALL = uv pip install --quiet --python $(BIN)/python $(addprefix --constraints ,$(CONSTRAINTS))
else
  MAKE_VENV = $(PYTHON) -m venv $(VENV)
  INSTALL = $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS))
endif

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(VENV)/.base  ## the base install, with the command at .venv/bin/wirespeak
setup-dev: $(VENV)/.dev  ## and every extra that is tested, with the tools

$(BIN)/python:
	$(MAKE_VENV)

$(VENV)/.base: pyproject.toml constraints.txt $(NATIVE) | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

packages:  ## the Debian packages that the lab and its tests use (root)
	.ci/packages

demo: setup  ## judge bundled captures and write a report into out/demo, in a minute
	$(BIN)/wirespeak demo -o out/demo

model: setup-dev  ## record the lab and train the language model in the box anew (about four hours, root)
	.ci/packages apache2-utils arping bettercap braa curl dmitry doscan ettercap-text-only ffuf gobuster hey httperf httping hydra ike-scan iperf \
	    masscan medusa mgen nbtscan ncat ncrack netcat-openbsd netdiscover netsniff-ng netwox nghttp2-client onesixtyone openssh-client oping packit \
	    patator pnscan putty-tools python3-scapy scanssh sendip siege sipvicious slowhttptest socat sqlmap sshpass t50 wapiti wbox wfuzz wget wrk zmap
	for scenario in scenarios/*.toml; do \
	    folder=out/recordings/$$(basename $$scenario .toml); \
	    test -d $$folder || $(BIN)/wirespeak lab record --scenario $$scenario -o $$folder || exit 1; \
	done
	$(BIN)/wirespeak train out/recordings/* -o out/model

model-large: setup-dev  ## a larger sibling of the model in the box, from the same recordings (an hour of a GPU)
	$(BIN)/wirespeak train out/recordings/* --set width=512 --set layers=8 --set heads=8 --set hidden=1024 --device cuda -o out/model-large

models: setup-dev  ## detectors for public datasets in WIRESPEAK_DATA, into out/models (minutes each)
	@test -n "$(WIRESPEAK_DATA)" || { echo "make models: set WIRESPEAK_DATA to the folder of the datasets" >&2; exit 1; }
	for answer in multiclass binary; do for data in nsl-kdd/KDDTrain+.txt unsw-nb15/*.csv ton-iot/*.csv; do \
	    set -- "$(WIRESPEAK_DATA)"/$$data; \
	    $(BIN)/wirespeak train "$$1" --detector tuned $$(test $$answer = multiclass || echo --binary) \
	        -o out/models/$${data%%/*}-$$answer || exit 1; \
	done; done

comparison: setup-dev  ## every detector on the datasets in WIRESPEAK_DATA, into docs/comparison.md (two hours; goes on where it was)
	$(BIN)/python bench/datasets.py -o bench/results/datasets.json
	$(BIN)/python -m wirespeak.interfaces.documents comparison.md

language: setup-dev  ## language models on the same folds, into docs/language.md (two hours; goes on where it was)
	$(BIN)/python bench/language.py --recordings out/recordings -o bench/results/language.json
	$(BIN)/python -m wirespeak.interfaces.documents language.md

test: setup-dev packages  ## every test; WIRESPEAK_DATA names the folder of real captures, if there is one
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-extras:  ## what pins others' versions, in an environment of its own: AutoGluon
	$(MAKE) VENV=out/venv-autogluon EXTRAS=autogluon,dev CONSTRAINTS= setup-dev
	out/venv-autogluon/bin/python -m pytest -q tests/test_autogluon.py

MINUTES ?= 60
fuzz:  ## search for bytes that break a reader, for MINUTES=60 (clang); what was found is in out/fuzz
	command -v clang > /dev/null || .ci/packages clang
	$(MAKE) VENV=out/venv-fuzz EXTRAS=fuzz,dev CONSTRAINTS= setup-dev
	out/venv-fuzz/bin/python tests/fuzz/search.py --minutes $(MINUTES) -o out/fuzz

# Every core has a worker of its own: threads within them would only be in each other's way.
check test: export OMP_NUM_THREADS = 1
check test: export OPENBLAS_NUM_THREADS = 1
check test: export POLARS_MAX_THREADS = 1

check: setup-dev  ## format, types, imports and the fast tests, in about a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto -m "not slow" --hypothesis-profile=fast

bench: setup-dev  ## this machine's numbers into bench/results
	$(BIN)/wirespeak bench -o bench/results/machine

docs: setup-dev  ## what is derived in the documents; the picture of the report where there is a chromium
	$(BIN)/python -m wirespeak.interfaces.documents
	mkdir -p docs/images
	if command -v chromium > /dev/null; then \
	    chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update \
	        --disable-sync --no-first-run --hide-scrollbars --user-data-dir=$$(mktemp -d) --window-size=1100,1500 \
	        --screenshot=docs/images/report.png file://$(CURDIR)/out/demo/report.html 2> /dev/null; \
	fi

clean:  ## everything that was made, recordings and models aside
	rm -rf $(VENV) out/demo out/bench build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f src/wirespeak/_native/*.so
