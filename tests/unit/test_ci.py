# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""In CI a test that is skipped, or expected to fail, fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

SKIPS = {
    "by_mark": "@pytest.mark.skip(reason='why not')\ndef test(): pass",
    "by_call": "def test(): pytest.skip('why not')",
    "by_condition": "@pytest.mark.skipif(True, reason='why not')\ndef test(): pass",
    "by_fixture": "@pytest.fixture\ndef it(): pytest.skip('why not')\ndef test(it): pass",
    "of_file": "pytest.skip('why not', allow_module_level=True)",
    "by_import": "pytest.importorskip('why_not')",
    "xfail": "@pytest.mark.xfail(reason='why not')\ndef test(): assert False",
    "xfail_that_passes": "@pytest.mark.xfail(reason='why not')\ndef test(): pass",
    "xfail_by_call": "def test(): pytest.xfail('why not')",
}


def run(directory: Path, sources: dict[str, str], **environment: str) -> tuple[int, str]:
    """Run tests with the hooks of tests/conftest.py; return exit status and output."""
    for name, source in sources.items():
        file = directory / f"test_{name}.py"
        file.write_text(f"import pytest\n{source}\n", "utf-8")
    options = ["-c", os.devnull, "--rootdir", str(directory), "-p", "no:cacheprovider"]
    options += ["-p", "tests.conftest", "--continue-on-collection-errors"]
    clean = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-Bm", "pytest", "-rA", *options, directory],
        cwd=CHECKOUT,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all of SKIPS in CI."""
    _, output = run(tmp_path_factory.mktemp("skips"), SKIPS, CI="true")
    return output


@pytest.mark.parametrize("name", SKIPS)
def test_a_skip_fails_in_ci(in_ci: str, name: str) -> None:
    lines = [line for line in in_ci.splitlines() if f"test_{name}.py" in line]
    assert [line for line in lines if line.startswith(("FAILED", "ERROR"))], in_ci
    assert not [line for line in lines if line.startswith(("SKIPPED", "XFAIL", "XPASS"))], in_ci


def test_a_skip_in_ci_gives_its_reason(in_ci: str) -> None:
    assert in_ci.count("in CI every test runs and passes, but") >= len(SKIPS)
    assert "why not" in in_ci


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    status, output = run(tmp_path, {"one": SKIPS["by_call"]})
    assert status == 0
    assert "1 skipped" in output


def test_a_good_test_passes_in_ci(tmp_path: Path) -> None:
    status, _ = run(tmp_path, {"one": "def test(): pass"}, CI="true")
    assert status == 0
