# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups are meant: globs and regular expressions on paths below the cgroup2 root.

A path is a str without a leading slash; the root is "". Bytes that are not UTF-8 stand in it
as surrogate escapes.
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

from . import globs, regexbounds
from .errors import CgacctError
from .text import printable, quote

# What a template always offers, so no group of a regular expression can have these names.
RESERVED = ("path", "name", "stem")


class PatternError(CgacctError):
    """A pattern or a template that cannot work. The message is one line with the mend."""


@dataclass(frozen=True)
class Captures:
    """What the wildcards of a pattern stood for; a group that took no part is ""."""

    numbered: tuple[str, ...]
    named: dict[str, str]


class Pattern(ABC):
    """A set of cgroup paths. ``text`` is what was written, ``literal`` the path if it is one.

    ``groups`` is how many wildcards it has and ``names`` those that have a name.
    """

    text: str
    groups: int = 0
    names: frozenset[str] = frozenset()
    literal: str | None = None

    @staticmethod
    def parse(text: str, root: str = "") -> Pattern:
        """Read a pattern; ``root`` is the mount point, accepted as a prefix.

        Raises PatternError.
        """
        if not text.strip():
            raise PatternError('the pattern is empty; "/" is the root, "**" is everything')
        if "\0" in text:
            raise PatternError(f"{quote(text)}: no path holds a NUL; remove it")
        root = re.sub("/+", "/", root).rstrip("/")
        if text[0] == "/" == text[-1] and text.strip("/"):
            if root and text.startswith(f"{root}/"):
                raise PatternError(
                    f"{quote(text)}: between slashes it is a regular expression; "
                    "drop the trailing slash"
                )
            return _Regex(text)
        return _Glob(text, _relative(text, root))

    @abstractmethod
    def match(self, path: str) -> Captures | None:
        """Return what the wildcards stand for in ``path``, or None if it does not match."""

    @abstractmethod
    def may_match_below(self, path: str) -> bool:
        """Tell whether anything below the directory ``path`` can match."""

    @abstractmethod
    def covers_all_below(self, path: str) -> bool:
        """Tell whether everything below the directory ``path`` is sure to match."""

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class _Glob(Pattern):
    """Matched against the path with a slash after each component, so that `**` may be nothing."""

    def __init__(self, text: str, path: str) -> None:
        try:
            parts = globs.parse(path)
        except globs.GlobError as error:
            raise PatternError(f"{quote(text)}: {printable(str(error))}") from None
        self.text = text
        self.groups = sum(part.groups for part in parts)
        self.literal = None if self.groups else path
        self._match, self._below, self._covers = (
            _compile(text, source)
            for source in (globs.whole(parts), globs.below(parts), globs.covers(parts))
        )

    def match(self, path: str) -> Captures | None:
        found = self._match.fullmatch(_closed(path))
        # What `**` took ends in the slash that only this matching needs.
        return found and Captures(tuple(group.rstrip("/") for group in found.groups()), {})

    def may_match_below(self, path: str) -> bool:
        return self._below.fullmatch(_closed(path)) is not None

    def covers_all_below(self, path: str) -> bool:
        return self._covers.fullmatch(_closed(path)) is not None


class _Regex(Pattern):
    def __init__(self, text: str) -> None:
        source = text[1:-1]
        if re.match(r"(?:\^|\\A)\\?/", source):
            raise PatternError(f"{quote(text)}: paths begin without a slash; drop the one after ^")
        self.text = text
        compiled = _compile(text, source)
        self._search = compiled.search
        self.groups = compiled.groups
        self.names = frozenset(compiled.groupindex)
        for name in self.names.intersection(RESERVED):
            raise PatternError(f"{quote(text)}: {{{name}}} has a meaning already; rename the group")
        self._bounds = regexbounds.bounds(source)

    def match(self, path: str) -> Captures | None:
        found = self._search(path)
        return found and Captures(found.groups(""), found.groupdict(""))

    def may_match_below(self, path: str) -> bool:
        return self._bounds.may_match_below(_closed(path))

    def covers_all_below(self, path: str) -> bool:
        return self._bounds.covers_all_below(_closed(path))


def _relative(text: str, root: str) -> str:
    path = re.sub("/+", "/", text)
    if root and f"{path}/".startswith(f"{root}/"):
        path = path[len(root) :]
    path = path.strip("/")
    if f"{path}/".startswith("sys/fs/cgroup/"):
        where = f" ({quote(root)})" if root else ""
        raise PatternError(
            f"{quote(text)}: not below the cgroup2 root{where}; write the path relative to it"
        )
    return path


def _closed(path: str) -> str:
    return f"{path}/" if path else ""


def _compile(text: str, source: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(source, re.DOTALL)
    except (re.error, ValueError, OverflowError) as error:
        reason = printable(str(error))
        raise PatternError(f"{quote(text)}: {reason}; mend the regular expression") from None
    except (RecursionError, MemoryError):
        raise PatternError(f"{quote(text)}: too deep or too large; make it simpler") from None
