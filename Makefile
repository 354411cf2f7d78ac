# Each target sets up what it needs: only Python >= 3.11 and make are wanted on a fresh machine.
PYTHON ?= python3
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check bench browser clean

demo: .venv/ready            # train on the King James Bible for three minutes and talk to it
	$(BIN)/seq2seq demo kjv

test: .venv/ready            # the whole suite, doctests included
	$(PYTEST)

check: .venv/ready           # style, types, floors, doctests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(PYTEST) tests/test_floors.py src

bench: .venv/ready .bench/torch/ready    # ours beside torch and what peers there are: the better part of an hour
	$(BIN)/python -m benchmarks --torch .bench/torch/bin/python $(BENCH)

browser: .venv/ready .browser/ready    # the page in a real browser; pictures of it are left in .browser/pictures
	$(BIN)/python -m pytest -rs tests/app/serving/test_page_in_browser.py

.venv/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.bench/torch/ready: Makefile # an environment of its own: torch is not a dependency
	$(PYTHON) -m venv --clear .bench/torch
	.bench/torch/bin/python -m pip install --quiet torch==2.13.0 numpy
	touch $@

.browser/ready:              # Debian's Chromium, and what drives it in a folder of its own
	@command -v chromium || { test "$$(id -u)" = 0 && apt-get install -y chromium; } || \
		{ echo "There is no chromium: apt-get install chromium as root, then make browser again." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --target .browser/python playwright
	touch $@

clean:                       # results of measurements and runs stay in .bench
	rm -rf .venv .bench/torch .browser
