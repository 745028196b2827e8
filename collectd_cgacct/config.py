# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Options, from collectd's tree to one frozen Config. Pure.

A mistake costs the option that it is in, never the others: it becomes one line
in the problems that parse() returns.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from .counters import SPLITS
from .text import decode, printable, quote

PACKAGED_OBJECT = os.path.join(
    os.path.dirname(os.path.abspath(__file__)),
    f"cgacct.bpf{'el' if sys.byteorder == 'little' else 'eb'}.o",
)
PIN_PATH = "/sys/fs/bpf/collectd-cgacct"


class Node(Protocol):
    """One option as collectd hands it over: key, arguments, nested options."""

    @property
    def key(self) -> Any: ...
    @property
    def values(self) -> Sequence[Any]: ...
    @property
    def children(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Selection:
    """Which cgroups to account, and the template of their names if one was given."""

    pattern: str
    instance: str = ""


@dataclass(frozen=True)
class Config:
    """What the operator asked for. ``interval`` is in seconds; None means collectd's own."""

    cgroups: tuple[Selection, ...] = ()
    excludes: tuple[str, ...] = ()
    rules_files: tuple[str, ...] = ()
    cgroup_root: str = ""
    splits: tuple[str, ...] = ()
    packets: bool = True
    persist: bool = True
    pin_path: str = PIN_PATH
    limit: int = 10000
    self_metrics: bool = True
    interval: float | None = None
    bpf_object: str = PACKAGED_OBJECT


class _Wrong(Exception):
    """Says what would be right; parse() adds the place."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong("give it a text in quotes")
    if "\0" in value:
        raise _Wrong("a NUL byte cannot be part of it")
    return value


def _path(value: Any) -> str:
    if not os.path.isabs(_text(value)):
        raise _Wrong("give it an absolute path")
    return str(value)


BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        value = BOOLEANS.get(value.lower())
    if not isinstance(value, bool):
        raise _Wrong("give it true or false")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise _Wrong("give it a number of seconds above 0")
    return float(value)


def _whole(value: Any) -> int:
    # collectd hands every number over as a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 1e9:
        raise _Wrong("give it a whole number above 0, a billion at most")
    if value != int(value):
        raise _Wrong("give it a whole number")
    return int(value)


def _split(value: Any) -> str:
    name = _text(value).lower()
    if name not in SPLITS:
        raise _Wrong(f"give it one of {', '.join(SPLITS)}")
    return name


@dataclass
class _Parser:
    fields: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def options(self, nodes: Iterable[Node], table: dict[str, Callable[[Node], None]]) -> None:
        """Hand each node to its handler in ``table``; note what is wrong and go on."""
        names = {name.lower(): name for name in table}
        for node in map(_decoded, nodes):
            try:
                name = names.get(node.key.lower())
                if name is None:
                    raise _Wrong(_unknown(node.key, list(table)))
                table[name](node)
            except _Wrong as wrong:
                self.problems.append(f"collectd.conf: {_place(node)}: {wrong}")

    def scalar(self, name: str, convert: Callable[[Any], Any]) -> Callable[[Node], None]:
        def take(node: Node) -> None:
            if node.children:
                raise _Wrong("this option is no block")
            self.fields[name] = convert(_single(node))

        return take

    def repeated(self, name: str, convert: Callable[[Any], Any]) -> Callable[[Node], None]:
        def take(node: Node) -> None:
            if node.children:
                raise _Wrong("this option is no block")
            self.lists.setdefault(name, []).append(convert(_single(node)))

        return take

    def cgroup(self, node: Node) -> None:
        pattern = _text(_single(node))
        given: dict[str, str] = {}

        def instance(child: Node) -> None:
            if child.children:
                raise _Wrong("this option is no block")
            given["instance"] = _text(_single(child))

        before = len(self.problems)
        self.options(node.children, {"Instance": instance})
        if len(self.problems) > before:
            return  # under the names that it would get by default, there may be thousands
        selection = Selection(pattern, given.get("instance", ""))
        self.lists.setdefault("cgroups", []).append(selection)


def _single(node: Node) -> Any:
    if len(node.values) != 1:
        raise _Wrong(f"it takes one argument, not {len(node.values)}")
    return node.values[0]


def _unknown(key: str, known: list[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), lower, 1)
    hint = f"did you mean {lower[close[0]]}?" if close else f"there are {', '.join(known)}"
    return f"unknown option; {hint}"


def _place(node: Node) -> str:
    values = " ".join(quote(v) if isinstance(v, str) else _plain(v) for v in node.values)
    return f"{printable(node.key)} {values}".rstrip()


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


@dataclass(frozen=True)
class _Decoded:
    key: str
    values: Sequence[Any]
    children: Sequence[Any]


def _decoded(node: Node) -> Node:
    # collectd hands a string that is not UTF-8 over as bytes.
    key = decode(node.key) if isinstance(node.key, bytes) else node.key
    values = [decode(v) if isinstance(v, bytes) else v for v in node.values]
    return _Decoded(key, values, node.children)


def parse(blocks: Iterable[Node]) -> tuple[Config, list[str]]:
    """Read the ``<Module>`` blocks; return the options, and a line for each mistake."""
    parser = _Parser()
    table = {
        "CGroup": parser.cgroup,
        "Exclude": parser.repeated("excludes", _text),
        "RulesFile": parser.repeated("rules_files", _path),
        "CGroupRoot": parser.scalar("cgroup_root", _path),
        "Split": parser.repeated("splits", _split),
        "Packets": parser.scalar("packets", _boolean),
        "Persist": parser.scalar("persist", _boolean),
        "PinPath": parser.scalar("pin_path", _path),
        "Limit": parser.scalar("limit", _whole),
        "SelfMetrics": parser.scalar("self_metrics", _boolean),
        "Interval": parser.scalar("interval", _seconds),
        "BPFObject": parser.scalar("bpf_object", _path),
    }
    for block in blocks:
        parser.options(block.children, table)
    lists: dict[str, Any] = {name: tuple(items) for name, items in parser.lists.items()}
    return Config(**lists, **parser.fields), parser.problems
