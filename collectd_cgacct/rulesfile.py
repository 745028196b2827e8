# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rules files: YAML that is only ever looked at as nodes, so that nothing in it is constructed."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from .patterns import Pattern, PatternError
from .rules import Exclude, Rule
from .templates import DEFAULT, Template
from .text import printable, quote

# PyYAML can be built without libyaml.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SIZE_MAX = 1 << 20
# Rules need four levels. libyaml's composer recurses in C: 400,000 levels end the process.
_DEPTH_MAX = 20
_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "str": "a word",
    "null": "empty",
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "map": "a mapping",
    "seq": "a list",
}
_QUOTE = "put it in quotes"
_MENDS = {"null": "write some text, or remove it"}


@dataclass(frozen=True)
class RulesFile:
    """What a file holds, and a line for each mistake in it: "FILE:LINE: key: what; the mend"."""

    rules: tuple[Rule, ...]
    excludes: tuple[Exclude, ...]
    problems: tuple[str, ...]


def parse_rules_file(text: bytes | str, filename: str, root: str) -> RulesFile:
    """Read the text of a rules file; ``root`` is where cgroup2 is mounted. Never raises."""
    return _Reader(filename, root).read(text)


class _Mistake(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Reader:
    def __init__(self, filename: str, root: str) -> None:
        self._filename = printable(filename)
        self._root = root
        self._rules: list[Rule] = []
        self._excludes: list[Exclude] = []
        self._problems: list[tuple[int, str]] = []

    def read(self, text: bytes | str) -> RulesFile:
        try:
            document = _document(text)
            if document is not None:
                self._top(document)
        except _Mistake as mistake:
            self._problem(mistake.line, str(mistake))
        if not (self._rules or self._excludes or self._problems):
            self._problem(1, 'there are no rules; write some under "cgroups:" or "exclude:"')
        problems = tuple(
            f"{self._filename}:{line}: {message}"
            for line, message in sorted(self._problems, key=lambda problem: problem[0])
        )
        return RulesFile(tuple(self._rules), tuple(self._excludes), problems)

    def _problem(self, line: int, message: str) -> None:
        self._problems.append((line, message))

    def _top(self, document: yaml.Node) -> None:
        keys = self._mapping(document, "the file", ("exclude", "cgroups"))
        excludes = map(self._exclude, self._items(keys.get("exclude"), "exclude"))
        self._excludes += filter(None, excludes)
        rules = map(self._rule, self._items(keys.get("cgroups"), "cgroups"))
        self._rules += filter(None, rules)

    def _items(self, node: yaml.Node | None, key: str) -> Sequence[yaml.Node]:
        # "exclude:" with all its items commented out is null, and does no harm.
        if node is None or _kind(node) == "null":
            return ()
        if isinstance(node, yaml.SequenceNode) and _kind(node) == "seq":
            items: Sequence[yaml.Node] = node.value
            return items
        self._problem(_line(node), f'{key}: is {_called(node)}; write a list, "- ..." a line')
        return ()

    def _exclude(self, node: yaml.Node) -> Exclude | None:
        pattern = self._pattern(node, "exclude")
        return Exclude(pattern, self._source(node)) if pattern else None

    def _rule(self, node: yaml.Node) -> Rule | None:
        if isinstance(node, yaml.ScalarNode):
            node = yaml.MappingNode(f"{_TAG}map", [(_MATCH, node)], node.start_mark)
        before = len(self._problems)
        try:
            keys = self._mapping(node, "cgroups", ("match", "instance"))
        except _Mistake as mistake:
            self._problem(mistake.line, str(mistake))
            return None
        # A key with a typing mistake would change what the rule means: better without the rule.
        if len(self._problems) > before:
            return None
        if "match" not in keys:
            self._problem(_line(node), "match: is missing; write the pattern")
            return None
        pattern = self._pattern(keys["match"], "match")
        template = self._template(keys.get("instance"), pattern) if pattern else None
        return Rule(pattern, template, self._source(node)) if pattern and template else None

    def _pattern(self, node: yaml.Node, key: str) -> Pattern | None:
        try:
            return Pattern.parse(_text(node), self._root)
        except (PatternError, _Mistake) as error:
            self._problem(_line(node), f"{key}: {error}")
            return None

    def _template(self, node: yaml.Node | None, pattern: Pattern) -> Template | None:
        try:
            return Template.parse(DEFAULT if node is None else _text(node), pattern)
        except (PatternError, _Mistake) as error:
            self._problem(_line(node) if node else 1, f"instance: {error}")
            return None

    def _source(self, node: yaml.Node) -> str:
        return f"{self._filename}:{_line(node)}"

    def _mapping(self, node: yaml.Node, key: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode) or _kind(node) != "map":
            keys = " and ".join(f'"{word}: ..."' for word in known)
            raise _Mistake(_line(node), f"{key}: is {_called(node)}; write {keys} there")
        found: dict[str, yaml.Node] = {}
        for name, value in node.value:
            message = _key_mistake(name, known, found)
            if message:
                self._problem(_line(name), message)
            else:
                found[name.value] = value
        return found


_MATCH = yaml.ScalarNode(f"{_TAG}str", "match")


def _key_mistake(name: yaml.Node, known: tuple[str, ...], found: Container[str]) -> str:
    if not isinstance(name, yaml.ScalarNode):
        return f"a key is {_called(name)}; the keys here are {' and '.join(known)}"
    shown = quote(name.value)[1:-1]
    if name.value in found:
        return f"{shown}: is here a second time; remove one of them"
    if name.value in known:
        return ""
    near = difflib.get_close_matches(name.value[:80], known, 1)
    mend = f'did you mean "{near[0]}"?' if near else f"the keys here are {' and '.join(known)}"
    return f"{shown}: is not a key; {mend}"


def _document(text: bytes | str) -> yaml.Node | None:
    decoded = _decoded(text)
    try:
        _check_depth(decoded)
        node: yaml.Node | None = yaml.compose(decoded, Loader=_LOADER)
        return node
    except yaml.MarkedYAMLError as error:
        raise _Mistake(_error_line(error), _explained(error)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = quote(str(error) or type(error).__name__)
        raise _Mistake(1, f"is not YAML: {reason}; mend the file") from None


def _decoded(text: bytes | str) -> str:
    if len(text) > SIZE_MAX:
        raise _Mistake(1, f"is larger than {SIZE_MAX >> 20} MiB; split it into several files")
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _Mistake(line, "is not UTF-8; write such bytes as a ? in patterns") from None
    if "\0" in decoded:
        line = decoded.count("\n", 0, decoded.index("\0")) + 1
        raise _Mistake(line, "there is a NUL; save the file as plain UTF-8 text")
    return decoded


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _Mistake(line, "is nested too deep; rules are flat lists")


def _error_line(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _explained(error: yaml.MarkedYAMLError) -> str:
    if "single document" in str(error.context):
        return 'there is a second document; remove the "---" before it'
    reason = quote(str(error.problem or error.context))[1:-1]
    return f"is not YAML: {reason}; put patterns and templates in quotes"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _kind(node: yaml.Node) -> str:
    tag = str(node.tag)
    return tag[len(_TAG) :] if tag.startswith(_TAG) else tag


def _called(node: yaml.Node) -> str:
    kind = _kind(node)
    return _KINDS.get(kind) or f"tagged {quote(kind)}, and tags are refused"


def _text(node: yaml.Node) -> str:
    kind = _kind(node)
    if isinstance(node, yaml.ScalarNode) and kind == "str":
        return str(node.value)
    mend = _MENDS.get(kind, _QUOTE if kind in _KINDS else "remove the tag")
    raise _Mistake(_line(node), f"is {_called(node)}; {mend}")
