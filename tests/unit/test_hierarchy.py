# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where cgroups are mounted, as mountinfo says."""

from __future__ import annotations

import os

from collectd_cgacct.hierarchy import Mount, parse_mountinfo

UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
21 26 0:20 / /sys rw,nosuid shared:2 - sysfs sysfs rw
33 21 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
35 33 0:30 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
36 33 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
"""


def test_a_unified_system_has_one_mount() -> None:
    assert parse_mountinfo(UNIFIED) == [Mount(os.makedev(0, 26), "/sys/fs/cgroup", 2)]


def test_a_hybrid_system_has_both_versions() -> None:
    assert [(mount.path, mount.version) for mount in parse_mountinfo(HYBRID)] == [
        ("/sys/fs/cgroup/unified", 2),
        ("/sys/fs/cgroup/systemd", 1),
        ("/sys/fs/cgroup/cpu,cpuacct", 1),
    ]


def test_other_file_systems_are_left_out() -> None:
    assert parse_mountinfo("21 26 0:20 / /sys rw - sysfs cgroup2 rw\n") == []


def test_an_empty_file_has_no_mount() -> None:
    assert parse_mountinfo("") == []


def test_a_mount_without_optional_fields_is_read() -> None:
    (mount,) = parse_mountinfo("29 23 0:26 / /cg rw - cgroup2 none rw\n")
    assert mount.path == "/cg"


def test_a_mount_with_several_optional_fields_is_read() -> None:
    line = "29 23 0:26 / /cg rw shared:1 master:2 propagate_from:3 - cgroup2 none rw\n"
    assert [mount.path for mount in parse_mountinfo(line)] == ["/cg"]


def test_what_mountinfo_escapes_is_what_the_path_has() -> None:
    line = "29 23 0:26 / /a\\040b\\011c\\012d\\134e\\043f rw - cgroup2 none rw\n"
    assert [mount.path for mount in parse_mountinfo(line)] == ["/a b\tc\nd\\e#f"]


def test_bytes_that_are_no_utf_8_are_kept() -> None:
    line = b"29 23 0:26 / /a\xff\xc3\xbc rw - cgroup2 none rw\n"
    (mount,) = parse_mountinfo(line.decode("utf-8", "surrogateescape"))
    assert os.fsencode(mount.path) == b"/a\xff\xc3\xbc"


def test_the_device_is_that_of_stat() -> None:
    (mount,) = parse_mountinfo("29 23 259:65536 / /cg rw - cgroup2 none rw\n")
    assert (os.major(mount.device), os.minor(mount.device)) == (259, 65536)
