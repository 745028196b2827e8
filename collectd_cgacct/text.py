# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Text from the kernel and from operators: to bytes and back, and fit to be logged. Pure.

Never os.fsencode: what that does depends on the locale that collectd was started with.
"""

from __future__ import annotations

_SHOWN = 120


def decode(name: bytes) -> str:
    """Return bytes as text; what is not UTF-8 becomes surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes that ``text`` was decoded from; never raises."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def printable(text: str) -> str:
    """Return ``text`` with escapes for what does not belong on a line of a log."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quote(text: str) -> str:
    """Return ``text`` printable, in quotes, and cut where it is too long for a message."""
    return f'"{printable(text[:_SHOWN])}{"..." if len(text) > _SHOWN else ""}"'
