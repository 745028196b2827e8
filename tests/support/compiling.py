# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""eBPF objects that a test makes from a few lines of C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HEAD = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
"""


def compile_bpf(directory: Path, source: str) -> Path:
    """Compile ``source``, the common includes put before it; return the object's path."""
    file = directory / "test.bpf.c"
    file.write_text(_HEAD + source, "utf-8")
    target = "bpfel" if sys.byteorder == "little" else "bpfeb"
    multiarch = subprocess.check_output(["clang", "-print-multiarch"], text=True).strip()
    command = ["clang", "-target", target, "-mcpu=v2", "-O2", "-g", f"-I/usr/include/{multiarch}"]
    subprocess.run([*command, "-c", file, "-o", file.with_suffix(".o")], check=True)
    return file.with_suffix(".o")
