# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The objects are the same wherever they are built, and hold nothing of the place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.collectd import CHECKOUT

OBJECTS = ("cgacct.bpfel.o", "cgacct.bpfeb.o")
EI_DATA = 5


def build(directory: Path) -> dict[str, bytes]:
    (directory / "collectd_cgacct").mkdir(parents=True)
    shutil.copy(CHECKOUT / "Makefile", directory)
    shutil.copytree(CHECKOUT / "bpf", directory / "bpf")
    command = ["make", "-C", str(directory), "build"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {name: (directory / "collectd_cgacct" / name).read_bytes() for name in OBJECTS}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def built(place: Path) -> dict[str, bytes]:
    return build(place / "here")


def test_two_builds_in_two_places_are_byte_identical(place: Path, built: dict[str, bytes]) -> None:
    assert build(place / "a much longer path" / "ü") == built


def test_the_checkout_was_built_from_this_source(built: dict[str, bytes]) -> None:
    for name in OBJECTS:
        assert (CHECKOUT / "collectd_cgacct" / name).read_bytes() == built[name]


@pytest.mark.parametrize("name", OBJECTS)
def test_no_build_path_is_in_the_object(place: Path, built: dict[str, bytes], name: str) -> None:
    for path in (place, CHECKOUT, Path.home()):
        assert path == Path("/") or str(path).encode() not in built[name]


@pytest.mark.parametrize("name", OBJECTS)
def test_no_debug_section_is_in_the_object(built: dict[str, bytes], name: str) -> None:
    assert b".debug_" not in built[name]


@pytest.mark.parametrize("name", OBJECTS)
def test_btf_is_in_the_object(built: dict[str, bytes], name: str) -> None:
    assert b".BTF\0" in built[name]


def test_each_object_has_the_byte_order_of_its_name(built: dict[str, bytes]) -> None:
    assert [built[name][EI_DATA] for name in OBJECTS] == [1, 2]
