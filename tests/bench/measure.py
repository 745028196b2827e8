# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Interleaved rounds, their medians, and tables of them.

What is compared is measured in turns (A B C A B C …), so that a machine that gets slower
or busier in between does so to all of them alike.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable

Rounds = dict[str, list[float]]


def interleave(candidates: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Call each candidate once a round, in order; return what each returned."""
    results: Rounds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            results[name].append(candidate())
    return results


def medians(results: Rounds) -> dict[str, float]:
    """Return the median of each candidate's rounds."""
    return {name: statistics.median(values) for name, values in results.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of ``values`` that at least ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def seconds(call: Callable[[], object]) -> float:
    """Return how long ``call`` took."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@contextlib.contextmanager
def pinned() -> Iterator[int]:
    """Stay on one CPU, the last that this thread may use; yield its number."""
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, allowed)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print ``rows`` below ``header``: the first column to the left, numbers to the right."""
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print(f"\n{title}\n")
    for line in lines:
        first = line[0].ljust(widths[0])
        print("  ".join([first, *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:]))]))


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def claim(what: str, value: float, limit: float) -> None:
    """Print whether ``value`` is at most ``limit`` in this run; no test asserts it."""
    print(f"{what} <= {limit:g}: {value:.2f}, {'holds' if value <= limit else 'does not hold'}")
