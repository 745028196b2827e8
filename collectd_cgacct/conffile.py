# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Files in the format of collectd.conf(5), as the tree that collectd makes of them.

Source: collectd's src/liboconfig/scanner.l and parser.y, and Include in src/daemon/configfile.c.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Union

from .config import BOOLEANS
from .errors import CgacctError, operation
from .text import decode, printable, quote

Value = Union[str, float, bool]

# collectd's CF_MAX_DEPTH
_DEPTH = 8

_TOKEN = re.compile(
    r"""
    (?P<space>(?:[ \t\r]|\\\n)+|\#[^\n]*)
    |(?P<end>\n)
    |"(?P<quoted>(?:[^"\\]|\\.)*)"
    |(?P<mark><[ \t]*/|<|>)
    |(?P<word>[^\s"<>\#]+)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass
class Item:
    """An option, or a block with options inside."""

    key: str
    values: list[Value] = field(default_factory=list)
    children: list[Item] = field(default_factory=list)

    def is_block(self, key: str, value: str) -> bool:
        """Return whether it is ``<key value>``; collectd does not look at the case."""
        return [self.key.lower(), *(str(one).lower() for one in self.values)] == [key, value]


_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def _value(word: str) -> Value:
    if _HEXADECIMAL.fullmatch(word):
        return float(int(word, 16))
    return float(word) if _NUMBER.fullmatch(word) else BOOLEANS.get(word.lower(), word)


def _lines(text: str, path: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Yield number and tokens, as kind and text, of each line that has any."""
    number, begin, tokens, at = 1, 1, list[tuple[str, str]](), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CgacctError(f"{printable(path)}, line {number}: a quote is not closed; close it")
        kind = str(match.lastgroup)
        if kind in ("mark", "quoted", "word"):
            tokens.append((kind, match[kind]))
        number += match[0].count("\n")
        if kind == "end":
            if tokens:
                yield begin, tokens
            begin, tokens = number, []
        at = match.end()
    if tokens:
        yield begin, tokens


def _arguments(tokens: Iterable[tuple[str, str]]) -> Iterator[Value]:
    for kind, text in tokens:
        yield re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) if kind == "quoted" else _value(text)


def parse(text: str, path: str) -> list[Item]:
    """Return the items of a file; ``path`` is for messages. Raises CgacctError."""
    top = Item("")
    open_blocks = [top]

    def wrong(number: int, why: str) -> CgacctError:
        return CgacctError(f"{printable(path)}, line {number}: {why}")

    number = 0
    for number, tokens in _lines(text, path):
        marks = [text for kind, text in tokens if kind == "mark"]
        words = [token for token in tokens if token[0] != "mark"]
        if marks and (tokens[0][0] != "mark" or marks[1:] != [">"] or tokens[-1] != ("mark", ">")):
            raise wrong(number, "write <Name ...> or </Name> on a line of its own")
        if not words:
            raise wrong(number, "a block needs a name")
        key = words[0][1]
        if marks and marks[0].endswith("/"):
            if len(open_blocks) == 1 or open_blocks[-1].key.lower() != key.lower():
                raise wrong(number, f"</{printable(key)}> closes no open block")
            open_blocks.pop()
            continue
        item = Item(key, list(_arguments(words[1:])))
        open_blocks[-1].children.append(item)
        if marks:
            open_blocks.append(item)
    if len(open_blocks) > 1:
        raise wrong(number, f"<{printable(open_blocks[-1].key)}> is not closed")
    return top.children


def read(path: str, depth: int = 0) -> list[Item]:
    """Return the items of the file at ``path``, with those of what it includes in place.

    As in collectd, what is inside blocks does not include. Raises CgacctError.
    """
    with operation("read", quote(path)), open(path, "rb") as file:
        text = decode(file.read())
    return list(_included(parse(text, path), depth))


def _included(items: Iterable[Item], depth: int) -> Iterator[Item]:
    for item in items:
        if item.key.lower() != "include":
            yield item
        elif depth < _DEPTH:
            filters = [i.values[0] for i in item.children if i.key.lower() == "filter" and i.values]
            for pattern in item.values:
                expanded = os.path.expandvars(os.path.expanduser(str(pattern)))
                for path in sorted(glob.glob(expanded)):
                    for file in _files(path, str(filters[0]) if filters else "*"):
                        yield from read(file, depth + 1)


def _files(path: str, pattern: str) -> Iterator[str]:
    """Yield ``path``, or the files below it if it is a directory; no hidden ones there."""
    if not os.path.isdir(path):
        if fnmatch.fnmatch(os.path.basename(path), pattern):
            yield path
        return
    with operation("read", quote(path)):
        names = sorted(os.listdir(path))
    for name in names:
        if not name.startswith("."):
            yield from _files(os.path.join(path, name), pattern)
