# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a process that a test starts does for itself."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have this process get a signal when the one that started it ends."""
    # int prctl(int op, ...);
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
