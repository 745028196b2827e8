# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Globs on paths, as regular expressions.

They are for a path with a slash after each of its components (the root stays ""), so that `**`
can be no component at all. Each wildcard takes as little as it can, from the left: the first of
`*@*.service` is the unit's name, whatever its instance holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME_MAX = 255  # bytes in a file name, limits.h
_CLASS = re.compile(r"\[(?P<negated>[!^]?)(?P<members>\]?[^\]]*)\]", re.DOTALL)
_NOTHING = "(?!)"


class GlobError(ValueError):
    """A glob that cannot work: what is wrong, and the mend."""


@dataclass(frozen=True)
class Part:
    """One component: what was written, the regex source with its slash, how many wildcards.

    ``size`` is how many bytes it takes at least.
    """

    text: str
    source: str
    groups: int
    size: int


def parse(path: str) -> list[Part]:
    """Return the components of a glob. Raises GlobError."""
    return [_part(component) for component in path.split("/") if component]


def whole(parts: Sequence[Part]) -> str:
    """Return the source that matches the paths that are meant."""
    return "".join(part.source for part in parts)


def below(parts: Sequence[Part]) -> str:
    """Return the source that matches the directories below which something can match.

    Whatever follows the first `**` can be still to come, however deep the directory is.
    """
    texts = [part.text for part in parts]
    deep = "**" in texts
    head = parts[: texts.index("**")] if deep else parts[:-1]
    source = ".*" if deep else ""
    for part in reversed(head):
        source = f"(?:{part.source}{source})?"
    return source if parts else _NOTHING


def covers(parts: Sequence[Part]) -> str:
    """Return the source that matches the directories below which everything matches."""
    cut = len(parts)
    while cut and parts[cut - 1].text in ("*", "**"):
        cut -= 1
    tail = [part.text for part in parts[cut:]]
    if "**" not in tail:
        return _NOTHING
    # A child brings one component of its own, for one `*`; the directory must have the others.
    fewest = max(tail.count("*") - 1, 0)
    return whole(parts[:cut]) + f"(?:[^/]+/){{{fewest},}}"


def _part(text: str) -> Part:
    if text == "**":
        return Part(text, "((?:[^/]+/)*?)", 1, 0)
    if text in (".", ".."):
        raise GlobError(f'no cgroup is called "{text}"; write the plain path')
    source, groups, size, at = "", 0, 0, 0
    while at < len(text):
        piece = _piece(text, at)
        source += piece.source
        groups += piece.groups
        size += piece.size
        at += len(piece.text)
    if size > _NAME_MAX:
        raise GlobError(f"no name is longer than {_NAME_MAX} bytes; shorten it")
    return Part(text, f"{source}/", groups, size)


def _piece(text: str, at: int) -> Part:
    """Return the wildcard or the character that stands at ``at`` in a component."""
    if text.startswith("**", at):
        raise GlobError('"**" stands alone between slashes; write "*", or put slashes around it')
    if text[at] == "*":
        return Part("*", "([^/]*?)", 1, 0)
    if text[at] == "?":
        return Part("?", "([^/])", 1, 1)
    if text[at] == "[":
        return _character_class(text, at)
    # "replace" makes one byte of a surrogate escape, which is what it stands for.
    return Part(text[at], re.escape(text[at]), 0, len(text[at].encode("utf-8", "replace")))


def _character_class(text: str, at: int) -> Part:
    found = _CLASS.match(text, at)
    if found is None or not found["members"]:
        raise GlobError('"[" is not closed before the next slash; close it with "]"')
    if found["members"].startswith("[:"):
        raise GlobError(f'"{found[0]}]" is not known here; write a range like [a-z]')
    negated = "^" if found["negated"] else ""
    return Part(found[0], f"((?!/)[{negated}{_members(found['members'])}])", 1, 1)


def _members(members: str) -> str:
    source, at = "", 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            first, last = members[at], members[at + 2]
            if first > last:
                raise GlobError(f'the range "{first}-{last}" runs backwards; swap its ends')
            source += f"{re.escape(first)}-{re.escape(last)}"
            at += 3
        else:
            source += re.escape(members[at])
            at += 1
    return source
