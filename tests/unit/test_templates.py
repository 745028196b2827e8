# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Templates: names from a path and from what a pattern found in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.patterns import Pattern, PatternError
from collectd_cgacct.templates import DEFAULT, ROOT, Template

PROPERTY = settings(database=None, deadline=None, max_examples=150)


def expand(template: str, pattern: str, path: str) -> str:
    parsed = Pattern.parse(pattern)
    captures = parsed.match(path)
    assert captures is not None
    return Template.parse(template, parsed).expand(path, captures)


@pytest.mark.parametrize(
    ("template", "pattern", "path", "raw"),
    [
        (DEFAULT, "**", "a/b.service", "a/b.service"),
        ("{name}", "**", "a/b.service", "b.service"),
        ("{stem}", "**", "a/b.service", "b"),
        ("{stem}", "**", "a.b.c", "a.b"),
        ("{stem}", "**", "a/.x", ".x"),
        ("{stem}", "**", "x.", "x."),
        ("{2}-{1}", "*@*", "a@b", "b-a"),
        ("podman-{id}", "/^libpod-(?P<id>..)/", "libpod-12ab", "podman-12"),
        ("{1}", "/^libpod-(?P<id>..)/", "libpod-12ab", "12"),
        ("{{{1}}}", "*", "a", "{a}"),
        ("fixed", "*", "a", "fixed"),
        ("{1}", "*", "{name}", "{name}"),
        ("{11}", "**/" + "?" * 11, "abcdefghijk", "j"),
    ],
)
def test_fields_are_filled_in(template: str, pattern: str, path: str, raw: str) -> None:
    assert expand(template, pattern, path) == raw


@pytest.mark.parametrize(
    ("template", "raw"),
    [
        ("{path}", ROOT),
        ("{name}", ROOT),
        ("{stem}", ROOT),
        ("{1}", ROOT),
        ("host-{path}", "host-root"),
        ("{name}.{stem}", "root.root"),
    ],
)
def test_the_root_is_called_root_but_never_like_a_cgroup_of_that_name(
    template: str, raw: str
) -> None:
    assert expand(template, "**", "") == raw


@pytest.mark.parametrize("template", ["{1}", "{1}/", "{1}/{1}"])
def test_an_expansion_to_nothing_falls_back_to_the_path(template: str) -> None:
    assert expand(template, "a/**", "a") == "a"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "the template is empty"),
        ("{}", '"{}"'),
        ("{0}", '"{0}"'),
        ("{3}", "use {path} {name} {stem} {word} {1} to {2}"),
        ("{01}", '"{01}"'),
        ("{१}", "{१}"),
        ("{" + "9" * 5000 + "}", "no field"),
        ("{word.__class__}", "{word.__class__}"),
        ("{word[0]}", "{word[0]}"),
        ("{word!r}", "{word!r}"),
        ("{word:>9}", "{word:>9}"),
        ("{word:{path}}", "no field"),
        ("{unknown}", '"{unknown}"'),
        ("{ path }", '"{ path }"'),
        ("{path", "write {{ and }} for braces"),
        ("path}", "write {{ and }} for braces"),
        ("{a[}", "write {{ and }} for braces"),
        ("a\0", "NUL"),
    ],
)
def test_what_is_no_plain_field_is_refused_with_the_fields_there_are(
    template: str, message: str
) -> None:
    with pytest.raises(PatternError) as refusal:
        Template.parse(template, Pattern.parse("/(?P<word>a)(b)/"))
    assert message in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_a_refusal_offers_no_number_where_there_is_no_wildcard() -> None:
    with pytest.raises(PatternError, match=r"use \{path\} \{name\} \{stem\}$"):
        Template.parse("{1}", Pattern.parse("a"))


@PROPERTY
@given(st.text("{}.[]!:0129abpath", max_size=12) | st.text(max_size=20))
def test_any_template_that_is_accepted_expands(text: str) -> None:
    pattern = Pattern.parse("**/*-?")
    try:
        template = Template.parse(text, pattern)
    except PatternError as refusal:
        assert str(refusal).isprintable()
        return
    captures = pattern.match("x/y-z")
    assert captures is not None
    assert template.expand("x/y-z", captures)


@PROPERTY
@given(st.text().filter(lambda text: text.strip("/") and "\0" not in text))
def test_literal_text_survives(text: str) -> None:
    template = text.replace("{", "{{").replace("}", "}}")
    assert expand(template, "*", "a") == text


@PROPERTY
@given(st.lists(st.text(st.characters(blacklist_characters="/\0"), min_size=1), min_size=1))
def test_the_default_is_the_path(parts: list[str]) -> None:
    path = "/".join(parts)
    assert expand(DEFAULT, "**", path) == path
