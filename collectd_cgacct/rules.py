# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From a cgroup's path to its name, or to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count

from .patterns import Pattern
from .templates import ROOT, Template
from .text import decode, encode

NAME_MAX = 127  # bytes; collectd's DATA_MAX_NAME_LEN is 128 with the NUL
_DIGITS = 12
# Control characters (Unicode's Cc), the line and paragraph separators, undecodable bytes.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Rule:
    """Account what ``pattern`` matches, under the name that ``template`` gives.

    ``source`` is where it was written: "collectd.conf", or a file and line.
    """

    pattern: Pattern
    template: Template
    source: str


@dataclass(frozen=True)
class Exclude:
    """Never account what ``pattern`` matches."""

    pattern: Pattern
    source: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a path, and why.

    ``rule`` is the first that matches, and ``exclude`` what overrules it; ``name_raw`` is None
    unless there is a rule and no exclude.
    """

    path: str
    name_raw: str | None
    rule: Rule | None
    exclude: Exclude | None


class RuleSet:
    """Rules in order, the first that matches names the cgroup; an exclude wins over all."""

    def __init__(self, rules: Iterable[Rule], excludes: Iterable[Exclude]) -> None:
        self.rules = tuple(rules)
        self.excludes = tuple(excludes)

    def decide(self, path: str) -> Decision:
        """Return the name for ``path``, or what keeps it from having one."""
        for rule in self.rules:
            captures = rule.pattern.match(path)
            if captures is not None:
                exclude = self._exclude(path)
                raw = None if exclude else rule.template.expand(path, captures)
                return Decision(path, raw, rule, exclude)
        return Decision(path, None, None, None)

    def raw_name(self, path: str) -> str | None:
        """Return the raw name for ``path``, or None if it is not to be accounted."""
        return self.decide(path).name_raw

    def may_match_below(self, path: str) -> bool:
        """Tell whether a cgroup below the directory ``path`` can have a name."""
        return any(rule.pattern.may_match_below(path) for rule in self.rules) and not any(
            exclude.pattern.covers_all_below(path) for exclude in self.excludes
        )

    def _exclude(self, path: str) -> Exclude | None:
        for exclude in self.excludes:
            if exclude.pattern.match(path) is not None:
                return exclude
        return None


def clean_name(raw: str) -> str:
    """Return ``raw`` as a name for collectd: printable UTF-8 of 1 to 127 bytes without slashes.

    A name that loses something ends in a hash of the whole, so that two do not fall together.
    The slash is no such loss: see Names.
    """
    if raw in ("", ROOT):
        return "root"
    decoded = decode(encode(raw))
    clean = _UNFIT.sub("_", decoded).replace("/", "-")
    if _UNFIT.search(decoded) or len(clean.encode()) > NAME_MAX:
        return _hashed(clean, encode(raw))
    return clean


def _hashed(clean: str, whole: bytes) -> str:
    digest = blake2b(whole, digest_size=_DIGITS // 2).hexdigest()
    room = NAME_MAX - _DIGITS - 1
    # Cutting may have split the last character; "ignore" drops what is left of it.
    return clean.encode()[:room].decode("utf-8", "ignore") + f"-{digest}"


class Names:
    """Gives each raw name a clean name that no other raw name has.

    "a/b" and "a-b" are both "a-b" when clean: whichever comes second gets a hash at its end.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._raws: dict[str, str] = {}

    def hold(self, raw: str, name: str) -> None:
        """Let ``raw`` have ``name``, as it had in an earlier run, and no other any more."""
        self._raws.pop(self._names.get(raw, ""), None)
        self._names[raw] = name
        self._raws[name] = raw

    def claim(self, raw: str) -> str:
        """Return the name of ``raw``: the same one until it is released."""
        name = self._names.get(raw)
        if name is None:
            name = next(name for name in _candidates(raw) if name not in self._raws)
            self._names[raw] = name
            self._raws[name] = raw
        return name

    def release(self, name: str) -> None:
        """Forget ``name``, so that another raw name can have it; unknown names are fine."""
        raw = self._raws.pop(name, None)
        if raw is not None and self._names.get(raw) == name:
            del self._names[raw]

    def raw(self, name: str) -> str:
        """Return the raw name that has ``name``; one that nobody has, stands for itself."""
        return self._raws.get(name, name)


def _candidates(raw: str) -> Iterable[str]:
    clean = clean_name(raw)
    yield clean
    yield _hashed(clean, encode(raw))
    for number in count():
        yield _hashed(clean, encode(raw) + b"\0%d" % number)
