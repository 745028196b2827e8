# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

# collectd embeds Debian's python3, which need not be the one on PATH.
PYTHON ?= /usr/bin/python3
CLANG ?= clang
LLVM_STRIP ?= llvm-strip

PACKAGE := collectd_cgacct
OBJECTS := $(PACKAGE)/cgacct.bpfel.o $(PACKAGE)/cgacct.bpfeb.o

# v2 keeps __sync_fetch_and_add the old XADD instruction on every clang; from v3 on
# newer ones emit atomic fetch-and-add, which Linux 5.10 does not know.
# The prefix map keeps the build path out of the object.
BPF_CFLAGS := -mcpu=v2 -O2 -g -Wall -Wextra -Werror -ffile-prefix-map=$(CURDIR)=. \
	-I/usr/include/$(shell $(CLANG) -print-multiarch 2>/dev/null)

.DELETE_ON_ERROR:
.PHONY: help build clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: $(OBJECTS) ## build the eBPF objects, for both byte orders

$(PACKAGE)/cgacct.%.o: bpf/cgacct.bpf.c bpf/cgacct.h Makefile
	$(CLANG) -target $* $(BPF_CFLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@
