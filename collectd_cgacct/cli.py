# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The command collectd-cgacct: the same accounting without collectd.

Exit status: 0 fine, 1 something is wrong, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from . import logs
from .accountant import Accountant
from .config import Config, Selection
from .counters import Counters
from .errors import CgacctError
from .patterns import Pattern, PatternError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("collectd-cgacct: %(message)s"))
    try:
        logs.send_to(handler, logging.DEBUG if options.verbose else logging.WARNING)
        return int(options.run(options))
    except CgacctError as error:
        print(f"collectd-cgacct: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Python would try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"collectd-cgacct: cannot print: {error.strerror}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collectd-cgacct", description="Account the network traffic of control groups."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    top = verbs.add_parser("top", help="print each cgroup's traffic, every second until Ctrl-C")
    top.add_argument(
        "--cgroup",
        action="append",
        required=True,
        type=_pattern,
        metavar="PATTERN",
        help="which cgroups, by their path relative to the cgroup2 mount; repeatable",
    )
    top.set_defaults(run=_top)
    return parser


def _pattern(text: str) -> str:
    try:
        Pattern.parse(text)
    except PatternError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


_ROW = "{:<40} {:>14} {:>12} {:>14} {:>12}"


def _top(options: argparse.Namespace) -> int:
    # SIGTERM detaches as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = Config(cgroups=tuple(Selection(path) for path in options.cgroup))
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(Accountant(config)) as accountant,
    ):
        accountant.start()
        _print_forever(accountant)
    return 0


def _print_forever(accountant: Accountant) -> None:
    before = dict(accountant.sample().totals)
    while True:
        time.sleep(1)
        now = dict(accountant.sample().totals)
        print(_ROW.format("CGROUP", "RX B/s", "RX packet/s", "TX B/s", "TX packet/s"))
        for name, values in now.items():
            last = before.get(name, Counters())
            print(_ROW.format(name, *(new - old for new, old in zip(values, last))))
        print(flush=True)
        before = now
