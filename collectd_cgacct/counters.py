# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs count, and the sum over CPUs. Pure.

Counters is the twin of struct cgacct_counters in bpf/cgacct.h.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence


class Counters(NamedTuple):
    """Octets at L3 and packets: rx is ingress, tx is egress. Cumulative."""

    rx_bytes: int = 0
    rx_packets: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0


FIELDS = len(Counters._fields)
SIZE = FIELDS * 8


def sum_cpus(slots: Sequence[int]) -> Counters:
    """Add up ``slots``: the fields of Counters for each possible CPU, one CPU after another."""
    return Counters(*(sum(slots[field::FIELDS]) for field in range(FIELDS)))
