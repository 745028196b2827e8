# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which BPF programs, maps and links a process holds, and which of them the kernel still knows.

Others may make BPF objects at the same time: what counts is the fate of those ids that
the process under test held.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Union

KINDS = ("prog", "map", "link", "btf")

# ("map", 7), say.
Held = frozenset[tuple[str, int]]
Pid = Union[int, str]


def held(pid: Pid = "self") -> Held:
    """Return the BPF objects that the process has a descriptor of."""
    found = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        # The descriptor that lists the directory is gone by now.
        with contextlib.suppress(FileNotFoundError):
            for line in file.read_text("ascii", "replace").splitlines():
                key, _, value = line.partition(":")
                if key.endswith("_id") and key[:-3] in KINDS:
                    found.add((key[:-3], int(value)))
    return frozenset(found)


def alive(objects: Held) -> Held:
    """Return those of ``objects`` that are still in the kernel."""
    return frozenset(one for one in objects if _is_alive(*one))


def _is_alive(kind: str, number: int) -> bool:
    command = ["bpftool", kind, "show", "id", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "No such file" in done.stderr, done.stderr
    return done.returncode == 0


def count(objects: Held) -> dict[str, int]:
    """Return how many of each kind there are."""
    return dict(Counter(kind for kind, _ in objects))


def descriptors(pid: Pid = "self") -> list[str]:
    """Return what the process has open, without the numbers."""
    targets = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sorted(targets)
