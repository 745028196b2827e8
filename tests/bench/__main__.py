# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Measure, and print a table for each bench: python3 -m tests.bench [--tiny] [NAME …]

Root is needed. --tiny runs each with tiny counts: its figures mean nothing, but it shows
that the benches still run.
"""

from __future__ import annotations

import argparse
import platform
import re
import signal
from pathlib import Path

from . import appearing, hot_path, read_cost, wire_price

BENCHES = {
    "hot_path": hot_path.run,
    "wire_price": wire_price.run,
    "read_cost": read_cost.run,
    "appearing": appearing.run,
}


def main() -> None:
    """Run the benches that were named, or all."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="tests.bench", description=summary, epilog=rest)
    parser.add_argument("--tiny", action="store_true", help="tiny counts, in seconds")
    parser.add_argument("name", nargs="*", help="of " + ", ".join(BENCHES))
    options = parser.parse_args()
    unknown = set(options.name) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    # SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(_machine())
    if options.tiny:
        print("tiny counts: the figures mean nothing")
    for name in options.name or BENCHES:
        BENCHES[name](options.tiny)


def _machine() -> str:
    cpus = Path("/proc/cpuinfo").read_text("utf-8")
    model = re.search(r"^model name\s*: (.*)", cpus, re.MULTILINE)
    return f"{model[1] if model else platform.machine()}, Linux {platform.release()}"


main()
