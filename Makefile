# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

# collectd embeds Debian's python3, which need not be the one on PATH.
PYTHON ?= /usr/bin/python3
CLANG ?= clang
LLVM_STRIP ?= llvm-strip

RESULTS ?= build

PACKAGE := collectd_cgacct
OBJECTS := $(PACKAGE)/cgacct.bpfel.o $(PACKAGE)/cgacct.bpfeb.o

# v2 keeps __sync_fetch_and_add the old XADD instruction on every clang; from v3 on
# newer ones emit atomic fetch-and-add, which Linux 5.10 does not know.
# The compilation directory keeps the build path out of the object.
BPF_CFLAGS = -mcpu=v2 -O2 -g -Wall -Wextra -Werror -ffile-compilation-dir=. \
	-I/usr/include/$(shell $(CLANG) -print-multiarch)

# What the tools of `make lint` are run with. Never a path of .venv/bin: the first line
# of a script there cannot hold a space.
VENV := .venv/bin/python
SHELL_SCRIPTS = grep -rlZE '^\#!/bin/(ba)?sh' --exclude-dir=.git --exclude-dir=.venv \
	--exclude-dir=build --exclude-dir=__pycache__ .
C_FILES = find bpf tests -name '*.[ch]' -print0

# All that is generated lies in build/ and .venv/, beside the objects.
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := build/hypothesis
MAKEFLAGS += --no-print-directory

.DELETE_ON_ERROR:
.PHONY: help deps build demo test unit bench lint deb clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

deps: ## install the Debian packages and the tools that are missing
	@.ci/install-missing .ci/packages-demo.txt .ci/packages-test.txt
	@$(MAKE) -s .venv/installed

build: $(OBJECTS) ## build the eBPF objects, for both byte orders

demo: ## install what is missing, build, and watch a real collectd count (root; about 20 s)
	@.ci/install-missing .ci/packages-demo.txt
	@$(MAKE) build
	@$(PYTHON) -m tests.demo

test: ## install what is missing, build, lint, and run all tests (root)
	@$(MAKE) deps
	@$(MAKE) build lint
	$(PYTHON) -m pytest

unit: ## run the tests that need no root, no libbpf and no collectd
	$(PYTHON) -m pytest tests/unit

bench: build ## measure, and print tables (root)
	$(PYTHON) -m tests.bench

lint: .venv/installed ## check style and types
	$(VENV) -m ruff check
	$(VENV) -m ruff format --check
	$(VENV) -m mypy
	$(C_FILES) | xargs -0 .venv/bin/clang-format --dry-run -Werror
	$(SHELL_SCRIPTS) | xargs -0 .venv/bin/shellcheck

deb: ## build the Debian package, into build/
	.ci/build-deb "$(RESULTS)"

clean: ## remove all that was generated
	rm -rf build .venv $(OBJECTS)
	find . -name __pycache__ -prune -exec rm -rf {} +

$(PACKAGE)/cgacct.%.o: bpf/cgacct.bpf.c $(wildcard bpf/*.h) Makefile
	$(CLANG) -target $* $(BPF_CFLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@

# With Debian's own packages in sight: mypy reads the types of pytest there.
.venv/installed: .ci/lint-requirements.txt
	$(PYTHON) -m venv --clear --system-site-packages .venv
	$(VENV) -m pip install -q --disable-pip-version-check -r $<
	@touch $@
