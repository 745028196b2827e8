# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs count, and the sums over CPUs. Pure.

Counters is the twin of struct cgacct_counters in bpf/cgacct.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

# All counters of one cgroup, summed over CPUs, in the order of the C structure.
Values = tuple[int, ...]


class Counters(NamedTuple):
    """Octets at L3 and packets: rx is ingress, tx is egress. Cumulative."""

    rx_bytes: int = 0
    rx_packets: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0


FIELDS = len(Counters._fields)
SIZE = FIELDS * 8


class CpuSums:
    """Sums many per-CPU values at once.

    A value is ``cpus`` slots, one after another, of ``width`` unsigned 64-bit numbers.
    """

    def __init__(self, width: int, cpus: int, byteorder: str = sys.byteorder) -> None:
        self._byteorder = byteorder
        self._slot_bits = width * 64
        self._cpus = cpus
        # The sum of all slots comes to stand where the first was; in the last on big endian.
        rest = width * 8 * (cpus - 1)
        little = byteorder == "little"
        self._unpack = struct.Struct(f"<{width}Q{rest}x" if little else f">{rest}x{width}Q")

    def __call__(self, values: bytes) -> Iterator[Values]:
        """Yield the sums of each of ``values``."""
        # Bytes taken as one long number, an addition adds all slots of all values. No
        # counter reaches 2**64, so that none carries into its neighbour.
        slots = int.from_bytes(values, self._byteorder)  # type: ignore[arg-type]
        sums, summed = slots, 1
        for bit in bin(self._cpus)[3:]:
            sums += sums >> (summed * self._slot_bits)
            summed *= 2
            if bit == "1":
                sums = slots + (sums >> self._slot_bits)
                summed += 1
        packed = sums.to_bytes(len(values), self._byteorder)  # type: ignore[arg-type]
        return self._unpack.iter_unpack(packed)
