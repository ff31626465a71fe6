# `make help` lists the targets. Everything Python runs in .venv; what is fetched or built once lies in the cache folder (`TABAGENT_CACHE`,
# `$XDG_CACHE_HOME/tabagent` or `~/.cache/tabagent`), outside the clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PROMPT ?= Once upon a time

BACKEND := PYTHONPATH=build_backend $(BIN)/python -m tabagent_build
# Asked for only by the recipes that need it, when .venv exists.
CACHE = $(shell $(BACKEND) cache)

# maturin's hooks call `maturin` by name. For single commands only: `$(PYTHON) -m venv` must not find the one in .venv.
WITH_TOOLS := PATH="$(CURDIR)/$(BIN):$$PATH"

BACKEND_SOURCES := $(shell find build_backend -type f -not -name '*.pyc') llama_cpp.toml python/tabagent/_fetch.py
RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) $(shell find rust -name target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.json' \) -print 2>/dev/null)
PYTHON_CODE := python build_backend companions tests tools benches examples

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
SECONDS_EACH ?= 300
SECONDS_OF_LOAD ?= 600
MINUTES ?= 60

.PHONY: help demo dev test test-fast wheel bench bench-engine bench-serving load schemathesis fuzz fuzz-models soak fmt lint clean test-material test-env every-module
.PHONY: companion-cuda companion-vulkan test-gpu test-variants check-targets test-windows test-aarch64
.PHONY: check-rust-style check-rust check-python-style check-types check-python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf "  make %-17s %s\n" "demo PROMPT=TEXT" "continue another text" "test T=NAME" "run the tests with NAME in their name, Rust and Python"

$(STAMPS)/venv: requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: \`$(PYTHON)\` not found; install CPython 3.10 or later with its venv module" >&2; exit 1; }
	@echo "making $(VENV) and installing the tools of requirements-dev.txt into it: about a minute"
	@# The crates come meanwhile. Should that fail, the build asks for them again, and says what is wrong.
	@cargo fetch --locked --quiet 2>/dev/null & $(PYTHON) -m venv $(VENV) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt && wait
	@mkdir -p $(STAMPS) && touch $@

# Asked before what takes minutes.
NEED_CARGO = command -v cargo >/dev/null || { echo "error: \`cargo\` not found; install Rust (https://rustup.rs)" >&2; exit 1; }

# For work here, the CPU modules that this machine needs; `every-module` adds the others.
$(STAMPS)/library: $(STAMPS)/venv $(BACKEND_SOURCES)
	@$(NEED_CARGO)
	@$(BACKEND) library --own-modules >/dev/null
	@touch $@

every-module: $(STAMPS)/venv ## build the CPU modules for other processors, too, as the wheel has them
	@$(BACKEND) library >/dev/null

# The package's Python files are used where they lie; only the extension has to be rebuilt. `maturin develop` does what `pip install --editable .`
# does, and lets Cargo show how far it is.
$(STAMPS)/dev: $(STAMPS)/library $(RUST_SOURCES) pyproject.toml
	@$(NEED_CARGO)
	@test -d target/editable || echo "building the Rust extension: about 2 minutes on 2 cores; later builds take seconds"
	@$(DEVELOP)
	@$(BACKEND) child >/dev/null
	@touch $@

DEVELOP = $(WITH_TOOLS) PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop

dev: $(STAMPS)/dev ## make .venv with the package, its libraries and the tools, for work on the source tree
	@test -f python/tabagent/lib/libllama.so || { $(BACKEND) library --own-modules >/dev/null; }

demo: dev ## stream a text from the demo model
	@echo
	@$(BIN)/tabagent run demo --raw -p "$(PROMPT)" -n 64 --display-prompt --show-timings

test-material: dev ## fetch what the tests read and run from outside: models, the schema suite, other programs' clients
	@$(BIN)/python tests/material.py
	@$(BIN)/python tests/clients.py clients
	@$(BIN)/python tests/clients.py ray

# What tests read from outside: the built libraries, the real models, other programs' clients, and the pinned tree with its headers and vocabularies.
TEST_ENV = TABAGENT_TEST_MODELS="$(CACHE)/models" TABAGENT_TEST_CLIENTS="$$($(BIN)/python tests/clients.py clients --where)" \
	TABAGENT_TEST_RAY="$$($(BIN)/python tests/clients.py ray --where)" TABAGENT_LLAMA_CPP_TREE="$$($(BACKEND) source)"
LIBRARY_ENV := TABAGENT_LIBRARY_PATH="$(CURDIR)/python/tabagent/lib"
PYO3_ENV := PYO3_PYTHON="$(CURDIR)/$(BIN)/python"

test-env: $(STAMPS)/venv ## print what tests read from the environment, to run some by hand: eval "`make -s test-env`"
	@$(TEST_ENV) $(PYO3_ENV) $(LIBRARY_ENV) $(BIN)/python -c 'import os, shlex; print(*(f"export {name}={shlex.quote(os.environ[name])}" \
		for name in ("TABAGENT_TEST_MODELS", "TABAGENT_TEST_CLIENTS", "TABAGENT_TEST_RAY", "TABAGENT_LLAMA_CPP_TREE", "TABAGENT_LIBRARY_PATH", "PYO3_PYTHON")), sep="\n")'

ifdef T
test: dev test-material
	@$(TEST_ENV) $(PYO3_ENV) $(LIBRARY_ENV) $(BIN)/python tests/named.py "$(T)"
else
test: check-rust-style check-python-style check-types check-rust check-python ## run every check and test
	@echo "all checks passed"
endif

# A worker for each core that may be used: these tests share nothing, and many wait for programs that they start.
IN_PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal

# Without fuzzing, which runs for as long as it is told to, and without the real models: a test that needs one is skipped and says so. The libraries may be those of `make dev`, with few CPU modules.
test-fast: check-rust-style check-python-style dev ## run the tests that need no model: three minutes at most, once built
	TABAGENT_LLAMA_CPP_TREE="$$($(BACKEND) source)" $(PYO3_ENV) $(LIBRARY_ENV) \
		env -u CI -u TABAGENT_TEST_MODELS cargo test --workspace --exclude tabagent-fuzz --locked --quiet --lib --tests
	TABAGENT_LLAMA_CPP_TREE="$$($(BACKEND) source)" env -u CI -u TABAGENT_TEST_MODELS $(BIN)/python -m pytest -q $(IN_PARALLEL) tests/unit \
		--deselect tests/unit/test_wheel.py::test_every_cpu_module_of_the_platform_is_there

check-rust-style:
	cargo fmt --all --check

check-rust: dev every-module test-material
	$(PYO3_ENV) cargo clippy --workspace --all-targets --locked -- -D warnings
	$(TEST_ENV) $(PYO3_ENV) $(LIBRARY_ENV) cargo test --workspace --locked

check-python-style: $(STAMPS)/venv
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)

check-types: dev
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest tabagent._native --mypy-config-file pyproject.toml

# Those on real models run one after another: they measure times, and each worker would load the models.
check-python: dev every-module test-material
	$(TEST_ENV) $(BIN)/python -m pytest $(IN_PARALLEL) tests/unit tests/property
	$(TEST_ENV) $(BIN)/python -m pytest --ignore tests/unit --ignore tests/property --ignore tests/foreign

# Needs Debian's cross compilers, Wine and QEMU, and says which are missing. Not part of `test`: it takes five minutes, and ten the first time.
check-targets: $(STAMPS)/venv ## compile all crates for Windows and AArch64, and run unit tests there
	@$(NEED_CARGO)
	$(BIN)/python tools/check_targets.py

# Not part of `test`: on two cores llama.cpp's DLLs take three minutes the first time, the tests ten.
test-windows: dev ## run the tests of all crates, and tests/windows in an official CPython, on Windows as Wine is one
	$(BIN)/python tests/material.py
	$(BIN)/python tools/test_windows.py

test-aarch64: dev ## run the tests of all crates on AArch64, which QEMU plays
	$(BIN)/python tests/material.py
	$(BIN)/python tools/test_aarch64.py

# What the wheel runs with; it is built on any newer system. `GLIBC=` takes this system's.
GLIBC := $(if $(filter Linux,$(shell uname -s)),2.28)

wheel: $(STAMPS)/venv ## build the wheel into dist/, for systems with glibc 2.28 or later
	@$(NEED_CARGO)
	@mkdir -p dist && rm -f dist/tabagent-*.whl
	@$(WITH_TOOLS) TABAGENT_GLIBC=$(GLIBC) $(BACKEND) wheel
	@ls -l dist

# They need nothing of the project but its libraries; the wheels lie in dist/.
companion-cuda: $(STAMPS)/venv ## build the wheel of the companion package for NVIDIA's GPUs
	$(call COMPANION,cuda)

companion-vulkan: $(STAMPS)/venv ## build the wheel of the companion package for all GPUs with a Vulkan driver
	$(call COMPANION,vulkan)

define COMPANION
	@mkdir -p dist && rm -f dist/tabagent_$(1)-*.whl
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist companions/$(1)
	@ls -l dist
endef

test-gpu: dev test-material ## run the tests on a GPU through a companion package that is installed: make test-gpu GPU=cuda
	$(TEST_ENV) TABAGENT_TEST_GPU="$(GPU)" $(BIN)/python -m pytest tests/gpu

# Not part of `test`: it fetches and builds three other llama.cpp, 15 minutes on 2 cores the first time. Needs CMake and a C++ compiler.
test-variants: dev test-material ## run the tests on llama.cpp builds of other years, which it builds first, and of other packages
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/foreign_builds.py
	$(TEST_ENV) $(BIN)/python -m pytest tests/foreign

# Figures are those of the extension as the wheel has it; `make dev` puts the quickly built one back.
bench: dev test-material ## compare speed and memory with the peers
	$(RELEASE)
	$(BENCH_ENV) $(BIN)/python benches/run.py

soak: dev test-material ## serve many requests of every kind at once for ten minutes, and look for what is lost or grows
	$(BIN)/python tests/soak.py "$(CACHE)/models/smollm2-135m-instruct-q4_1.gguf"

fuzz: dev ## damage what each parser reads for five minutes (SECONDS_EACH=N): files, messages, templates
	TABAGENT_FUZZ_SECONDS=$(SECONDS_EACH) TABAGENT_FUZZ_START=$$(date +%s) cargo test --release --locked -p tabagent-fuzz --test targets

fuzz-models: dev ## spoil the hyperparameters of tiny models of every architecture, a hundred times each: about an hour
	$(BIN)/python tests/fuzz_models.py

load: dev test-material ## ask a server for everything from 64 clients for ten minutes (SECONDS_OF_LOAD=N), and look for what is lost or grows
	$(BIN)/python tests/load.py --seconds $(SECONDS_OF_LOAD) "$(CACHE)/models/smollm2-135m-instruct-q4_1.gguf" "$(CACHE)/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"

schemathesis: dev test-material ## make up requests from /openapi.json for an hour (MINUTES=N), and look for a 500, a hang or a crash
	$(TEST_ENV) $(BIN)/python tests/made_up.py --minutes $(MINUTES) "$(CACHE)/models/smollm2-135m-instruct-q4_1.gguf"

bench-engine: dev test-material ## compare the engine of our own with llama.cpp
	$(RELEASE)
	$(BENCH_ENV) $(BIN)/python benches/engine.py

bench-serving: dev test-material ## compare several streams at once with llama-server
	$(RELEASE)
	$(BENCH_ENV) $(BIN)/python benches/serving.py

RELEASE = @rm -f $(STAMPS)/dev; $(DEVELOP) --release && $(BACKEND) child --release >/dev/null
BENCH_ENV = TABAGENT_BENCH_TOOLS="$$($(BACKEND) bench-tools)" TABAGENT_TEST_MODELS="$(CACHE)/models"

fmt: $(STAMPS)/venv ## format all code
	cargo fmt --all
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_CODE)
	$(BIN)/ruff format $(PYTHON_CODE)

lint: check-rust-style check-python-style check-types ## run the linters and the type checker
	$(PYO3_ENV) cargo clippy --workspace --all-targets --locked -- -D warnings

clean: ## remove what was built in the clone (the cache folder stays)
	rm -rf $(VENV) target dist build python/tabagent/lib python/tabagent/bin python/tabagent/_native*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
