# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Patterns: what they match, and what they refuse."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectd_cgacct.patterns import Pattern, PatternError
from tests.unit.trees import GLOBS, PROPERTY, TREE

ROOT = "/sys/fs/cgroup/unified"


def numbered(pattern: str, path: str) -> tuple[str, ...] | None:
    captures = Pattern.parse(pattern).match(path)
    return captures.numbered if captures else None


@pytest.mark.parametrize(
    ("pattern", "path", "wildcards"),
    [
        ("/", "", ()),
        ("//", "", ()),
        ("/", "a", None),
        ("system.slice/nginx.service", "system.slice/nginx.service", ()),
        ("/system.slice//nginx.service", "system.slice/nginx.service", ()),
        ("a/b/", "a/b", ()),
        ("a", "a/b", None),
        ("a.b", "axb", None),
        ("system.slice/*.service", "system.slice/nginx.service", ("nginx",)),
        ("system.slice/*.service", "system.slice/.service", ("",)),
        ("system.slice/*.service", "system.slice/a/b.service", None),
        ("system.slice/*.service", "system.slice/two\nlines.service", ("two\nlines",)),
        ("system.slice/*.service", "system.slice/nginx.service\n", None),
        ("*", "", None),
        ("*", "a", ("a",)),
        ("*", ".hidden", (".hidden",)),
        ("*@*.service", "a@b@c.service", ("a", "b@c")),
        ("a?c", "abc", ("b",)),
        ("a?c", "a\udcffc", ("\udcff",)),
        ("a?c", "a/c", None),
        ("a?c", "ac", None),
        ("[ab]", "b", ("b",)),
        ("[a-c]x", "bx", ("b",)),
        ("[!a-c]", "d", ("d",)),
        ("[^a-c]", "a", None),
        ("[]a]", "]", ("]",)),
        ("[!]a]", "]", None),
        ("[a-]", "-", ("-",)),
        ("[-a]", "-", ("-",)),
        (r"[\]", "\\", ("\\",)),
        ("[[]", "[", ("[",)),
        ("[-&&~~||]", "|", ("|",)),
        ("a[!b]c", "a/c", None),
        ("a[.-0]c", "a/c", None),
        (r"a\x2db*", r"a\x2dbc", ("c",)),
        ("**", "", ("",)),
        ("**", "a/b", ("a/b",)),
        ("a/**", "a", ("",)),
        ("a/**", "a/b/c", ("b/c",)),
        ("a/**", "ab", None),
        ("**/b", "b", ("",)),
        ("**/b", "a/a/b", ("a/a",)),
        ("a/**/b", "a/b", ("",)),
        ("a/**/b/**", "a/b/b/c", ("", "b/c")),
        ("**/**", "a/b", ("", "a/b")),
    ],
)
def test_a_glob_matches_whole_paths_and_captures_its_wildcards_in_order(
    pattern: str, path: str, wildcards: tuple[str, ...] | None
) -> None:
    assert numbered(pattern, path) == wildcards


@pytest.mark.parametrize(
    ("pattern", "path", "wildcards"),
    [
        ("/nginx/", "system.slice/nginx.service", ()),
        ("/^nginx/", "system.slice/nginx.service", None),
        (r"/^system\.slice\/(.*)$/", "system.slice/a", ("a",)),
        ("/^system.slice/(.*)$/", "system.slice/a", ("a",)),
        ("/^a(.*)b$/", "a\nb", ("\n",)),
        ("/^(a)?(b)$/", "b", ("", "b")),
        ("/^$/", "", ()),
        ("/(?i)^A$/", "a", ()),
    ],
)
def test_a_pattern_between_slashes_is_a_regular_expression(
    pattern: str, path: str, wildcards: tuple[str, ...] | None
) -> None:
    assert numbered(pattern, path) == wildcards


def test_named_groups_are_captured_by_name_and_by_number() -> None:
    pattern = Pattern.parse(r"/^(?P<unit>[^\/@]+)@(?P<id>\d+)?/")
    captures = pattern.match("web@x")
    assert captures is not None
    assert (captures.named, captures.numbered) == ({"unit": "web", "id": ""}, ("web", ""))
    assert (pattern.groups, pattern.names) == (2, frozenset({"unit", "id"}))


def test_the_wildcards_of_a_glob_are_counted() -> None:
    assert [Pattern.parse(text).groups for text in ("a", "*", "**/a?[bc]*", "/(a)/")] == [
        0,
        1,
        4,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "literal"),
    [("/", ""), ("/a//b/c", "a/b/c"), (ROOT, ""), ("a*", None), ("/a/", None), ("a\\b", "a\\b")],
)
def test_a_pattern_without_wildcards_is_literal(text: str, literal: str | None) -> None:
    assert Pattern.parse(text, ROOT).literal == literal


@pytest.mark.parametrize("root", [ROOT, ROOT + "/", "//sys/fs/cgroup//unified"])
@pytest.mark.parametrize(
    ("text", "path"),
    [(ROOT, ""), (f"{ROOT}/a", "a"), (f"/{ROOT}//a/b", "a/b"), ("/a", "a"), ("a", "a")],
)
def test_the_mount_point_is_accepted_as_a_prefix(text: str, path: str, root: str) -> None:
    assert Pattern.parse(text, root).literal == path


def test_the_mount_point_is_a_prefix_only_up_to_a_slash() -> None:
    assert Pattern.parse("/cgroups/a", "/cgroup").literal == "cgroups/a"


def test_a_mount_point_is_not_a_pattern() -> None:
    assert Pattern.parse("/mnt/[x]/a", "/mnt/[x]").literal == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the pattern is empty"),
        (" \t", "the pattern is empty"),
        ("a\0b", "NUL"),
        ("a/./b", 'no cgroup is called "."'),
        ("../a", 'no cgroup is called ".."'),
        ("a" * 256, "longer than 255 bytes"),
        ("é" * 128, "longer than 255 bytes"),
        ("*/" + "?" * 256, "longer than 255 bytes"),
        ("[ab", '"[" is not closed'),
        ("[]", '"[" is not closed'),
        ("[!]", '"[" is not closed'),
        ("[a/b]", '"[" is not closed'),
        ("[z-a]", "swap its ends"),
        ("[[:alpha:]]", "write a range"),
        ("a**", "put slashes around it"),
        ("***", "put slashes around it"),
        ("/(/", "missing ), unterminated subpattern at position 0"),
        ("/a{5,1}/", "min repeat greater than max repeat"),
        ("/*a/", "nothing to repeat"),
        ("/(?L)a/", "mend the regular expression"),
        ("/a{99999999999999999999}/", "repetition number is too large"),
        ("/" + "(" * 50_000 + ")" * 50_000 + "/", "make it simpler"),
        ("/^/system.slice/", "drop the one after ^"),
        (r"/^\/system.slice/", "drop the one after ^"),
        (r"/\A\/system.slice/", "drop the one after ^"),
        ("/(?P<name>a)/", "rename the group"),
        (f"{ROOT}/system.slice/", "drop the trailing slash"),
        ("/sys/fs/cgroup/system.slice/a", "write the path relative to it"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_with_the_mend(text: str, message: str) -> None:
    with pytest.raises(PatternError) as refusal:
        Pattern.parse(text, ROOT)
    assert message in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("text", ["a" * 255, "é" * 127, "\udcff" * 255, "[ab]" * 255, "a*" * 99])
def test_a_component_may_have_255_bytes(text: str) -> None:
    assert Pattern.parse(text)


def test_a_pattern_of_very_many_components_is_accepted_or_refused() -> None:
    for count in (50, 5_000):
        try:
            assert Pattern.parse("*/" * count).groups == count
        except PatternError as refusal:
            assert "make it simpler" in str(refusal)


@pytest.mark.parametrize("text", ["/[[a]&&b]/", "/[a||b]/", r"/^[[]b$/"])
def test_no_warning_leaks_from_odd_regular_expressions(text: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Pattern.parse(text)
    assert not caught


# Against a slow, obvious reference.


def ref_component(glob: str, name: str) -> bool:
    if not glob:
        return not name
    if glob[0] == "*":
        return any(ref_component(glob[1:], name[i:]) for i in range(len(name) + 1))
    if glob[0] == "[":
        end = glob.index("]")
        members, negated = glob[1:end].lstrip("!"), glob[1] == "!"
        fits = bool(name) and (name[0] in members) != negated
        return fits and ref_component(glob[end + 1 :], name[1:])
    return bool(name) and glob[0] in ("?", name[0]) and ref_component(glob[1:], name[1:])


def ref_path(globs: list[str], names: list[str]) -> bool:
    if not globs:
        return not names
    if globs[0] == "**":
        return any(ref_path(globs[1:], names[i:]) for i in range(len(names) + 1))
    return bool(names) and ref_component(globs[0], names[0]) and ref_path(globs[1:], names[1:])


def ref_match(glob: str, path: str) -> bool:
    return ref_path([part for part in glob.split("/") if part], path.split("/") if path else [])


@PROPERTY
@given(GLOBS)
def test_globs_agree_with_the_reference(glob: str) -> None:
    pattern = Pattern.parse(glob)
    for path in TREE:
        captures = pattern.match(path)
        assert (captures is not None) == ref_match(glob, path), path
        assert captures is None or len(captures.numbered) == pattern.groups


@PROPERTY
@given(GLOBS)
def test_the_wildcards_put_back_make_the_path(glob: str) -> None:
    wildcard = re.compile(r"\*\*|\*|\?|\[[^]]*\]")
    for path in TREE:
        captures = Pattern.parse(glob).match(path)
        if captures is not None:
            values = iter(captures.numbered)
            filled = wildcard.sub(lambda _, values=values: next(values), glob)  # type: ignore[misc]
            assert [part for part in filled.split("/") if part] == path.split("/")[: len(path)]


@PROPERTY
@given(st.text(max_size=30) | st.text("/*?[]!^-.a\\(){}|", max_size=12))
def test_any_text_is_a_pattern_or_refused_in_one_line(text: str) -> None:
    try:
        pattern = Pattern.parse(text, ROOT)
    except PatternError as refusal:
        assert str(refusal).isprintable()
        return
    for path in ("", "a", "a/b", "\udcff"):
        pattern.match(path)
        pattern.may_match_below(path)
        pattern.covers_all_below(path)
