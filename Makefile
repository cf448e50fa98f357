# SPDX-License-Identifier: Apache-2.0
#
# Needs make, Python 3.10 or later and a C++20 compiler; everything else is installed: Python packages into .venv from
# the package index pip is configured for, GoogleTest and Python's headers by apt-get where they are missing.
#
#   make demo         set-up, then the built-in models on rendered people: pictures and a clip in demo/
#   make test         set-up, then every test, C++ and Python
#   make lint         ruff, mypy, clang-format
#   make sanitize     the C++ tests under address and undefined-behaviour sanitizers
#   make test-gpu     kernels, engines and frames on this machine's GPU; EDGEPOSE_REQUIRE_GPU=1 fails without one
#   make gpu-report   the same with what is installed for $(PYTHON), without a network; writes build/gpu.json
#   make cuda         compile the kernels for Orin (sm_87), where nvcc is
#   make test-aarch64 the C++ tests compiled for 64-bit ARM, in QEMU; installs compiler and emulator by apt-get
#   make test-wheel   the runtime's tests against an installed wheel, outside this tree
#   make format       rewrite the sources as `make lint` wants them
#   make sizes        the longest files of each kind
#   make clean        remove what was built; `make distclean` removes .venv too

PYTHON ?= python3
VENV ?= .venv
# Installed first and alone, so that nothing else decides which PyTorch comes. Options may follow the version:
# make test TORCH='torch==2.13.0 --index-url ...' takes a build without CUDA from where your platform has it.
TORCH ?= torch==2.13.0

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
.DEFAULT_GOAL := help

export PYTHON CXX
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Threads that spin while they wait slow tests of many small products down where cores are few.
export OMP_WAIT_POLICY := passive

DONE := $(VENV)/.done
INSTALL := $(VENV)/bin/python -m pip install --progress-bar off
CXX_BUILD := CMakeLists.txt $(shell find cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.def' -o -name '*.cu' -o -name CMakeLists.txt)
CXX_FILES := $(shell find cpp tests/cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.cu')

.PHONY: help demo test test-cpp test-python test-gpu gpu-report test-aarch64 cuda test-wheel lint lint-python lint-types lint-cpp format sanitize sizes setup
.PHONY: clean distclean gtest

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

## Set-up: one stamp per step, newer than what the step was made from.

setup: $(DONE)/package

$(DONE)/venv:
	tools/system_packages compiler python
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --quiet --upgrade 'pip>=25.1'
	mkdir -p $(DONE) && touch $@

$(DONE)/build-tools: pyproject.toml $(DONE)/venv
	$(INSTALL) --quiet --group build
	touch $@

$(DONE)/torch: $(DONE)/venv
	$(INSTALL) --quiet $(TORCH)
	touch $@

# Editable: Python files are used where they lie; only C++, the version and the metadata need this step again.
$(DONE)/package: pyproject.toml src/edgepose/__init__.py $(CXX_BUILD) $(DONE)/build-tools $(DONE)/torch
	$(INSTALL) --quiet --no-build-isolation --editable '.[export]'
	touch $@

$(DONE)/test-tools: pyproject.toml $(DONE)/package
	$(INSTALL) --quiet --group test
	touch $@

$(DONE)/lint-tools: pyproject.toml $(DONE)/package
	$(INSTALL) --quiet --group lint
	touch $@

gtest:
	@tools/system_packages gtest

## The main job.

demo: $(DONE)/package
	edgepose demo --out demo

## Tests.

test: test-cpp test-python

test-cpp: $(DONE)/build-tools gtest
	cmake -S . -B build/tests -G Ninja -DEDGEPOSE_TESTS=ON -DEDGEPOSE_PYTHON=OFF -DCMAKE_BUILD_TYPE=Release \
	  -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
	cmake --build build/tests
	ctest --test-dir build/tests --output-on-failure --no-tests=error

test-python: $(DONE)/test-tools
	python -m pytest

sanitize: $(DONE)/build-tools gtest
	cmake -S . -B build/sanitize -G Ninja -DEDGEPOSE_TESTS=ON -DEDGEPOSE_PYTHON=OFF -DEDGEPOSE_SANITIZE=ON \
	  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g' -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
	cmake --build build/sanitize
	ctest --test-dir build/sanitize --output-on-failure --no-tests=error

test-gpu: $(DONE)/test-tools gtest
	if command -v nvcc >/dev/null; then \
	  cmake -S . -B build/gpu-tests -G Ninja -DEDGEPOSE_TESTS=ON -DEDGEPOSE_PYTHON=OFF -DEDGEPOSE_CUDA=ON \
	    -DCMAKE_BUILD_TYPE=Release && \
	  cmake --build build/gpu-tests --target edgepose_gpu_tests && \
	  build/gpu-tests/tests/cpp/edgepose_gpu_tests; \
	elif [ "$${EDGEPOSE_REQUIRE_GPU:-}" = 1 ]; then echo 'EDGEPOSE_REQUIRE_GPU=1, but there is no nvcc' >&2; exit 1; \
	else echo 'skipped, no nvcc: the kernels alone'; fi
	python -m pytest tests/gpu

# Outside .venv, which could not be filled: PyTorch and the rest are those of the machine.
gpu-report: export PATH := $(subst $(abspath $(VENV))/bin:,,$(PATH))
gpu-report:
	mkdir -p build
	$(PYTHON) tools/gpu_report.py --out build/gpu.json

cuda: $(DONE)/build-tools
	if command -v nvcc >/dev/null; then \
	  cmake -S . -B build/cuda -G Ninja -DEDGEPOSE_PYTHON=OFF -DEDGEPOSE_CUDA=ON -DEDGEPOSE_CUDA_ARCHITECTURES=87-real \
	    -DCMAKE_BUILD_TYPE=Release -DCMAKE_COMPILE_WARNING_AS_ERROR=ON && \
	  cmake --build build/cuda; \
	else echo 'skipped, no nvcc: nothing is compiled for sm_87'; fi

test-aarch64: $(DONE)/build-tools
	if command -v apt-get >/dev/null; then \
	  tools/system_packages aarch64 && \
	  cmake -S . -B build/aarch64 -G Ninja --toolchain cmake/aarch64.cmake -DEDGEPOSE_TESTS=ON -DEDGEPOSE_PYTHON=OFF \
	    -DEDGEPOSE_CUDA=OFF -DCMAKE_BUILD_TYPE=Release -DCMAKE_COMPILE_WARNING_AS_ERROR=ON && \
	  cmake --build build/aarch64 && \
	  ctest --test-dir build/aarch64 --output-on-failure --no-tests=error --parallel $$(nproc); \
	else echo 'skipped, no apt-get: nothing is compiled for 64-bit ARM'; fi

test-wheel: $(DONE)/build-tools
	rm -rf build/wheel
	python -m pip wheel . --no-deps --no-build-isolation --quiet --wheel-dir build/wheel
	tools/test_wheel build/wheel/*.whl

## Style. `make -k lint` goes on after the first tool that objects.

lint: lint-python lint-types lint-cpp

lint-python: $(DONE)/lint-tools
	ruff check
	ruff format --check

# mypy has to see one package `edgepose`, as it is installed; its paths are turned back into those of this tree.
TYPED := build/typed/edgepose

lint-types: $(DONE)/lint-tools
	rm -rf build/typed && mkdir -p $(TYPED)
	ln -s $(abspath src/edgepose)/* $(abspath engines) $(abspath export) $(abspath training) $(TYPED)
	python -m mypy $(TYPED) tools benchmarks 2>&1 | sed -e 's#$(TYPED)/\(engines\|export\|training\)#\1#' \
	  -e 's#$(TYPED)#src/edgepose#'

lint-cpp: $(DONE)/lint-tools
	@echo clang-format --dry-run -Werror, $(words $(CXX_FILES)) files
	@clang-format --dry-run -Werror $(CXX_FILES)

format: $(DONE)/lint-tools
	ruff check --select I --fix
	ruff format
	clang-format -i $(CXX_FILES)

sizes:
	@for kind in hpp cpp py; do \
	  echo "longest .$$kind files (lines):"; \
	  find cpp src engines export training tools benchmarks -name "*.$$kind" -exec wc -l {} + | grep -v ' total$$' | sort -rn | sed -n 1,6p; \
	done

clean:
	rm -rf build demo dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find src engines export training tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
