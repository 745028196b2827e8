# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where in the tree a regular expression can match, as far as its text tells.

Only an anchored expression says something. If each of its slashes stands by itself, then it can
be taken apart into one expression a component; if not, `^literal` still names the place where
matches begin. Whatever is not understood here widens the answer, never narrows it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<char>  \[\^?\]?(?:\\.|[^\]\\])*\]    # a class
             | \\.                           # an escape
             | [^()*+?{|]                    # a character, or ^ $ .
    )
    | (?P<open>   \((?:\?P<\w+>|\?:|\?<?[=!])? )
    | (?P<close>  \) )
    | (?P<repeat> [*+?][+?]? | \{\d*,?\d*\}[+?]? )
    | (?P<other>  . )                        # | and a { that is only a brace
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Bounds:
    """Directories are given with a slash at their end, the root as "".

    ``prefix``: how each match begins. ``whole``: nothing but the prefix is asked for.
    ``below``: what matches the directories that have matches below, if that much is known.
    """

    prefix: str = ""
    whole: bool = False
    below: re.Pattern[str] | None = None

    def may_match_below(self, directory: str) -> bool:
        """Tell whether a path that begins with ``directory``, and is longer, can match."""
        if self.below is not None:
            return self.below.fullmatch(directory) is not None
        return directory.startswith(self.prefix) or self.prefix.startswith(directory)

    def covers_all_below(self, directory: str) -> bool:
        """Tell whether every path that begins with ``directory`` is sure to match."""
        return self.whole and directory.startswith(self.prefix)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def bounds(source: str) -> Bounds:
    """Return what the text of a valid regular expression says about where it can match."""
    tokens = [_Token(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(source)]
    if not tokens or tokens[0].text not in ("^", "\\A") or _is_beyond_us(tokens):
        return Bounds()
    prefix, used = _prefix(tokens)
    rest = "".join(token.text for token in tokens[used:])
    return Bounds(prefix, rest in ("", ".*", ".*$"), _below(tokens))


def _is_beyond_us(tokens: Sequence[_Token]) -> bool:
    """Tell of flags, comments and conditions, and of `|` outside of groups."""
    level = 0
    for at, token in enumerate(tokens):
        if token.text == "(" and at + 1 < len(tokens) and tokens[at + 1].text.startswith("?"):
            return True
        if token.text == "|" and level == 0:
            return True
        level += (token.kind == "open") - (token.kind == "close")
    return False


def _prefix(tokens: Sequence[_Token]) -> tuple[str, int]:
    """Return the literal text after the anchor, and how many tokens it took with the anchor."""
    prefix, used = "", 1
    for at, token in enumerate(tokens[1:], start=1):
        literal = _literal(token)
        repeated = at + 1 < len(tokens) and tokens[at + 1].kind == "repeat"
        if literal is None or repeated:
            break
        prefix += literal
        used += 1
    return prefix, used


def _literal(token: _Token) -> str | None:
    text = token.text
    if text.startswith("\\"):
        # An escaped letter or digit has a meaning; anything else stands for itself.
        return None if text[1].isascii() and text[1].isalnum() else text[1]
    if token.kind == "char" and len(text) == 1 and text not in "^$.[":
        return text
    return None


def _below(tokens: Sequence[_Token]) -> re.Pattern[str] | None:
    ends = tokens[-1].text in ("$", "\\Z")
    components = _components(tokens[1:-1] if ends else tokens[1:])
    if components is None:
        return None
    # Without an end, a directory that matches has everything below it match, too.
    source = "" if ends else f"(?:{components[-1]}.*)?"
    for component in reversed(components[:-1]):
        source = f"(?:{component}/{source})?"
    try:
        return _compiled(source)
    except (re.error, RecursionError):
        return None


def _components(tokens: Sequence[_Token]) -> list[str] | None:
    """Split at the slashes; None if one may be in a group, repeated, or seen by a look-around."""
    components, level = [""], 0
    for at, token in enumerate(tokens):
        repeated = at + 1 < len(tokens) and tokens[at + 1].kind == "repeat"
        if token.text in ("/", "\\/") and not level and not repeated:
            components.append("")
        elif _may_be_slash(token) or _looks_around(token):
            return None
        else:
            components[-1] += token.text
        level += (token.kind == "open") - (token.kind == "close")
    return components


def _looks_around(token: _Token) -> bool:
    return token.kind == "open" and token.text.endswith(("=", "!"))


def _may_be_slash(token: _Token) -> bool:
    if token.kind != "char":
        return False
    if token.text[0] == "\\" and token.text[1].isdigit():
        return True  # what a back reference repeats, or an octal escape
    try:
        return _compiled(token.text).fullmatch("/") is not None
    except re.error:
        return True  # the beginning of a longer escape, such as \x2f


def _compiled(source: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(source, re.DOTALL)
