# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The C loop that reading is compared with, compiled on the spot."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from ctypes import c_double, c_int, c_size_t, c_uint64
from pathlib import Path

from collectd_cgacct.libbpf import possible_cpus

from .objects import HERE


def storage_map() -> int:
    """Return the descriptor of the cgroup storage map that this process has open."""
    kind = "map_type:\t21\n"  # BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE
    for file in Path("/proc/self/fdinfo").iterdir():
        try:
            if kind in file.read_text("ascii", "replace"):
                return int(file.name)
        except FileNotFoundError:  # the one that listed the directory
            continue
    raise AssertionError("no cgroup storage map is open")


class LookupLoop:
    """Reads all of ``ids`` from C."""

    def __init__(self, directory: Path, map_fd: int, ids: Sequence[int], fields: int) -> None:
        """Compile into ``directory``; ``fields`` words make up the value of one CPU."""
        target = directory / "lookup_loop.so"
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", target, HERE / "lookup_loop.c", "-lbpf"], check=True)
        self._function = ctypes.CDLL(str(target)).lookup_loop
        self._function.restype = c_double
        self._fields = fields
        self._sums = (c_uint64 * (len(ids) * fields))()
        cpus = possible_cpus()
        self._arguments = (
            c_int(map_fd),
            (c_uint64 * len(ids))(*ids),
            c_size_t(len(ids)),
            c_size_t(cpus),
            c_size_t(fields),
            (c_uint64 * (cpus * fields))(),
            self._sums,
        )

    def run(self) -> float:
        """Read them all; return the seconds that it took."""
        result = float(self._function(*self._arguments))
        if result < 0:
            raise OSError(-int(result), os.strerror(-int(result)), "bpf_map_lookup_elem")
        return result

    def sums(self) -> list[tuple[int, ...]]:
        """Return what the last run found, in the order of the ids."""
        words = list(self._sums)
        step = self._fields
        return [tuple(words[at : at + step]) for at in range(0, len(words), step)]
