# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Imports point one way, and importing has no side effects."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "collectd_cgacct"
CHECKOUT = Path(__file__).parents[2]

# Each may import from those before it.
ORDER = (
    "text",
    "errors",
    "files",
    "mountinfo",
    "libbpf",
    "inotify",
    "logs",
    "counters",
    "bpf",
    "memory",
    "pins",
    "hierarchy",
    "links",
    "watcher",
    "globs",
    "regexbounds",
    "patterns",
    "templates",
    "rules",
    "rulesfile",
    "config",
    "conffile",
    "selection",
    "ledger",
    "records",
    "roster",
    "continuity",
    "accountant",
    "plugin",
    "cli",
)
FOREIGN_CALLS = {"libbpf", "inotify"}
# They only pass on to one of the others.
ENTRIES = {"__init__", "__main__"}

FILES = sorted((CHECKOUT / PACKAGE).glob("*.py"))
MODULES = [pytest.param(path, id=path.stem) for path in FILES if path.stem not in ENTRIES]


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports; those of the package with a dot in front."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield "." * node.level + node.module
            else:
                yield from ("." * node.level + alias.name for alias in node.names)


def outside(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path) if not name.startswith(".")}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_has_its_place_in_the_order(path: Path) -> None:
    assert path.stem in ORDER


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_those_before_it(path: Path) -> None:
    inside = {name[1:] for name in imported(path) if name.startswith(".")}
    assert inside <= set(ORDER[: ORDER.index(path.stem)])
    assert PACKAGE not in outside(path), "use relative imports"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem != "plugin"], ids=lambda path: path.stem
)
def test_only_plugin_imports_collectd(path: Path) -> None:
    assert "collectd" not in outside(path)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stem not in FOREIGN_CALLS], ids=lambda path: path.stem
)
def test_only_the_foreign_calls_import_ctypes(path: Path) -> None:
    assert "ctypes" not in outside(path)


def test_importing_it_all_outside_collectd_loads_neither_libbpf_nor_collectd() -> None:
    names = [path.stem for path in FILES if path.stem not in {"plugin", *ENTRIES}]
    program = "\n".join(
        [
            "import sys",
            f"import {PACKAGE}",
            *(f"import {PACKAGE}.{name}" for name in names),
            "assert 'collectd' not in sys.modules",
            f"assert '{PACKAGE}.plugin' not in sys.modules",
            "assert 'libbpf' not in open('/proc/self/maps').read()",
        ]
    )
    subprocess.run([sys.executable, "-B", "-c", program], cwd=CHECKOUT, check=True)


def test_importing_it_starts_no_thread_opens_no_file_and_prints_nothing() -> None:
    program = (
        "import os, threading; before = os.listdir('/proc/self/fd')\n"
        f"import {PACKAGE}, {PACKAGE}.cli\n"
        "assert os.listdir('/proc/self/fd') == before\n"
        "assert threading.active_count() == 1"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=CHECKOUT, check=True, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
