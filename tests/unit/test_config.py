# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Options from collectd's tree: what is taken, what is refused, and in which words."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from collectd_cgacct.config import Config, Selection, parse


@dataclass(frozen=True)
class Option:
    """An option as collectd's own Config object has it."""

    key: str
    values: Sequence[Any] = ()
    children: Sequence[Any] = ()


def option(key: str, *values: Any, children: Sequence[Option] = ()) -> Option:
    return Option(key, values, tuple(children))


def block(*options: Option) -> Option:
    return Option("Module", ("collectd_cgacct",), options)


def accepted(*options: Option) -> Config:
    config, problems = parse([block(*options)])
    assert problems == []
    return config


def refused(*options: Option) -> str:
    _, problems = parse([block(*options)])
    (problem,) = problems
    return problem


def test_nothing_given_is_the_defaults() -> None:
    assert accepted() == Config()


def test_the_defaults_are_those_of_the_manual() -> None:
    config = Config()
    assert (config.cgroups, config.cgroup_root, config.interval) == ((), "", None)
    assert config.packets is True


def test_the_default_object_is_beside_the_package_for_this_byte_order() -> None:
    assert os.path.basename(Config().bpf_object) in ("cgacct.bpfel.o", "cgacct.bpfeb.o")
    assert os.path.isabs(Config().bpf_object)


def test_cgroup_is_repeatable_and_keeps_its_order() -> None:
    config = accepted(option("CGroup", "b"), option("CGroup", "a"), option("CGroup", "b"))
    assert config.cgroups == (Selection("b"), Selection("a"), Selection("b"))


def test_a_cgroup_block_names_the_instance() -> None:
    config = accepted(option("CGroup", "a", children=[option("Instance", "name")]))
    assert config.cgroups == (Selection("a", "name"),)


def test_several_blocks_add_up() -> None:
    config, problems = parse([block(option("CGroup", "a")), block(option("CGroup", "b"))])
    assert (config.cgroups, problems) == ((Selection("a"), Selection("b")), [])


def test_the_last_of_two_values_counts() -> None:
    assert accepted(option("Interval", 1.0), option("Interval", 2.0)).interval == 2.0


@pytest.mark.parametrize("key", ["CGroup", "cgroup", "CGROUP"])
def test_case_does_not_matter_in_keys(key: str) -> None:
    assert accepted(option(key, "a")).cgroups == (Selection("a"),)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(True, True), (False, False), ("yes", True), ("Off", False), ("TRUE", True), ("no", False)],
)
def test_a_boolean_is_taken_bare_and_in_quotes(value: object, meaning: bool) -> None:
    assert accepted(option("Packets", value)).packets is meaning


def test_counters_are_kept_unless_it_is_said_otherwise() -> None:
    config = accepted()
    assert (config.persist, config.pin_path) == (True, "/sys/fs/bpf/collectd-cgacct")
    config = accepted(option("Persist", False), option("PinPath", "/p"))
    assert (config.persist, config.pin_path) == (False, "/p")


def test_paths_and_numbers_are_taken() -> None:
    config = accepted(
        option("CGroupRoot", "/cg"), option("BPFObject", "/x.o"), option("Interval", 0.5)
    )
    assert (config.cgroup_root, config.bpf_object, config.interval) == ("/cg", "/x.o", 0.5)


@pytest.mark.parametrize(
    ("wrong", "place", "words"),
    [
        (option("CGruop", "x"), 'CGruop "x"', "did you mean CGroup?"),
        (option("cgrouproots", "x"), 'cgrouproots "x"', "did you mean CGroupRoot?"),
        (option("Zzz"), "Zzz", "there are CGroup, "),
        (option("CGroup"), "CGroup", "one argument, not 0"),
        (option("CGroup", "a", "b"), 'CGroup "a" "b"', "one argument, not 2"),
        (option("CGroup", 5.0), "CGroup 5", "text in quotes"),
        (option("CGroup", True), "CGroup true", "text in quotes"),
        (option("CGroup", ""), 'CGroup ""', "text in quotes"),
        (option("PinPath", "pins"), 'PinPath "pins"', "absolute path"),
        (option("Persist", "perhaps"), 'Persist "perhaps"', "true or false"),
        (option("CGroup", "a\0b"), "CGroup", "NUL"),
        (option("Packets", 1.0), "Packets 1", "true or false"),
        (option("Packets", "maybe"), 'Packets "maybe"', "true or false"),
        (option("Interval", 0.0), "Interval 0", "above 0"),
        (option("Interval", -1.0), "Interval -1", "above 0"),
        (option("Interval", math.nan), "Interval nan", "above 0"),
        (option("Interval", math.inf), "Interval inf", "above 0"),
        (option("Interval", "10"), 'Interval "10"', "above 0"),
        (option("Interval", True), "Interval true", "above 0"),
        (option("CGroupRoot", "cg"), 'CGroupRoot "cg"', "absolute path"),
        (option("BPFObject", "x.o"), 'BPFObject "x.o"', "absolute path"),
        (option("BPFObject", 1.0), "BPFObject 1", "text in quotes"),
        (option("Packets", True, children=[option("A", "b")]), "Packets true", "no block"),
    ],
    ids=lambda value: value.key if isinstance(value, Option) else None,
)
def test_a_mistake_is_one_line_with_place_and_mend(wrong: Option, place: str, words: str) -> None:
    problem = refused(wrong)
    assert problem.startswith(f"collectd.conf: {place}")
    assert words in problem
    assert "\n" not in problem


def test_a_wrong_instance_costs_its_cgroup_alone() -> None:
    wrong = option("CGroup", "a", children=[option("Instance", 3.0)])
    config, problems = parse([block(wrong, option("CGroup", "b"))])
    assert config.cgroups == (Selection("b"),)
    (problem,) = problems
    assert "Instance 3" in problem


def test_bytes_that_are_not_utf8_are_taken_as_the_kernel_writes_them() -> None:
    config, problems = parse([block(option("CGroup", b"latin-\xe9"), option("Packets", b"\xe9"))])
    assert config.cgroups == (Selection("latin-\udce9"),)
    (problem,) = problems
    assert r'Packets "\udce9": give it true or false' in problem


def test_an_unknown_option_in_a_cgroup_block_is_named() -> None:
    problem = refused(option("CGroup", "a", children=[option("Name", "b")]))
    assert 'Name "b": unknown option' in problem
    assert "Instance" in problem


def test_a_mistake_does_not_cost_the_other_options() -> None:
    config, problems = parse(
        [
            block(
                option("Packets", "maybe"),
                option("CGroup", "a"),
                option("Intervall", 1.0),
                option("CGroup", 5.0),
                option("Interval", 2.0),
            )
        ]
    )
    assert len(problems) == 3
    assert (config.cgroups, config.packets, config.interval) == ((Selection("a"),), True, 2.0)
