# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""eBPF objects that a test makes from a few lines of C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .collectd import CHECKOUT

_HEAD = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
"""


def compile_bpf(directory: Path, source: str) -> Path:
    """Compile ``source``, the common includes put before it; return the object's path."""
    return _compile(directory, _HEAD + source)


def compile_refused(directory: Path) -> Path:
    """Compile our own programs so that the verifier refuses them, and says REFUSED."""
    source = (CHECKOUT / "bpf" / "cgacct.bpf.c").read_text("utf-8")
    wrong = "return *(volatile int *)((char *)skb + 4096);"
    assert "return 1;" in source
    return _compile(directory, source.replace("return 1;", wrong))


# Nothing lies at that offset of the context.
REFUSED = "invalid bpf_context access off=4096"


def _compile(directory: Path, source: str) -> Path:
    file = directory / "test.bpf.c"
    file.write_text(source, "utf-8")
    target = "bpfel" if sys.byteorder == "little" else "bpfeb"
    multiarch = subprocess.check_output(["clang", "-print-multiarch"], text=True).strip()
    command = ["clang", "-target", target, "-mcpu=v2", "-O2", "-g"]
    command += [f"-I{CHECKOUT}/bpf", f"-I/usr/include/{multiarch}"]
    subprocess.run([*command, "-c", file, "-o", file.with_suffix(".o")], check=True)
    return file.with_suffix(".o")
