# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rules, and the names that collectd gets to see."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.patterns import Pattern
from collectd_cgacct.rules import NAME_MAX, Exclude, Names, Rule, RuleSet, clean_name
from collectd_cgacct.templates import DEFAULT, ROOT, Template

PROPERTY = settings(database=None, deadline=None, max_examples=200)
# Whatever a file name may be, as it comes from the kernel.
FILE_NAMES = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"\n"))
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
PATHS = st.lists(FILE_NAMES, min_size=1, max_size=3).map("/".join)


def rule(match: str, instance: str = DEFAULT) -> Rule:
    pattern = Pattern.parse(match)
    return Rule(pattern, Template.parse(instance, pattern), "test")


def rule_set(*rules: Rule, exclude: tuple[str, ...] = ()) -> RuleSet:
    return RuleSet(rules, [Exclude(Pattern.parse(text), "test") for text in exclude])


def test_the_first_rule_that_matches_names_the_cgroup() -> None:
    rules = rule_set(rule("a/*", "first-{1}"), rule("a/**", "second"), rule("a/b", "third"))
    assert [rules.raw_name(path) for path in ("a/b", "a/b/c", "x")] == ["first-b", "second", None]


def test_an_exclude_wins_over_every_rule() -> None:
    rules = rule_set(rule("a/b"), rule("**"), exclude=("x", "a/*"))
    decision = rules.decide("a/b")
    assert decision.name_raw is None
    assert decision.rule is rules.rules[0]
    assert decision.exclude is rules.excludes[1]


def test_a_decision_names_the_rule() -> None:
    rules = rule_set(rule("a"), rule("b", "name"))
    decision = rules.decide("b")
    assert (decision.path, decision.name_raw) == ("b", "name")
    assert (decision.rule, decision.exclude) == (rules.rules[1], None)


def test_no_decision_for_what_no_rule_matches() -> None:
    decision = rule_set(rule("a"), exclude=("b",)).decide("b")
    assert (decision.name_raw, decision.rule, decision.exclude) == (None, None, None)


@pytest.mark.parametrize(
    ("path", "may"),
    [("", True), ("a", True), ("a/b", False), ("u", False), ("u/v", False), ("x", False)],
)
def test_what_is_excluded_as_a_whole_is_not_looked_into(path: str, may: bool) -> None:
    rules = rule_set(rule("a/*"), rule("u/**"), exclude=("u/**", "a/b"))
    assert rules.may_match_below(path) is may


def test_nothing_is_looked_into_without_rules() -> None:
    assert not rule_set(exclude=("a",)).may_match_below("")


def test_twenty_thousand_directories_are_decided_in_a_second() -> None:
    rules = rule_set(
        *(rule(f"system.slice/unit{number}-*.service", "{1}") for number in range(20)),
        exclude=("system.slice/systemd-*.service", "user.slice/**"),
    )
    begin = time.process_time()
    for number in range(20_000):
        path = f"system.slice/unit19-{number}.service"
        assert rules.raw_name(path) == str(number)
        assert not rules.may_match_below(path)
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("system.slice/nginx.service", "system.slice-nginx.service"),
        (ROOT, "root"),
        ("", "root"),
        ("a b", "a b"),
        ("naïve-漢字", "naïve-漢字"),
        (r"dev-disk\x2dby", r"dev-disk\x2dby"),
        ("x" * NAME_MAX, "x" * NAME_MAX),
        ("two\nlines", "two_lines-8108470ce690"),
        ("\udcff", "_-a13a15146bd7"),
    ],
)
def test_a_name_is_cleaned_for_collectd(raw: str, name: str) -> None:
    assert clean_name(raw) == name


@pytest.mark.parametrize("raw", ["\x00", "\x1b[0m", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_what_has_no_place_in_a_name_is_replaced_and_hashed(raw: str) -> None:
    assert clean_name(f"a{raw}b").startswith("a_")
    assert len({clean_name(f"a{raw}b"), clean_name("a_b"), clean_name(f"a{raw}c")}) == 3


def test_utf_8_that_was_read_in_another_locale_is_mended() -> None:
    assert clean_name("na\udcc3\udcafve") == "naïve"


def test_a_name_that_is_too_long_is_cut_at_a_character_and_hashed() -> None:
    names = {clean_name("a" + "é" * 80 + end) for end in ("", "a", "b")}
    assert len(names) == 3
    assert {len(name.encode()) for name in names} == {NAME_MAX - 1}
    assert all(name.startswith("a" + "é" * 56 + "-") for name in names)


@PROPERTY
@given(PATHS | st.text(st.characters()))
def test_any_name_is_fit_for_collectd(raw: str) -> None:
    name = clean_name(raw)
    assert 1 <= len(name.encode("utf-8")) <= NAME_MAX
    assert "/" not in name
    assert not {unicodedata.category(c) for c in name} & {"Cc", "Cs", "Zl", "Zp"}
    assert clean_name(raw) == name


def test_two_raw_names_that_are_cleaned_alike_get_two_names() -> None:
    names = Names()
    assert names.claim("a/b") == "a-b"
    assert names.claim("a-b").startswith("a-b-")
    assert names.claim("a/b") == "a-b"


def test_the_root_does_not_share_its_name_with_a_cgroup_called_root() -> None:
    everything, names = rule_set(rule("**")), Names()
    raws = [everything.raw_name(path) for path in ("", "root")]
    assert len({names.claim(raw) for raw in raws if raw is not None}) == 2


def test_a_hashed_form_that_is_taken_is_not_given_twice() -> None:
    names = Names()
    names.claim("a/b")
    spare = Names()
    spare.claim("a/b")
    hashed = spare.claim("a-b")
    assert names.claim(hashed) == hashed
    assert names.claim("a-b") not in ("a-b", hashed)


def test_a_released_name_can_be_claimed_again() -> None:
    names = Names()
    names.release(names.claim("a/b"))
    names.release("never claimed")
    assert names.claim("a-b") == "a-b"


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.text("ab-/\n", max_size=4)), max_size=20))
def test_no_two_raw_names_hold_one_name_and_a_held_name_does_not_change(
    steps: list[tuple[bool, str]],
) -> None:
    names, held = Names(), dict[str, str]()
    for claims, raw in steps:
        if claims:
            name = names.claim(raw)
            assert held.setdefault(raw, name) == name
            assert len(name.encode()) <= NAME_MAX
        elif raw in held:
            names.release(held.pop(raw))
        assert len(set(held.values())) == len(held)


def test_whoever_had_a_name_in_an_earlier_run_has_it_still() -> None:
    names = Names()
    names.claim("a/b")
    hashed = names.claim("a-b")
    later = Names()
    for name in (hashed, "a-b"):
        later.hold(names.raw(name), name)
    assert (later.claim("a-b"), later.claim("a/b")) == (hashed, "a-b")
    later.release("a-b")
    assert later.raw("a-b") == "a-b"
    assert later.claim("a.b/c") == "a.b-c"


def test_a_name_that_is_let_go_is_free() -> None:
    names = Names()
    names.hold("a/b", "a-b")
    names.release("a-b")
    assert names.claim("a-b") == "a-b"
    assert names.claim("a/b") != "a-b"
