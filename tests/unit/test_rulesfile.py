# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rules files: what they may hold, and that each mistake costs one line and one rule."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.rulesfile import SIZE_MAX, RulesFile, parse_rules_file

PROPERTY = settings(database=None, deadline=None, max_examples=200)
GOOD = 'cgroups:\n  - match: "good/*"\n    instance: "{1}"\n'


def parse(text: str | bytes) -> RulesFile:
    return parse_rules_file(text, "r.yaml", "/sys/fs/cgroup")


def test_rules_and_excludes_are_read_in_order_with_their_places() -> None:
    found = parse(
        'exclude:\n  - "user.slice/**"\n  - b\n'
        "cgroups:\n  - match: 'system.slice/*.service'\n    instance: '{1}'\n"
        "  - just/a/pattern\n  - instance: x\n    match: /sys/fs/cgroup/a\n"
    )
    assert found.problems == ()
    assert [(e.pattern.text, e.source) for e in found.excludes] == [
        ("user.slice/**", "r.yaml:2"),
        ("b", "r.yaml:3"),
    ]
    assert [(r.pattern.text, r.template.text, r.source) for r in found.rules] == [
        ("system.slice/*.service", "{1}", "r.yaml:5"),
        ("just/a/pattern", "{path}", "r.yaml:7"),
        ("/sys/fs/cgroup/a", "x", "r.yaml:8"),
    ]
    assert found.rules[2].pattern.literal == "a"


@pytest.mark.parametrize(
    "text",
    [
        "exclude: [a]",
        "\ufeffexclude: [a]",
        b"\xef\xbb\xbfexclude: [a]",
        "exclude: [a]\ncgroups:\n",
        "exclude: [!!str a]",
        "cgroups: [{match: &a a, instance: x}, {match: b, instance: *a }]",
        "exclude: &all [a]\ncgroups: *all",
        "%YAML 1.1\n---\nexclude: [a]\n...\n",
        'exclude: ["caf\\xe9"]',
    ],
)
def test_these_are_fine(text: str | bytes) -> None:
    found = parse(text)
    assert found.problems == ()
    assert found.rules or found.excludes


@pytest.mark.parametrize(
    ("addition", "problem"),
    [
        ("  - match:", "r.yaml:4: match: is empty; write some text, or remove it"),
        ("  - instance: x", "r.yaml:4: match: is missing; write the pattern"),
        ("  - match: 42", "r.yaml:4: match: is a number; put it in quotes"),
        ("  - match: 1.5", "r.yaml:4: match: is a number; put it in quotes"),
        ("  - match: on", "r.yaml:4: match: is a truth value; put it in quotes"),
        ("  - match: 2020-01-01", "r.yaml:4: match: is a date; put it in quotes"),
        ("  - match: [ab]", "r.yaml:4: match: is a list; put it in quotes"),
        (
            "  - match: a\n    instance: {stem}",
            "r.yaml:5: instance: is a mapping; put it in quotes",
        ),
        ("  - match: a\n    instance:", "r.yaml:5: instance: is empty"),
        ("  - match: ''", "r.yaml:4: match: the pattern is empty"),
        ("  - match: 'a['", 'r.yaml:4: match: "a[": "[" is not closed'),
        ("  - match: '/(/'", 'r.yaml:4: match: "/(/": missing ), unterminated subpattern'),
        ("  - match: 'a'\n    instance: '{1}'", 'r.yaml:5: instance: template "{1}": no field'),
        (
            "  - match: a\n    instnace: b",
            'r.yaml:5: instnace: is not a key; did you mean "instance"?',
        ),
        ("  - match: a\n    zzz: b", "r.yaml:5: zzz: is not a key; the keys here are match and"),
        ("  - match: a\n    match: b", "r.yaml:5: match: is here a second time; remove one"),
        ("  - match: a\n    [x]: b", "r.yaml:5: a key is a list; the keys here are"),
        ("  - match: a\n    <<: {instance: b}", "r.yaml:5: <<: is not a key"),
        ("  - [a, b]", 'r.yaml:4: cgroups: is a list; write "match: ..."'),
        ("  - ~", "r.yaml:4: match: is empty"),
        ("  - !!python/name:os.system x", "r.yaml:4: match: is tagged"),
        ("  - !!python/object:os.system {match: a}", "r.yaml:4: cgroups: is tagged"),
        ("  - match: !!binary aGk=", 'r.yaml:4: match: is tagged "binary", and tags are refused'),
        ('  - "a\\0b"', 'r.yaml:4: match: "a\\x00b": no path holds a NUL'),
        ("exclude: a", "r.yaml:4: exclude: is a word; write a list"),
        ("exclude: {a: b}", "r.yaml:4: exclude: is a mapping; write a list"),
        ("exclude: !!set {a}", "r.yaml:4: exclude: is tagged"),
        ("exclude: [[a]]", "r.yaml:4: exclude: is a list; put it in quotes"),
        ("exclude: [a/../b]", 'r.yaml:4: exclude: "a/../b": no cgroup is called ".."'),
        ("exclude: [/sys/fs/cgroup/a/]", 'r.yaml:4: exclude: "/sys/fs/cgroup/a/": between slashes'),
        ("excludes: [a]", 'r.yaml:4: excludes: is not a key; did you mean "exclude"?'),
        ("cgroups: [a]", "r.yaml:4: cgroups: is here a second time"),
        ("42: [a]", "r.yaml:4: 42: is not a key"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_the_other_rules(addition: str, problem: str) -> None:
    found = parse(GOOD + addition)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(problem)
    assert found.problems[0].isprintable()
    assert [rule.pattern.text for rule in found.rules] == ["good/*"]
    assert found.excludes == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "r.yaml:1: there are no rules"),
        ("# nothing\n", "r.yaml:1: there are no rules"),
        ("exclude:\ncgroups: []\n", "r.yaml:1: there are no rules"),
        ("- a", "r.yaml:1: the file: is a list; write"),
        ("just a word", "r.yaml:1: the file: is a word; write"),
        ("\n\n42", "r.yaml:3: the file: is a number; write"),
        ("!!python/object/apply:os.system ['false']", "r.yaml:1: the file: is tagged"),
        ("exclude:\n  - *.service\n", "r.yaml:2: is not YAML: "),
        ("exclude: [a\ncgroups: [b]", "r.yaml:2: is not YAML: "),
        ("exclude: 'a", "r.yaml:1: is not YAML: "),
        ("exclude:\n\t- a", "r.yaml:2: is not YAML: "),
        ("exclude: [*nothing ]", "r.yaml:1: is not YAML: "),
        ("exclude: [a]\n---\nexclude: [b]", "r.yaml:2: there is a second document; remove"),
        ("exclude: [a]\n\0", "r.yaml:2: there is a NUL"),
        ("exclude: [a]\n# \x1b", "r.yaml:1: is not YAML: "),
        (b"exclude:\n- \xff", "r.yaml:2: is not UTF-8"),
        ("exclude: [\ud800]", "r.yaml:1: is not UTF-8"),
        ("exclude: [a]".encode("utf-16"), "r.yaml:1: is not UTF-8"),
        ("[" * 500_000, "r.yaml:1: is nested too deep"),
        ("- " * 400_000, "r.yaml:1: is nested too deep"),
        ("a:\n" + "".join(" " * n + "a:\n" for n in range(1, 50)), "r.yaml:21: is nested too deep"),
        ("#" * (SIZE_MAX + 1), "r.yaml:1: is larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem_and_no_rules(
    text: str | bytes, problem: str
) -> None:
    found = parse(text)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(problem)
    assert found.problems[0].isprintable()
    assert (found.rules, found.excludes) == ((), ())


def test_a_structure_that_holds_itself_is_no_trap() -> None:
    assert len(parse("cgroups: &a [*a, *a]").problems) == 2
    assert len(parse("&a {cgroups: [*a]}").problems) == 1


def test_problems_come_in_the_order_of_the_lines() -> None:
    found = parse("cgroups: [1]\nexclude: [2]\nzzz: 3\n")
    assert [problem.split(":")[1] for problem in found.problems] == ["1", "2", "3"]


def test_a_file_name_that_is_not_printable_is_escaped() -> None:
    assert parse_rules_file("", "a\nb", "").problems[0].startswith("a\\nb:1: ")


KEYS = ["cgroups:", "exclude:", "match:", "instance:", "<<", "a", "42", "~", "{stem}", "{1}"]
MARKS = [
    "- ",
    ": ",
    ", ",
    "? ",
    "\n",
    "  ",
    "    ",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "|\n",
    ">\n",
    "#",
]
ODDITIES = ["&a ", "*a", "*", "!x ", "!!python/name:os.system ", "---\n", "...\n", "%YAML 1.1\n"]
SIGNS = ["/", "(", "\\", "\\x00", "\x85", "\ufeff", "\u00e9", "\udcff", "\0"]
YAML_LIKE = st.lists(st.sampled_from([*KEYS, *MARKS, *ODDITIES, *SIGNS]), max_size=30).map("".join)


@PROPERTY
@given(st.binary(max_size=60) | st.text(st.characters(), max_size=60) | YAML_LIKE)
def test_any_text_gives_rules_or_problems_and_never_raises(text: bytes | str) -> None:
    found = parse(text)
    assert found.rules or found.excludes or found.problems
    assert all(p.startswith("r.yaml:") and p.isprintable() for p in found.problems)
