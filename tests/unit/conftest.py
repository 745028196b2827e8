# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Keeps what hypothesis caches, its tables of Unicode, where all that is generated lies."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(__file__).parents[2] / "build" / "hypothesis")
)
