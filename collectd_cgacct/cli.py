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

from . import conffile, logs, pins
from .accountant import Accountant
from .config import PIN_PATH, Config, Selection, parse
from .counters import Counters
from .errors import CgacctError
from .patterns import Pattern, PatternError
from .text import printable


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
    purge = verbs.add_parser(
        "purge", help="remove what is pinned in the kernel: counters start from zero again"
    )
    place = purge.add_mutually_exclusive_group()
    place.add_argument(
        "--config",
        default=_CONFIG,
        metavar="FILE",
        help="where to look for the option PinPath (default: %(default)s)",
    )
    place.add_argument(
        "--pin-path", type=_absolute, metavar="PATH", help="a PinPath, whatever the file says"
    )
    purge.add_argument(
        "--force", action="store_true", help="also while a daemon uses it, which counts no more"
    )
    purge.set_defaults(run=_purge)
    return parser


def _absolute(text: str) -> str:
    if not os.path.isabs(text):
        raise argparse.ArgumentTypeError("give it an absolute path")
    return text


def _pattern(text: str) -> str:
    try:
        Pattern.parse(text)
    except PatternError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


_CONFIG = "/etc/collectd/collectd.conf"


def _purge(options: argparse.Namespace) -> int:
    path = _pin_path(options.config) if options.pin_path is None else options.pin_path
    try:
        removed = pins.purge(path, options.force)
    except pins.Held as error:
        raise CgacctError(f"{error}; stop it first, or purge with --force") from None
    print(f"{removed} pins removed from {printable(path)}")
    return 0


def _pin_path(file: str) -> str:
    if file == _CONFIG and not os.path.exists(file):
        return PIN_PATH
    blocks = [
        module
        for plugin in conffile.read(file)
        if plugin.is_block("plugin", "python")
        for module in plugin.children
        if module.is_block("module", str(__package__))
    ]
    # What is wrong with other options does not matter here.
    return parse(blocks)[0].pin_path


_ROW = "{:<40} {:>14} {:>12} {:>14} {:>12}"


def _top(options: argparse.Namespace) -> int:
    # SIGTERM detaches as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cgroups = tuple(Selection(path) for path in options.cgroup)
    # It leaves nothing behind, and does not touch what is a daemon's.
    config = Config(cgroups=cgroups, persist=False, pin_path="")
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
