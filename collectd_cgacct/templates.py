# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Under which name: templates that are filled in from a path and what a pattern found in it.

A template is data: it names fields, and nothing else of Python's format language is let in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

from .patterns import RESERVED, Captures, Pattern, PatternError
from .text import quote

DEFAULT = "{path}"
# What {path} gives for the cgroup2 root. No other cgroup expands to it, so that a cgroup that
# is called "root" has another raw name than the root.
ROOT = "/"
_ROOT_IN_TEXT = "root"


@dataclass(frozen=True)
class Template:
    """Literal texts, each followed by the field to put after it, or by None."""

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str, pattern: Pattern) -> Template:
        """Read a template whose fields ``pattern`` must be able to fill. Raises PatternError."""
        if not text:
            raise PatternError(f"the template is empty; {_fields(pattern)}")
        if "\0" in text:
            raise PatternError(f"template {quote(text)}: no name holds a NUL; remove it")
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise PatternError(
                f"template {quote(text)}: {error}; write {{{{ and }}}} for braces"
            ) from None
        for _, field, spec, conversion in pieces:
            if field is not None and (spec or conversion or not _is_known(field, pattern)):
                _refuse(text, field, spec, conversion, pattern)
        return cls(text, tuple((literal, field) for literal, field, _, _ in pieces))

    def expand(self, path: str, captures: Captures) -> str:
        """Return the raw name of ``path``; where that would be empty, the path itself.

        It is not fit for collectd yet: it may hold slashes and whatever a file name may hold.
        """
        raw = "".join(
            literal + ("" if field is None else _value(field, path, captures))
            for literal, field in self.parts
        )
        alone = len(self.parts) == 1 and self.parts[0] in _ALONE
        if not raw.strip("/") or (not path and alone):
            return path or ROOT
        return raw


_ALONE = tuple(("", field) for field in RESERVED)


def _value(field: str, path: str, captures: Captures) -> str:
    if field[0].isdigit():
        return captures.numbered[int(field) - 1]
    if field in captures.named:
        return captures.named[field]
    if field == "path":
        return path or _ROOT_IN_TEXT
    name = path.rpartition("/")[2] or _ROOT_IN_TEXT
    return name if field == "name" else _stem(name)


def _stem(name: str) -> str:
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _is_known(field: str, pattern: Pattern) -> bool:
    if re.fullmatch("[1-9][0-9]{0,5}", field):
        return int(field) <= pattern.groups
    return field in RESERVED or field in pattern.names


def _refuse(
    text: str, field: str, spec: str | None, conversion: str | None, pattern: Pattern
) -> None:
    written = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
    raise PatternError(
        f"template {quote(text)}: no field {quote('{' + written + '}')}; {_fields(pattern)}"
    )


def _fields(pattern: Pattern) -> str:
    known = [*RESERVED, *sorted(pattern.names)]
    if pattern.groups:
        known.append("1" if pattern.groups == 1 else f"1}} to {{{pattern.groups}")
    return "use " + " ".join(f"{{{field}}}" for field in known)
