# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Log levels of syslog in Python's logging, and libbpf's messages among them."""

from __future__ import annotations

import errno
import logging

from . import libbpf
from .errors import OperationError

NOTICE = (logging.INFO + logging.WARNING) // 2
logging.addLevelName(NOTICE, "NOTICE")

logger = logging.getLogger(__package__)
# What the handlers of other Python plugins do is not ours to trigger.
logger.propagate = False

_LIBBPF_LEVELS = {
    libbpf.WARN: logging.WARNING,
    libbpf.INFO: logging.INFO,
    libbpf.DEBUG: logging.DEBUG,
}


def _libbpf_line(level: int, text: str) -> None:
    # A verifier log is one message of many lines.
    for line in text.splitlines():
        logger.log(_LIBBPF_LEVELS.get(level, logging.DEBUG), "%s", line)


def send_to(handler: logging.Handler, level: int = logging.INFO) -> None:
    """Send what the package and libbpf say, from ``level`` up, to ``handler`` alone.

    Raises OperationError if there is no libbpf; what the package says is sent all the same.
    """
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    most = libbpf.DEBUG if level <= logging.DEBUG else libbpf.INFO
    try:
        libbpf.set_print(_libbpf_line, most)
    except OSError as error:
        number = error.errno or errno.ENOENT
        raise OperationError("find libbpf", "", number, error.strerror or "") from error


class OnChange:
    """Logs a complaint when it begins, changes or ends, not each time it is met."""

    def __init__(self, target: logging.Logger) -> None:
        self._logger = target
        self._current: dict[str, str] = {}

    def begin(self, subject: str, message: str) -> None:
        """Warn, unless this is already known of ``subject``."""
        if self._current.get(subject) != message:
            self._current[subject] = message
            self._logger.warning("%s", message)

    def begin_once(self, subject: str, message: str) -> None:
        """Warn, unless something is already wrong with ``subject``, whatever it is."""
        if subject not in self._current:
            self.begin(subject, message)

    def end(self, subject: str, message: str) -> None:
        """Say that it is over, if anything was wrong with ``subject``."""
        if self._current.pop(subject, None) is not None:
            self._logger.log(NOTICE, "%s", message)

    def forget(self, subject: str) -> None:
        """Drop ``subject``, which is no more."""
        self._current.pop(subject, None)
