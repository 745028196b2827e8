# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Each mistake is one line in the log: what, on what, why, the mend. The rest goes on."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import traffic
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT, HOST, NOBODY, Collectd, module_block, running
from tests.support.compiling import REFUSED, compile_refused
from tests.support.private_mounts import PRIVATE_MOUNTS

# Something else for collectd to do: it must go on.
ANOTHER_PLUGIN = "LoadPlugin load"

# Words that a shell runs with collectd's command line as its arguments, in mounts of its own.
PRIVATE_SHELL = (*PRIVATE_MOUNTS, "sh", "-euc")

SETPRIV = (
    f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --bounding-set "
    "-all,+bpf,+net_admin --inh-caps -all,+bpf,+net_admin --ambient-caps +bpf,+net_admin"
)


def assert_one_line(collectd: Collectd, severity: str, *words: str) -> None:
    """Wait for the line; it has all ``words``, is the only one, and collectd goes on."""
    wait_for(collectd.complaints, "a line in the log")
    wait_for(lambda: _load_rows(collectd) > 1, "another plugin's values")
    (line,) = collectd.complaints()
    assert line.startswith(f"[{severity}] cgacct: ")
    for word in words:
        assert word in line
    assert collectd.tracebacks() == []
    assert collectd.signal(signal.SIGTERM) == 0
    assert collectd.complaints() == [line]
    assert collectd.tracebacks() == []


def _load_rows(collectd: Collectd) -> int:
    files = (collectd.directory / "csv" / HOST / "load").glob("load-*")
    return sum(len(file.read_text("ascii").splitlines()) - 1 for file in files)


def assert_counts(collectd: Collectd, cgroup: Cgroup) -> None:
    """The good cgroup beside the mistake is counted to the byte."""
    collectd.wait_for_rows("good")
    sent = traffic.datagrams(cgroup, cgroup)
    collectd.wait_for_last("good", "if_octets", (sent.octets, sent.octets))


def good(cgroup: Cgroup) -> str:
    return f'<CGroup "{cgroup.relative}">\nInstance "good"\n</CGroup>\n'


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that any user may read."""
    path = Path(tempfile.mkdtemp(prefix="cgacct-public-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def copied_package(directory: Path) -> Path:
    """Copy the package where any user can read it; return the directory that it is in."""
    ignore = shutil.ignore_patterns("__pycache__")
    package = directory / "collectd_cgacct"
    shutil.copytree(CHECKOUT / "collectd_cgacct", package, ignore=ignore)
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def test_no_line_when_nothing_is_wrong(cgroup: Cgroup) -> None:
    with running(module_block(good(cgroup))) as collectd:
        assert_counts(collectd, cgroup)
        assert collectd.signal(signal.SIGTERM) == 0
        assert [line for line in collectd.log() if not line.startswith("[info]")] == []


def test_import_without_a_module_block() -> None:
    with running("", extra=ANOTHER_PLUGIN) as collectd:
        assert_one_line(collectd, "warning", "nothing is accounted", "<Module collectd_cgacct>")


def test_a_missing_object(cgroup: Cgroup, tmp_path: Path) -> None:
    path = tmp_path / "missing.o"
    block = module_block(good(cgroup) + f'BPFObject "{path}"')
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_one_line(
            collectd, "error", "cannot open BPF object", f'"{path}"', "No such file", "BPFObject"
        )


def test_a_corrupt_object(cgroup: Cgroup, tmp_path: Path) -> None:
    path = tmp_path / "corrupt.o"
    path.write_bytes(b"\x7fELF and then something else")
    block = module_block(good(cgroup) + f'BPFObject "{path}"')
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_one_line(
            collectd, "error", "cannot open BPF object", f'"{path}"', "not an eBPF", "BPFObject"
        )


def test_a_package_that_was_not_built(cgroup: Cgroup, public: Path) -> None:
    package = copied_package(public)
    for path in package.rglob("*.o"):
        path.unlink()
    block = module_block(good(cgroup))
    with running(block, extra=ANOTHER_PLUGIN, module_path=package) as collectd:
        assert_one_line(collectd, "error", "cannot open BPF object", "No such file", "make build")


def test_no_cgroup2(cgroup: Cgroup) -> None:
    unmount = (
        "while path=$(awk '/ - cgroup2 /{print $5; exit}' /proc/self/mountinfo) && [ \"$path\" ]; "
        'do umount -l "$path"; done; exec "$@"'
    )
    wrapper = (*PRIVATE_SHELL, unmount, "sh")
    with running(module_block(good(cgroup)), extra=ANOTHER_PLUGIN, wrapper=wrapper) as collectd:
        assert_one_line(collectd, "error", "cannot find cgroup2", "mountinfo", "mount -t cgroup2")


def test_a_root_that_is_no_cgroup2(cgroup: Cgroup, tmp_path: Path) -> None:
    block = module_block(good(cgroup) + f'CGroupRoot "{tmp_path}"')
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_one_line(
            collectd,
            "error",
            f'"{tmp_path}"',
            "CGroupRoot",
            "not in a cgroup2 file system",
            f"mounted: {cgroup.path.parent}",
        )


def test_a_root_that_does_not_exist(cgroup: Cgroup, tmp_path: Path) -> None:
    path = tmp_path / "missing"
    block = module_block(good(cgroup) + f'CGroupRoot "{path}"')
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_one_line(collectd, "error", f'"{path}"', "CGroupRoot", "No such file", "mounted: ")


def test_a_file_instead_of_a_directory(cgroup: Cgroup) -> None:
    file = f"{cgroup.relative}/cgroup.procs"
    block = module_block(f'CGroup "{file}"\n' + good(cgroup))
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_counts(collectd, cgroup)
        assert_one_line(collectd, "error", f'"{file}"', "it is a file", "name the directory")


def test_a_v1_cgroup(cgroup: Cgroup, tmp_path: Path) -> None:
    v1 = tmp_path / "v1"
    (v1 / "app").mkdir(parents=True)
    # A named hierarchy without controllers: every kernel with cgroup v1 has it to give.
    mount = f'mount -t cgroup -o none,name=cgacct-test none "{v1}"; exec "$@"'
    block = module_block(f'CGroup "{v1}/app"\n' + good(cgroup))
    wrapper = (*PRIVATE_SHELL, mount, "sh")
    with running(block, extra=ANOTHER_PLUGIN, wrapper=wrapper) as collectd:
        assert_counts(collectd, cgroup)
        assert_one_line(
            collectd, "error", f'"{v1}/app"', "cgroup v1", f"below {cgroup.path.parent}"
        )


def test_no_rights(cgroup: Cgroup, public: Path) -> None:
    block = module_block(good(cgroup))
    package = copied_package(public)
    with running(block, extra=ANOTHER_PLUGIN, module_path=package, user=NOBODY) as collectd:
        assert_one_line(
            collectd,
            "error",
            "cannot load BPF object",
            f"{package}/collectd_cgacct/",
            os.strerror(1),
            "root, or with CAP_BPF and CAP_NET_ADMIN",
        )


def test_two_capabilities_are_rights_enough(cgroup: Cgroup, public: Path) -> None:
    # "$4" is the configuration; its directory was made by root.
    wrapper = ("sh", "-euc", f'chown -R {NOBODY} "$(dirname "$4")"; {SETPRIV} "$@"', "sh")
    block, package = module_block(good(cgroup)), copied_package(public)
    with running(block, module_path=package, wrapper=wrapper) as collectd:
        assert_counts(collectd, cgroup)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('CGruop "x"', ['CGruop "x"', "unknown option", "did you mean CGroup?"]),
        ("Colour 7", ["Colour 7", "unknown option", "BPFObject"]),
        ('Packets "maybe"', ['Packets "maybe"', "true or false"]),
        ("CGroup 5", ["CGroup 5", "text"]),
        ('CGroup "one" "two"', ['CGroup "one" "two"', "one argument, not 2"]),
        ('Interval "soon"', ['Interval "soon"', "number of seconds"]),
        ("Interval 0", ["Interval 0", "above 0"]),
        ('CGroupRoot "sys/fs"', ['CGroupRoot "sys/fs"', "absolute path"]),
        ('<CGroup "x">\nInstance 3\n</CGroup>', ["Instance 3", "text"]),
        ('<CGroup "x">\nName "y"\n</CGroup>', ['Name "y"', "unknown option", "Instance"]),
    ],
)
def test_a_wrong_option(cgroup: Cgroup, option: str, words: list[str]) -> None:
    block = module_block(f"{option}\n{good(cgroup)}")
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        assert_counts(collectd, cgroup)
        assert_one_line(collectd, "error", "collectd.conf", *words)


def test_three_mistakes_are_three_lines_and_the_rest_counts(cgroup: Cgroup) -> None:
    wrong = 'Packets "maybe"\nInterval "soon"\nCGruop "x"\n'
    with running(module_block(wrong + good(cgroup))) as collectd:
        assert_counts(collectd, cgroup)
        assert len(collectd.complaints()) == 3
        assert collectd.tracebacks() == []


def test_what_the_verifier_says_reaches_the_log_as_warnings(cgroup: Cgroup, tmp_path: Path) -> None:
    block = module_block(good(cgroup) + f'BPFObject "{compile_refused(tmp_path)}"')
    with running(block, extra=ANOTHER_PLUGIN) as collectd:
        wait_for(lambda: any(line.startswith("[error]") for line in collectd.log()), "the error")
        log = collectd.log()
        (line,) = (line for line in log if line.startswith("[error]"))
        assert "cannot load BPF object" in line
        said = [line for line in log if REFUSED in line]
        assert [line.startswith("[warning] cgacct: ") for line in said] == [True]
        assert collectd.tracebacks() == []
