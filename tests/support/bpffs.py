# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A bpffs of a test's own, and what is in it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import census

# What the kernel puts into each bpffs.
_PRELOADED = {"maps.debug", "progs.debug"}


@contextlib.contextmanager
def temporary_bpffs() -> Iterator[Path]:
    """Mount a bpffs; all that is pinned in it goes with it."""
    directory = tempfile.mkdtemp(prefix="cgacct-bpffs-")
    try:
        subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)
    finally:
        os.rmdir(directory)


def tree(directory: Path) -> set[str]:
    """Return the paths of all files and directories below ``directory``."""
    found = {str(path.relative_to(directory)) for path in directory.rglob("*")}
    return found - _PRELOADED


def links(pins: Path) -> dict[int, set[str]]:
    """Return the directions of the links that are pinned, by cgroup id."""
    found: dict[int, set[str]] = {}
    for path in pins.glob("*/*gress"):
        number, _, direction = path.name.partition("-")
        found.setdefault(int(number), set()).add(direction)
    return found


def attached(cgroup: Path) -> list[str]:
    """Return the names of the programs that are attached to a cgroup, in order."""
    command = ["bpftool", "-j", "cgroup", "show", str(cgroup)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sorted(one["name"] for one in json.loads(done.stdout.strip() or "[]"))


def kernel_objects(pins: Path) -> census.Held:
    """Return this process's BPF objects and the links that are pinned."""
    found = set(census.held())
    for path in pins.glob("*/*gress"):
        command = ["bpftool", "-j", "link", "show", "pinned", str(path)]
        found.add(("link", json.loads(subprocess.check_output(command))["id"]))
    return frozenset(found)
