# Speech Emotion Recognition, Reproduced. `make help` lists the targets; each makes its own environment first.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
REPORTS := _build/reports
# Chapters that run at the same time.
AT_ONCE ?= 2
# Where `make records` keeps what it makes; FRESH=1 makes everything anew, there and in the book.
RECORDS ?= $(if $(FRESH),_build/fresh,results)
SNAKEMAKE = "$(BIN)/snakemake" --snakefile workflow/Snakefile --cores all --quiet rules --config folder="$(RECORDS)"
# What the tests compare serlib.features.short_term with: no wheel, and of what it asks for, nothing is needed here.
PEER := pyAudioAnalysis==0.3.14

# The first Python on the path that is 3.11 or 3.12; `make PYTHON=/path/to/python3.12 ...` chooses another.
SUITABLE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	$$python -c '$(SUITABLE)' >/dev/null 2>&1 && { command -v $$python; break; }; done)

# Notebooks run in this environment's kernel, whatever is installed for the user or set in the shell.
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONPATH
unexport PYTHONHOME

# $(call orelse,MESSAGE): what to say when the command before it fails.
orelse = || { status=$$?; printf '\n%s\n' "make $@: $(1)" >&2; exit $$status; }

.DEFAULT_GOAL := help
.PHONY: help env corpus book test lint unit records replay audit notebooks html pages refresh reproduce gpu format clean distclean

help:
	@echo "make book       make the environment and the synthetic corpora, run every chapter, build the book;"
	@echo "                FRESH=1 trains everything that it shows anew, in hours"
	@echo "make test       lint, unit, replay, notebooks, html and pages, one after the other: what must pass before a change goes in"
	@echo "make lint       check style and formatting (ruff)"
	@echo "make unit       run the unit tests (pytest)"
	@echo "make records    make what workflow/runs.yml and spaces.yml list and results/ lacks; N=1 only says what (Snakemake)"
	@echo "make replay     start a listed run of each group anew and compare; FULL=1 all, to the first look"
	@echo "make audit      train every listed run from nothing and compare; N=3 only three"
	@echo "make notebooks  run every chapter and compare with its stored outputs (nbval)"
	@echo "make html       build the book from the stored outputs; warnings are errors"
	@echo "make pages      build the book and look at every page in a browser, wide and narrow, light and dark"
	@echo "make refresh    run the chapters in place to renew their stored outputs; CHAPTERS=\"intro yoon2018\" for some"
	@echo "make reproduce  run a chapter on your data: CHAPTER=yoon2018 CORPUS=iemocap ROOT=/data/IEMOCAP PROFILE=paper TRANSCRIPTS=asr"
	@echo "make gpu        what a machine with a GPU is good for, in MINUTES=8, into OUT=_build/gpu"
	@echo "make format     format the code and mend what ruff can mend"
	@echo "make corpus     make the synthetic corpora in the cache folder"
	@echo "make env        make the environment in $(VENV)"
	@echo "make clean      remove what was built; make distclean removes the environment too"

env: $(READY)

$(READY): requirements.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "No Python 3.11 or 3.12 with venv was found. Install one from https://www.python.org/downloads/" >&2; \
	  echo "(on Debian and Ubuntu: apt-get install python3.12 python3.12-venv), or name yours: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 1; fi
	@"$(PYTHON)" -c '$(SUITABLE)' || { \
	  echo "$(PYTHON) is not a Python 3.11 or 3.12 with venv. Name another one: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@echo "Making the environment in $(VENV) with $(PYTHON); torch and its libraries are large: this takes minutes"
	@"$(PYTHON)" -m venv "$(VENV)" $(call orelse,could not make $(VENV). Is the folder writable and the disk not full?)
	@"$(BIN)/python" -m pip install --quiet --quiet --disable-pip-version-check -r requirements.txt \
	  $(call orelse,could not install requirements.txt. Is there a network and are 6 GB free? Then run make env again.)
	@"$(BIN)/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . \
	  $(call orelse,could not install serlib from this folder. The message above says why.)
	@"$(BIN)/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PEER) \
	  $(call orelse,could not install $(PEER). Is there a network?)
	@"$(BIN)/python" -c "import matplotlib.pyplot, torch, opensmile" \
	  $(call orelse,a library does not load. Run make distclean and start again with a Python from python.org.)
	@touch $@

corpus: $(READY)
	@"$(BIN)/python" -c 'from serlib.corpora import load; \
	  print(*(f"{len(c)} items in {c.root}" for c in map(load, ("synthetic", "conversations"))), sep="\n")' \
	  $(call orelse,could not make the synthetic corpora. SERLIB_CACHE names the folder that they are kept in.)

book: corpus $(if $(FRESH),records)
	@"$(BIN)/python" workflow/run_chapters.py stage --execute --at-once $(AT_ONCE) _build/source $(if $(FRESH),--results "$(RECORDS)") \
	  $(call orelse,a chapter could not be run. The message above names it.)
	@"$(BIN)/jupyter-book" build --all -W -n --keep-going --path-output . _build/source \
	  $(call orelse,the pages could not be built without warnings. The lines with WARNING above say where.)
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

test: $(READY)
	@rm -rf $(REPORTS); start=$$(date +%s); \
	for step in lint unit replay notebooks html pages; do \
	  echo "== $$step"; before=$$(date +%s); \
	  $(MAKE) --no-print-directory BUILT=1 $$step || exit 1; \
	  echo "== $$step: $$(( $$(date +%s) - before )) s"; \
	done; \
	echo "make test: everything passed in $$(( $$(date +%s) - start )) s"

lint: $(READY)
	@"$(BIN)/ruff" check . $(call orelse,ruff found the above. make format mends what can be mended automatically.)
	@"$(BIN)/ruff" format --check . $(call orelse,files are not formatted. Run make format.)

format: $(READY)
	@"$(BIN)/ruff" check --fix . $(call orelse,the rest needs a human hand.)
	@"$(BIN)/ruff" format .

unit: $(READY)
	@"$(BIN)/python" -m pytest -n auto --ignore tests/test_pages.py --junitxml=$(REPORTS)/unit.xml \
	  $(call orelse,a test failed. Run it alone: $(VENV)/bin/python -m pytest FILE::TEST)

records: corpus
	@"$(BIN)/python" workflow/records.py status --folder "$(RECORDS)" $(call orelse,the list of runs cannot be read.)
	@"$(BIN)/python" workflow/spaces.py status && "$(BIN)/python" workflow/studies.py status
	@$(if $(N),$(SNAKEMAKE) --dry-run,$(SNAKEMAKE)) $(call orelse,a run could not be made. Run make records again to go on.)

replay: corpus
	@"$(BIN)/python" workflow/records.py replay $(if $(FULL),--full) && "$(BIN)/python" workflow/spaces.py replay $(if $(FULL),--full) && \
	  "$(BIN)/python" workflow/studies.py replay \
	  $(call orelse,a record does not hold any more. If the change was meant make records anew (CONTRIBUTING.md).)

audit: corpus
	@"$(BIN)/python" workflow/records.py audit $(if $(N),--sample $(N)) $(call orelse,a record is not what the code makes.)

notebooks: corpus
	@chapters=$$("$(BIN)/python" workflow/run_chapters.py list) && \
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest --nbval -n $(AT_ONCE) --dist loadscope --nbval-sanitize-with=tests/notebooks.cfg \
	  --nbval-cell-timeout=3600 --junitxml=$(REPORTS)/notebooks.xml $$chapters \
	  $(call orelse,a chapter fails or prints something else than it stores. If the new output is right run make refresh.)

html: $(READY)
	@"$(BIN)/python" workflow/run_chapters.py stage _build/check/source $(call orelse,could not copy the book to _build/check.)
	@"$(BIN)/jupyter-book" build --all -W -n --keep-going --path-output _build/check _build/check/source \
	  $(call orelse,the pages could not be built without warnings. The lines with WARNING above say where.)

# BUILT=1: the pages of the last `make html`, as they are.
PAGES := _build/check/_build/html
pages: $(if $(BUILT),,html)
	@SERLIB_PAGES="$(CURDIR)/$(PAGES)" "$(BIN)/python" -m pytest -n auto -r s --junitxml=$(REPORTS)/pages.xml tests/test_pages.py \
	  $(call orelse,a page has the faults above. Open it in a browser: $(PAGES)/book/NAME.html)

refresh: corpus
	@"$(BIN)/python" workflow/colab.py
	@"$(BIN)/python" workflow/run_chapters.py refresh --at-once $(AT_ONCE) $(CHAPTERS) $(call orelse,a chapter could not be run. The message above names it.)

CORPUS ?= synthetic
PROFILE ?= paper
# What ROOT names, seen from here though chapters run in book/; not abspath, which parts a path at its spaces.
FROM_HERE = $(if $(filter /% ~%,$(firstword $(ROOT))),,$(CURDIR)/)$(ROOT)
reproduce: $(READY)
	@mkdir -p out && cd book && "$(BIN)/papermill" $(CHAPTER).ipynb ../out/$(CHAPTER)-$(CORPUS).ipynb -p corpus $(CORPUS) \
	  $(if $(ROOT),-p root "$(FROM_HERE)") -p profile $(PROFILE) -p results_dir "$(CURDIR)/out/results" \
	  $(if $(TRANSCRIPTS),-p transcripts "$(TRANSCRIPTS)") \
	  $(call orelse,the chapter did not run to its end. Run the command again: finished runs are kept.)

MINUTES ?= 8
OUT ?= _build/gpu
gpu: $(READY)
	@"$(BIN)/python" workflow/gpu.py --minutes $(MINUTES) --out "$(OUT)" $(call orelse,the message above says why.)

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf "$(VENV)" .cache *.egg-info
