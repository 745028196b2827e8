# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The unit tests need no root, no libbpf and no collectd, and little time."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collectd import CHECKOUT, NOBODY
from tests.support.private_mounts import PRIVATE_MOUNTS

# /dev/null in the place of what must not be needed, then the user's command.
HIDE = """
for file in /usr/lib/*/libbpf.so.* /usr/lib/collectd/*.so /usr/sbin/collectd; do
    mount --bind /dev/null "$file"
done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --bounding-set -all "$@"
"""


def _seconds_of_children() -> float:
    """Return their CPU time: what else runs on the machine has no part in it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture
def copy() -> Iterator[Path]:
    """A checkout that is nobody's, with a directory for its temporary files."""
    path = Path(tempfile.mkdtemp(prefix="cgacct-unit-"))
    for name in ("collectd_cgacct", "conf", "tests", "setup.cfg"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path)
    (path / "tmp").mkdir()
    subprocess.run(["chown", "-R", str(NOBODY), path], check=True)
    yield path
    shutil.rmtree(path)


def test_unit_tests_pass_as_nobody_without_libbpf_and_collectd_within_ten_seconds(
    copy: Path,
) -> None:
    temporary = str(copy / "tmp")
    environment = {
        **os.environ,
        "USER_ID": str(NOBODY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": temporary,
        "TMPDIR": temporary,
    }
    begin = _seconds_of_children()
    done = subprocess.run(
        [*PRIVATE_MOUNTS, "sh", "-euc", HIDE, "sh", sys.executable, "-m", "pytest", "tests/unit"],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert _seconds_of_children() - begin < 10
