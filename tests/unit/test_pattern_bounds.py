# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where in the tree patterns can match: this decides which directories are watched."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.patterns import Pattern, PatternError
from tests.unit.trees import GLOBS, PIECES, PROPERTY, TREE, below


@pytest.mark.parametrize(
    ("pattern", "directory", "may"),
    [
        ("/", "", False),
        ("a", "", True),
        ("a", "a", False),
        ("a/*/c", "", True),
        ("a/*/c", "a", True),
        ("a/*/c", "a/x", True),
        ("a/*/c", "a/x/c", False),
        ("a/*/c", "b", False),
        ("a/*/c", "b/x", False),
        ("**", "a/b/c", True),
        ("a/**/c", "a/x/y", True),
        ("a/**/c", "ab", False),
        ("/a/", "x/y", True),
        (r"/^a(?=.*\/b)[^\/]*\//", "b", False),
        (r"/^a\/[^\/]*$/", "", True),
        (r"/^a\/[^\/]*$/", "a", True),
        (r"/^a\/[^\/]*$/", "a/b", False),
        (r"/^a\/[^\/]*/", "a/b", True),
        (r"/^a\/.*$/", "a/b/c", True),
        (r"/^a\/.*$/", "b", False),
        ("/^a|b/", "b", True),
        ("/^a|b$/", "b", True),
        ("/^ab*/", "a", True),
        ("/^ab?$/", "a", False),
        ("/^ab?/", "a", True),
        ("/^ab{0,1}/", "a", True),
        ("/^ab{2}/", "ac", False),
        ("/^a{b}$/", "", True),
        ("/(?i)^A/", "a", True),
        ("/(?x)^ a/", "a", True),
        ("/^(?i:A)/", "a", True),
        ("/^a(?=b)/", "b", False),
        ("/^a(?=b)/", "ab", True),
        (r"/^a[/]b$/", "a", True),
        (r"/^a\x2fb$/", "a", True),
        (r"/^(.)a\1b$/", "x", True),
        (r"/^a(\/b)*$/", "a/b/b", True),
        (r"/^a(\/b)*$/", "b", False),
        ("/^a/?b$/", "a", True),
        ("/^a{/}b$/", "a{", True),
    ],
)
def test_it_is_known_where_a_pattern_can_match(pattern: str, directory: str, may: bool) -> None:
    assert Pattern.parse(pattern).may_match_below(directory) is may


@pytest.mark.parametrize(
    ("pattern", "directory", "all_of_it"),
    [
        ("**", "", True),
        ("user.slice/**", "user.slice", True),
        ("user.slice/**", "user.slice/a/b", True),
        ("user.slice/**", "", False),
        ("user.slice/**", "user.slicer", False),
        ("a/*", "a", False),
        ("a/**/*", "a", True),
        ("a/*/**", "a", True),
        ("a/*/*/**", "a", False),
        ("a/*/*/**", "a/b", True),
        ("**/a/**", "b/a/c", True),
        ("**/a", "a", False),
        ("/", "", False),
        (r"/^user\.slice/", "user.slice", True),
        (r"/^user\.slice\/.*$/", "user.slice/a", True),
        (r"/^user\.slice\/.*$/", "", False),
        (r"/^user\.slice\/[^\/]*$/", "user.slice", False),
        ("/a/", "a", False),
    ],
)
def test_it_is_known_what_a_pattern_covers(pattern: str, directory: str, all_of_it: bool) -> None:
    assert Pattern.parse(pattern).covers_all_below(directory) is all_of_it


def test_a_regex_over_a_component_does_not_reach_into_what_it_matches() -> None:
    pattern = Pattern.parse(r"/^system\.slice/docker-(?P<id>[0-9a-f]{12})[0-9a-f]{52}\.scope$/")
    assert pattern.may_match_below("system.slice")
    assert not pattern.may_match_below(f"system.slice/docker-{'a' * 64}.scope")
    assert not pattern.may_match_below("system.slice/nginx.service")


# Every name that two pieces can match, three levels deep: enough for these globs.
NAMES = ("a", "b", *map("".join, itertools.product("ab", repeat=2)))
DEEP = ["/".join(parts) for n in (1, 2, 3) for parts in itertools.product(NAMES, repeat=n)]
SMALL = st.one_of(
    st.just("**"), st.tuples(PIECES, PIECES.filter(lambda text: text != "*")).map("".join), PIECES
)


@PROPERTY
@given(st.lists(SMALL, min_size=1, max_size=3).map("/".join))
def test_may_match_below_is_exact_for_globs(glob: str) -> None:
    pattern = Pattern.parse(glob)
    for directory in TREE[:13]:
        paths = (f"{directory}/{rest}".lstrip("/") for rest in DEEP)
        assert pattern.may_match_below(directory) == any(pattern.match(path) for path in paths)


@PROPERTY
@given(GLOBS)
def test_what_covers_all_below_matches_everything_below(glob: str) -> None:
    pattern = Pattern.parse(glob)
    for directory in TREE[:13]:
        if pattern.covers_all_below(directory):
            assert all(pattern.match(path) for path in below(directory))


ATOMS = st.sampled_from(["a", "b", "/", r"\/", ".", "[ab]", "[^a]", r"\w", r"\S", r"\x2f", "[/b]"])
REGEXES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,1}", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"(?={one})"),
        inner.map(lambda one: f"(?!{one})"),
        st.tuples(ATOMS, st.sampled_from(["*", "+", "?", "{2}", "{,1}"])).map("".join),
    ),
    max_leaves=6,
)


@settings(PROPERTY, max_examples=400)
@given(st.sampled_from(["", "^", r"\A"]), REGEXES, st.sampled_from(["", "$", r"\Z", ".*"]))
def test_bounds_of_regular_expressions_never_miss_a_match(start: str, body: str, end: str) -> None:
    try:
        pattern = Pattern.parse(f"/{start}{body}{end}/")
    except PatternError:
        return
    matched = {path for path in TREE if pattern.match(path) is not None}
    for directory in TREE[:13]:
        inside = below(directory)
        if not pattern.may_match_below(directory):
            assert matched.isdisjoint(inside)
        if pattern.covers_all_below(directory):
            assert matched.issuperset(inside)
