# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cells are whose, and what they add up to."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.counters import FIELDS, SIZE, SPLITS, Counters, Layout

COMBINATIONS = [
    splits for count in range(len(SPLITS) + 1) for splits in itertools.combinations(SPLITS, count)
]


@pytest.mark.parametrize("splits", COMBINATIONS, ids=" ".join)
@settings(max_examples=30, database=None, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_the_parts_of_each_split_add_up_to_the_total(
    splits: tuple[str, ...], random: Random
) -> None:
    layout = Layout(splits)
    cells = [random.randrange(2**64) for _ in range(layout.fields)]
    parts = layout.parts(cells)
    assert set(parts) == {part for name in splits for part in SPLITS[name]}
    for name in splits:
        of_split = [parts[part] for part in SPLITS[name]]
        assert Counters(*(sum(field) for field in zip(*of_split))) == layout.total(cells)


@pytest.mark.parametrize("splits", COMBINATIONS, ids=" ".join)
def test_each_combination_of_parts_is_one_cell(splits: tuple[str, ...]) -> None:
    layout = Layout(splits)
    assert (
        layout.size
        == layout.fields * 8
        == SIZE * len(list(itertools.product(*(SPLITS[name] for name in splits))))
    )
    for cell in range(layout.fields // FIELDS):
        cells = [0] * layout.fields
        cells[cell * FIELDS] = 23
        hit = [part for part, counters in layout.parts(cells).items() if counters.rx_bytes]
        assert len(hit) == len(splits)
        assert layout.total(cells) == Counters(23)


def test_without_a_split_there_is_one_cell_and_no_part() -> None:
    layout = Layout()
    assert layout.size == SIZE
    assert layout.total((1, 2, 3, 4)) == Counters(1, 2, 3, 4)
    assert layout.parts((1, 2, 3, 4)) == {}


def test_the_last_split_varies_fastest_in_whatever_order_they_were_named() -> None:
    layout = Layout(["scope", "family", "scope"])
    assert layout.splits == ("family", "scope")
    parts = layout.parts(range(1, 17))
    assert parts["ipv4"] == Counters(1 + 5, 2 + 6, 3 + 7, 4 + 8)
    assert parts["loopback"] == Counters(1 + 9, 2 + 10, 3 + 11, 4 + 12)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="port"):
        Layout(["port"])
