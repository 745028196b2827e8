# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""collectd's callbacks, log and dispatch. Nothing here may raise into collectd."""

from __future__ import annotations

import errno
import functools
import logging
from typing import Any, Callable, TypeVar

import collectd

from . import config, logs
from .accountant import Accountant, Sample
from .counters import Counters
from .errors import CgacctError, OperationError
from .text import quote

PLUGIN = "cgacct"

logger = logging.getLogger(__name__)

_blocks: list[Any] = []
_accountant: Accountant | None = None
_config = config.Config()

_complaints = logs.OnChange(logger)

_Callback = TypeVar("_Callback", bound=Callable[..., None])


class _CollectdLog(logging.Handler):
    """Hands records to collectd's log, one line each, the plugin's name in front."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            write = collectd.error
        elif record.levelno >= logging.WARNING:
            write = collectd.warning
        elif record.levelno >= logs.NOTICE:
            write = collectd.notice
        elif record.levelno >= logging.INFO:
            write = collectd.info
        else:
            write = collectd.debug
        # collectd takes C strings: no NUL, and no byte that is not UTF-8.
        line = " ".join(record.getMessage().replace("\0", "\\0").splitlines())
        write(f"{PLUGIN}: " + line.encode("utf-8", "backslashreplace").decode())


def _guarded(callback: _Callback) -> _Callback:
    """Keep every exception of ``callback`` from collectd, which would suspend the plugin."""

    @functools.wraps(callback)
    def guard(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except CgacctError as error:
            logger.error("%s", error)
        except OSError as error:
            logger.error("%s", OperationError(callback.__name__, "", error.errno or errno.EIO))
        except Exception as error:
            logger.error("%s failed: %r; please report this", callback.__name__, error)

    return guard  # type: ignore[return-value]


@_guarded
def configure(block: Any) -> None:
    """Keep a ``<Module>`` block until init; there may be several."""
    _blocks.append(block)


@_guarded
def init() -> None:
    """Load, attach, and begin to read."""
    global _accountant, _config
    logs.send_to(_CollectdLog())
    if not _blocks:
        logger.warning(
            "nothing is accounted: add a <Module collectd_cgacct> block "
            "that names cgroups to <Plugin python>"
        )
        return
    _config, problems = config.parse(_blocks)
    for problem in problems:
        logger.error("%s", problem)
    if not _config.cgroups and not _config.rules_files:
        logger.warning("nothing is accounted: add a CGroup or a RulesFile to the block")
    _accountant = Accountant(_config)
    _accountant.start()
    options = {"interval": _config.interval} if _config.interval else {}
    collectd.register_read(read, name=PLUGIN, **options)


@_guarded
def read() -> None:
    """Dispatch every instance's cumulative counters."""
    if _accountant is None:
        return
    sample = _accountant.sample()
    layout = _accountant.layout
    for name, values in sample.totals:
        try:
            _dispatch(name, "", layout.total(values))
            for part, counters in layout.parts(values).items():
                _dispatch(name, part, counters)
        except Exception as error:
            _complaints.begin(name, f"cannot dispatch {quote(name)}: {error!r}; please report this")
    if _config.self_metrics:
        _dispatch_self(sample)


def _dispatch(name: str, part: str, counters: Counters) -> None:
    values = collectd.Values(plugin=PLUGIN, plugin_instance=name, type_instance=part)
    values.dispatch(type="if_octets", values=[counters.rx_bytes, counters.tx_bytes])
    if _config.packets:
        values.dispatch(type="if_packets", values=[counters.rx_packets, counters.tx_packets])


def _dispatch_self(sample: Sample) -> None:
    values = collectd.Values(plugin=PLUGIN)
    for instance, count in (
        ("cgroups", sample.cgroups),
        ("instances", sample.instances),
        ("skipped", sample.skipped),
    ):
        values.dispatch(type="count", type_instance=instance, values=[count])
    for instance, errors in (("attach", sample.attach_errors), ("read", sample.read_errors)):
        values.dispatch(type="errors", type_instance=instance, values=[errors])
    values.dispatch(type="duration", type_instance="read", values=[sample.seconds])


@_guarded
def shutdown() -> None:
    """Detach from everything."""
    global _accountant
    if _accountant is not None:
        _accountant.close()
        _accountant = None
        logger.info("stopped")


def register() -> None:
    """Register the callbacks; collectd matches ``<Module collectd_cgacct>`` with the name."""
    collectd.register_config(configure, name=__package__)
    collectd.register_init(init, name=PLUGIN)
    collectd.register_shutdown(shutdown, name=PLUGIN)
