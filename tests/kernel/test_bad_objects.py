# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Objects that cannot be loaded: what is said, and that nothing is left of them."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from collectd_cgacct.bpf import Object
from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.errors import CgacctError, OperationError
from tests.support import census
from tests.support.compiling import REFUSED, compile_bpf, compile_refused

WITHOUT_A_MAP = """
SEC("cgroup_skb/ingress") int count_ingress(struct __sk_buff *skb) { return 1; }
SEC("cgroup_skb/egress") int count_egress(struct __sk_buff *skb) { return 1; }
"""

OTHER_LAYOUT = """
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
    __type(key, __u64);
    __type(value, __u64);
} counters SEC(".maps");
""" + WITHOUT_A_MAP.replace(
    "return 1;", "*(__u64 *)bpf_get_local_storage(&counters, 0) = 1; return 1;"
)


def test_a_missing_object_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "missing.o"
    with pytest.raises(OperationError) as caught:
        Object(str(path))
    assert caught.value.errno == errno.ENOENT
    message = str(caught.value)
    assert str(path) in message and "No such file" in message and "BPFObject" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"not an ELF file", b"\x7fELF" + bytes(60)],
    ids=["empty", "text", "only an ELF magic"],
)
def test_a_corrupt_object_is_named_with_the_mend(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corrupt.o"
    path.write_bytes(content)
    assert_refused(path)


def test_an_object_that_was_cut_off_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "cut.o"
    whole = Path(PACKAGED_OBJECT).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert_refused(path)


def test_an_object_of_the_other_byte_order_is_named_with_the_mend() -> None:
    swapped = {"cgacct.bpfel.o": "cgacct.bpfeb.o", "cgacct.bpfeb.o": "cgacct.bpfel.o"}
    path = Path(PACKAGED_OBJECT)
    assert_refused(path.with_name(swapped[path.name]))


def test_an_object_without_our_programs_is_named_with_the_mend(tmp_path: Path) -> None:
    path = compile_bpf(tmp_path, WITHOUT_A_MAP.replace("count_egress", "other"))
    assert_refused(path)


def test_an_object_without_our_map_is_named_with_the_mend(tmp_path: Path) -> None:
    assert_refused(compile_bpf(tmp_path, WITHOUT_A_MAP))


def test_an_object_of_another_layout_is_named_with_the_mend(tmp_path: Path) -> None:
    assert_refused(compile_bpf(tmp_path, OTHER_LAYOUT))


def assert_refused(path: Path) -> None:
    before = census.held()
    with pytest.raises(CgacctError) as caught:
        Object(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert "BPFObject" in message or "reinstall" in message
    assert "\n" not in message
    assert census.held() == before


def test_what_the_verifier_says_reaches_the_log_as_warnings(
    tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    before, open_before = census.held(), census.descriptors()
    with pytest.raises(OperationError) as caught:
        Object(str(compile_refused(tmp_path)))
    assert caught.value.errno == errno.EACCES
    said = [record for record in records if REFUSED in record.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]
    assert census.held() == before
    assert census.descriptors() == open_before


def test_a_verifier_log_reaches_the_log_line_by_line(
    tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    with pytest.raises(OperationError):
        Object(str(compile_refused(tmp_path)))
    assert records
    assert not [record for record in records if "\n" in record.getMessage()]
