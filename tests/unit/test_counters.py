# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The sums over CPUs."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.counters import SIZE, Counters, CpuSums


def test_nothing_is_four_zeros() -> None:
    assert Counters() == (0, 0, 0, 0)


def test_the_size_is_that_of_eight_bytes_a_field() -> None:
    assert 8 * len(Counters._fields) == SIZE


@pytest.mark.parametrize("byteorder", ["little", "big"])
@settings(max_examples=100, database=None, deadline=None)
@given(
    random=st.randoms(use_true_random=False),
    number=st.integers(0, 3),
    cpus=st.integers(1, 9),
    width=st.sampled_from([1, 4, 8, 64]),
)
def test_each_value_is_summed_field_by_field(
    byteorder: str, random: Random, number: int, cpus: int, width: int
) -> None:
    # One of these times 1,024 CPUs is still below 2**64.
    values = [[random.randrange(2**54) for _ in range(cpus * width)] for _ in range(number)]
    mark = "<" if byteorder == "little" else ">"
    packed = b"".join(struct.pack(f"{mark}{cpus * width}Q", *value) for value in values)
    expected = [tuple(sum(value[f::width]) for f in range(width)) for value in values]
    assert list(CpuSums(width, cpus, byteorder)(packed)) == expected


@pytest.mark.parametrize("cpus", [2, 3, 64, 1000, 1024])
def test_many_cpus_are_all_added(cpus: int) -> None:
    packed = struct.pack(f"={4 * cpus}Q", *range(4 * cpus))
    expected = tuple(sum(range(field, 4 * cpus, 4)) for field in range(4))
    assert list(CpuSums(4, cpus)(packed * 3)) == [expected] * 3
