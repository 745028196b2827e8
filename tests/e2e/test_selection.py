# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups are accounted, under which name, with the real collectd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cgroups import Cgroup, mount_point, wait_for
from tests.support.collectd import Collectd, module_block, running
from tests.support.traffic import datagrams


def count(collectd: Collectd, kind: str) -> int:
    return int((collectd.last("", "count", kind) or (-1,))[0])


def wait_for_count(collectd: Collectd, kind: str, expected: int) -> None:
    wait_for(lambda: count(collectd, kind) == expected, f"{expected} {kind}")


def names(collectd: Collectd) -> set[str]:
    return {name for name, kind in collectd.dispatched() if kind == "if_octets"}


def test_exclude_wins_whatever_the_order(cgroup: Cgroup) -> None:
    for name in ("web.service", "systemd-x.service", "web.socket"):
        cgroup.child(name)
    block = module_block(
        f'Exclude "{cgroup.relative}/systemd-*"\n'
        f'<CGroup "{cgroup.relative}/*.service">\nInstance "{{stem}}"\n</CGroup>'
    )
    with running(block) as collectd:
        wait_for_count(collectd, "cgroups", 1)
        assert names(collectd) == {"web"}
        assert collectd.complaints() == []


def test_the_first_rule_names_the_cgroup_and_files_come_after_collectd_conf(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    for name in ("a-1", "a-2", "b-1"):
        cgroup.child(name)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f'exclude: ["{cgroup.relative}/a-2"]\n'
        f"cgroups:\n"
        f'  - match: "{cgroup.relative}/a-*"\n    instance: "from-the-file-{{1}}"\n'
        f"  - match: '/^{cgroup.relative}/(?P<word>[a-z])-1$/'\n    instance: \"{{word}}\"\n",
        "utf-8",
    )
    block = module_block(
        f'RulesFile "{rules}"\n<CGroup "{cgroup.relative}/a-*">\nInstance "mine-{{1}}"\n</CGroup>'
    )
    with running(block) as collectd:
        wait_for_count(collectd, "cgroups", 2)
        wait_for(lambda: names(collectd) == {"mine-1", "b"}, "both names")


def test_cgroups_of_one_name_are_summed_and_a_packet_is_counted_once(cgroup: Cgroup) -> None:
    upper = cgroup.child("worker@1")
    lower, other = upper.child("worker@2"), cgroup.child("worker@3")
    block = module_block(f'<CGroup "{cgroup.relative}/**/worker@*">\nInstance "worker"\n</CGroup>')
    with running(block) as collectd:
        wait_for_count(collectd, "cgroups", 3)
        sent = datagrams(lower, cgroup) + datagrams(other, cgroup)
        collectd.wait_for_last("worker", "if_octets", (0, sent.octets))
        collectd.wait_for_last("worker", "if_packets", (0, sent.packets))


def test_the_limit_counts_the_skipped_and_lets_them_in_when_there_is_room(cgroup: Cgroup) -> None:
    for number in range(1, 6):
        cgroup.child(f"job-{number}")
    block = module_block(
        f'<CGroup "{cgroup.relative}/job-*">\nInstance "{{name}}"\n</CGroup>\nLimit 2'
    )
    with running(block) as collectd:
        wait_for_count(collectd, "skipped", 3)
        wait_for_count(collectd, "cgroups", 2)
        (cgroup.path / min(names(collectd))).rmdir()
        wait_for_count(collectd, "skipped", 2)
        wait_for_count(collectd, "cgroups", 2)
        (complaint,) = collectd.complaints()
        assert "more than 2 instances" in complaint


# What a cgroup may be called, and what of it must be seen in the dispatched name. Of all
# bytes, only the newline is refused by the kernel.
STRANGE = {
    b"a b.c": "a b.c",
    b"tab\there": "tab_here-",
    "caf\u00e9".encode(): "caf\u00e9",
    b"latin-\xe9": "latin-_-",
    b"x" * 200: "x" * 114 + "-",
    rb"system-systemd\x2dfsck.slice": r"system-systemd\x2dfsck.slice",
    b'quote"and\\slash': 'quote"and\\slash',
}


def test_any_file_name_becomes_a_name_that_is_fit_to_be_dispatched(cgroup: Cgroup) -> None:
    for name in STRANGE:
        os.mkdir(os.fsencode(cgroup.path) + b"/" + name)
    block = module_block(f'<CGroup "{cgroup.relative}/*">\nInstance "{{name}}"\n</CGroup>')
    with running(block) as collectd:
        wait_for_count(collectd, "instances", len(STRANGE))
        prefix = "cgacct-"
        made = {
            entry.name[len(prefix) :]
            for entry in (collectd.directory / "csv" / "testhost").iterdir()
            if entry.name.startswith(prefix)
        }
        for expected in STRANGE.values():
            assert [name for name in made if name.startswith(expected)], (expected, made)
        assert len(made) == len(STRANGE)
        assert collectd.complaints() == []
        assert collectd.tracebacks() == []


def test_a_cgroup_whose_name_is_not_utf8_can_be_named(cgroup: Cgroup) -> None:
    os.mkdir(os.fsencode(cgroup.path) + b"/latin-\xe9")
    with running(module_block(f'CGroup "{cgroup.relative}/latin-\udce9"')) as collectd:
        wait_for_count(collectd, "cgroups", 1)
        assert collectd.complaints() == []


@pytest.mark.parametrize("option", ["RulesFile", "BPFObject"])
def test_a_fifo_in_the_place_of_a_file_is_refused_at_once(
    cgroup: Cgroup, tmp_path: Path, option: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    block = module_block(f'CGroup "{cgroup.relative}"\n{option} "{tmp_path}/fifo"')
    with running(block) as collectd:
        (complaint,) = wait_for(collectd.complaints, "the complaint")
        assert "fifo" in complaint
        assert "not a regular file" in complaint


@pytest.mark.parametrize("prefix", ["", f"{mount_point()}/"], ids=["relative", "absolute"])
def test_a_file_below_the_mount_is_refused_however_it_is_written(
    cgroup: Cgroup, prefix: str
) -> None:
    block = module_block(
        f'CGroup "{prefix}{cgroup.relative}/cgroup.procs"\nCGroup "{cgroup.relative}"'
    )
    with running(block) as collectd:
        wait_for_count(collectd, "cgroups", 1)
        (complaint,) = collectd.complaints()
        assert "it is a file" in complaint


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('CGroup "a/**b"', ["CGroup", "a/**b", "stands alone between slashes"]),
        ('CGroup "/(/"', ["CGroup", "/(/", "regular expression"]),
        ('Exclude "[z-a]"', ["Exclude", "[z-a]", "runs backwards"]),
        (
            '<CGroup "a/*">\nInstance "{0.__class__}"\n</CGroup>',
            ["CGroup", "a/*", "{0.__class__}", "{path}", "{1}"],
        ),
        ('RulesFile "/nonexistent.yaml"', ["RulesFile", "/nonexistent.yaml", "No such file"]),
        ("Limit 0", ["Limit 0", "whole number above 0"]),
    ],
)
def test_a_bad_rule_is_one_line_and_the_others_work(
    cgroup: Cgroup, option: str, words: list[str]
) -> None:
    with running(module_block(f'{option}\nCGroup "{cgroup.relative}"')) as collectd:
        wait_for_count(collectd, "cgroups", 1)
        (complaint,) = collectd.complaints()
        assert all(word in complaint for word in ["collectd.conf", *words]), complaint
        assert collectd.tracebacks() == []
