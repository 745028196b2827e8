# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The Debian package: what it holds, and that a collectd counts with it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.bpffs import links, temporary_bpffs
from tests.support.cgroups import mount_point, temporary_cgroup
from tests.support.collectd import CHECKOUT, running
from tests.support.private_mounts import PRIVATE_MOUNTS
from tests.support.traffic import datagrams

EXAMPLE = "usr/share/doc/collectd-cgacct/examples/collectd-cgacct.conf"
MODULES = "usr/lib/python3/dist-packages"
RULES = "usr/share/collectd-cgacct/rules"
BYTE_ORDERS = {"cgacct.bpfel.o": 1, "cgacct.bpfeb.o": 2}


class Package(NamedTuple):
    """A built package, what is in it, and the directory that it was built in."""

    deb: Path
    root: Path
    build_directory: Path

    def field(self, name: str) -> str:
        return _output(["dpkg-deb", "-f", str(self.deb), name]).strip()


def _output(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
    return done.stdout


def _build(directory: Path, options: str) -> Path:
    work = directory / "work"
    work.mkdir(parents=True)
    results = f"RESULTS={directory}"
    _output(["make", "deb", results], TMPDIR=str(work), DEB_BUILD_OPTIONS=options)
    (deb,) = directory.glob("*.deb")
    return deb


@pytest.fixture(scope="module")
def package() -> Iterator[Package]:
    with tempfile.TemporaryDirectory(prefix="cgacct-package-") as name:
        directory = Path(name)
        # The unit tests have been run already; see below for a build that runs them.
        deb = _build(directory, "nocheck")
        _output(["dpkg-deb", "-x", str(deb), str(directory / "root")])
        yield Package(deb, directory / "root", directory / "work")


@pytest.mark.parametrize("name", BYTE_ORDERS)
def test_holds_an_object_for_each_byte_order(package: Package, name: str) -> None:
    header = (package.root / MODULES / "collectd_cgacct" / name).read_bytes()[:6]
    assert header == b"\x7fELF\x02" + bytes([BYTE_ORDERS[name]])


def test_holds_every_rule_set(package: Package) -> None:
    rules = {path.name for path in (CHECKOUT / "conf" / "rules").iterdir()}
    assert rules
    assert {path.name for path in (package.root / RULES).iterdir()} == rules


def test_holds_no_build_path(package: Package) -> None:
    files = [path for path in package.root.rglob("*") if path.is_file()]
    paths = [os.fsencode(path) for path in (package.build_directory, CHECKOUT)]
    assert files
    assert not [file for file in files if any(path in file.read_bytes() for path in paths)]


def test_a_build_with_its_unit_tests_is_byte_identical(package: Package) -> None:
    with tempfile.TemporaryDirectory(prefix="cgacct-package-") as name:
        assert _build(Path(name), "").read_bytes() == package.deb.read_bytes()


def test_lintian_finds_nothing(package: Package) -> None:
    (changes,) = package.deb.parent.glob("*.changes")
    command = ["lintian", "--allow-root", "--fail-on=error,warning", str(changes)]
    # It leaves files behind.
    assert _output(command, TMPDIR=str(package.build_directory)) == ""


def test_depends_on_the_libpython_that_collectd_embeds(package: Package) -> None:
    suggested = _output(["dpkg-query", "-W", "-f", "${Suggests}", "collectd-core"])
    (libpython,) = re.findall(r"libpython[0-9.]+", suggested)
    assert libpython in package.field("Depends").split(", ")


def test_the_command_runs(package: Package) -> None:
    usage = _output(
        [str(package.root / "usr/bin/collectd-cgacct"), "--help"],
        PYTHONPATH=str(package.root / MODULES),
    )
    assert usage.startswith("usage: collectd-cgacct ")


# In mounts of its own: pin something where the plugin does by default, then remove the package.
_REMOVAL = """
mount -t bpf bpf /sys/fs/bpf
/usr/bin/python3 - <<END
import contextlib
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
with contextlib.closing(Accountant(Config(cgroups=(Selection("$CGROUP"),)))) as accountant:
    accountant.start()
END
find /sys/fs/bpf/collectd-cgacct -name '*gress' | wc -l
"$PRERM" upgrade 9.9
find /sys/fs/bpf/collectd-cgacct -name '*gress' | wc -l
"$PRERM" remove
test ! -e /sys/fs/bpf/collectd-cgacct
"""


def test_what_is_pinned_goes_with_the_package(package: Package, tmp_path: Path) -> None:
    _output(["dpkg-deb", "-e", str(package.deb), str(tmp_path)])
    # It asks dpkg for the files of the package, which is not installed here.
    (tmp_path / "py3clean").symlink_to("/bin/true")
    with temporary_cgroup() as cgroup:
        said = _output(
            [*PRIVATE_MOUNTS, "sh", "-euc", _REMOVAL],
            CGROUP=cgroup.relative,
            PRERM=str(tmp_path / "prerm"),
            PATH=f"{tmp_path}:{package.root / 'usr/bin'}:{os.environ['PATH']}",
            PYTHONPATH=str(package.root / MODULES),
        )
    assert said.split() == ["2", "2"]


def _sample_block(package: Package, top: str, pins: Path) -> str:
    """Return the sample's block with every option switched on, for cgroups below ``top``."""
    text = (package.root / EXAMPLE).read_text("utf-8")
    text = text[text.index("<Module ") : text.index("</Plugin>")]
    # A space after the mark makes prose of it.
    text = re.sub(r"^([ \t]*)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r'"(\w+\.slice\b)', rf'"{top}/\1', text)
    text = re.sub(r"\bInterval \d+", "Interval 0.2", text)
    text = text.replace('"/sys/fs/cgroup"', f'"{mount_point()}"')
    text = text.replace('"/sys/fs/bpf/collectd-cgacct"', f'"{pins}"')
    text = text.replace('"/usr/share/', f'"{package.root}/usr/share/')
    object_file = package.root / MODULES / "collectd_cgacct" / "cgacct.bpfel.o"
    return re.sub(r"\bBPFObject .*", f'BPFObject "{object_file}"', text)


def test_collectd_counts_with_every_option_of_the_sample(package: Package) -> None:
    with temporary_cgroup() as top, temporary_bpffs() as bpffs:
        service = top.child("system.slice").child("web.service")
        user = top.child("user.slice")
        block = _sample_block(package, top.relative, bpffs / "pins")
        with running(block, module_path=package.root / MODULES) as collectd:
            names = f"{top.relative}-system.slice-web.service", f"{top.relative}-user.slice"
            collectd.wait_for_rows(names[0])
            amount = datagrams(user, service)
            collectd.wait_for_last(names[0], "if_octets", (amount.octets, 0))
            collectd.wait_for_last(names[0], "if_packets", (23, 0))
            collectd.wait_for_last(names[1], "if_octets", (0, amount.octets))
            assert set(links(bpffs / "pins")) == {service.id, user.id}
            collectd.wait_for_last(names[1], "if_packets", (0, 23))
            assert not collectd.complaints()
