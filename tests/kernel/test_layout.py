# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The struct of C and that of Python agree, as the objects' BTF has it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import SIZE, Counters, Layout

OBJECTS = [Path(PACKAGED_OBJECT).with_name(f"cgacct.bpf{order}.o") for order in ("el", "eb")]


def struct(path: Path, name: str) -> Any:
    command = ["bpftool", "-j", "btf", "dump", "file", str(path)]
    types = json.loads(subprocess.check_output(command))["types"]
    (found,) = (one for one in types if one["kind"] == "STRUCT" and one["name"] == name)
    return found


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_fields_lie_where_python_reads_them(path: Path) -> None:
    members = struct(path, "cgacct_counters")["members"]
    offsets = {member["name"]: member["bits_offset"] // 8 for member in members}
    assert offsets == {name: 8 * place for place, name in enumerate(Counters._fields)}


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_struct_is_as_large_as_python_takes_it_for(path: Path) -> None:
    assert struct(path, "cgacct_counters")["size"] == SIZE


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_switches_are_as_large_as_python_makes_them(path: Path) -> None:
    switches = struct(path, "cgacct_switches")
    assert [member["name"] for member in switches["members"]] == ["splits", "last_cell"]
    assert switches["size"] == len(Layout().switches)


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_switches_are_the_only_constants(path: Path) -> None:
    # A table that the compiler makes of a switch statement would be one.
    headers = subprocess.check_output(["llvm-readelf", "-S", "-W", path], text=True)
    (rodata,) = (line.split("]")[1].split() for line in headers.splitlines() if ".rodata" in line)
    assert int(rodata[4], 16) == len(Layout().switches)
