# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is mounted where, as proc_pid_mountinfo(5) has it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mounted(NamedTuple):
    """A mount: of which ``device``, from which ``root`` in it, at ``path``, of which type."""

    device: int
    root: str
    path: str
    type: str


def parse(text: str) -> Iterator[Mounted]:
    """Yield the mounts in ``text``."""
    for line in text.split("\n"):
        left, separator, right = line.partition(" - ")
        if separator:
            _id, _parent, device, root, path = left.split(" ")[:5]
            major, minor = device.split(":")
            path = _OCTAL.sub(lambda found: chr(int(found[1], 8)), path)
            number = os.makedev(int(major), int(minor))
            yield Mounted(number, root, path, right.split(" ", 1)[0])


def read() -> str:
    """Return the text about the mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
