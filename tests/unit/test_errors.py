# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A message says what failed, on what, why, and the mend."""

from __future__ import annotations

import errno

import pytest

from collectd_cgacct.errors import CgacctError, OperationError, remedy


def test_a_message_says_what_on_what_why_and_the_mend() -> None:
    error = OperationError("open BPF object", '"/x.o"', errno.ENOENT)
    what, why_and_mend = str(error).split(": ", 1)
    assert what == 'cannot open BPF object "/x.o"'
    assert why_and_mend.startswith("No such file or directory; reinstall the package")


def test_a_detail_takes_the_place_of_the_systems_words() -> None:
    error = OperationError("open cgroup", '"a"', errno.EBADF, "not in cgroup2")
    assert str(error) == 'cannot open cgroup "a": not in cgroup2'


def test_without_a_known_mend_the_message_ends_with_the_reason() -> None:
    error = OperationError("open cgroup", '"a"', errno.ELOOP)
    assert str(error) == 'cannot open cgroup "a": Too many levels of symbolic links'


def test_without_a_subject_there_is_no_gap_before_the_reason() -> None:
    assert str(OperationError("find libbpf", "", errno.ENOENT)).startswith("cannot find libbpf: ")


def test_an_error_carries_operation_subject_and_errno() -> None:
    error = OperationError("attach to cgroup", '"a"', errno.EPERM)
    assert (error.operation, error.subject, error.errno) == ("attach to cgroup", '"a"', errno.EPERM)
    assert isinstance(error, CgacctError)


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        ("load BPF object", errno.EPERM, "CAP_BPF and CAP_NET_ADMIN"),
        ("load BPF object", errno.EINVAL, "Linux 5.10"),
        ("load BPF object", errno.ENOSYS, "CONFIG_BPF_SYSCALL"),
        ("attach to cgroup", errno.EPERM, "bpftool cgroup tree"),
        ("attach to cgroup", errno.EINVAL, "CAP_NET_ADMIN"),
        ("attach to cgroup", errno.EBADF, "cgroup2"),
        ("attach to cgroup", errno.E2BIG, "64 programs"),
        ("attach to cgroup", errno.EMFILE, "LimitNOFILE"),
        ("find libbpf", errno.ENOENT, "apt-get install libbpf1"),
    ],
)
def test_the_mend_fits_operation_and_errno(operation: str, number: int, words: str) -> None:
    assert words in remedy(operation, number)


def test_what_nobody_knows_a_mend_for_has_none() -> None:
    assert remedy("attach to cgroup", errno.EXDEV) == ""
