# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""collectd.conf as collectd reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct.conffile import Item, parse, read
from collectd_cgacct.errors import CgacctError


def test_options_and_blocks() -> None:
    text = (
        'Hostname "a \\"b\\" \\\\c" # a comment\n\n'
        "<Plugin python>\n"
        "\tNumber 1.5 0x10 -3 \\\n\t\ttrue off 1.2.3.4 nan\n"
        "  <Module collectd_cgacct>\n  Empty\n  < /module>\n"
        "</Plugin>"
    )
    assert parse(text, "x") == [
        Item("Hostname", ['a "b" \\c']),
        Item(
            "Plugin",
            ["python"],
            [
                Item("Number", [1.5, 16.0, -3.0, True, False, "1.2.3.4", "nan"]),
                Item("Module", ["collectd_cgacct"], [Item("Empty")]),
            ],
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<A>\n", "x, line 1: <A> is not closed"),
        ("\n</A>\n", "x, line 2: </A> closes no open block"),
        ("<A>\n</B>\n", "x, line 2: </B> closes no open block"),
        ('A "b\nc\n', "x, line 1: a quote is not closed"),
        ("A <b>\n", "x, line 1: write <Name ...>"),
        ("<A> b\n", "x, line 1: write <Name ...>"),
        ("<>\n", "x, line 1: a block needs a name"),
        ("<A\n", "x, line 1: write <Name ...>"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(CgacctError) as caught:
        parse(text, "x")
    assert str(caught.value).startswith(message)


@settings(max_examples=200, database=None, deadline=None)
@given(st.text('<>/"\\#\n aA1é\udcff'))
def test_any_text_is_a_tree_or_a_mistake(text: str) -> None:
    try:
        parse(text, "x")
    except CgacctError as error:
        assert "\n" not in str(error)


def test_what_is_included_stands_in_place_of_the_option(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "deeper").mkdir(parents=True)
    for name in ("b.conf", "a.conf", "c.txt", ".hidden.conf", "deeper/d.conf"):
        (parts / name).write_text(f'In "{Path(name).name}"\n', "utf-8")
    main = tmp_path / "main.conf"
    main.write_text(
        f'First\n<Include "{parts}">\nFilter "*.conf"\n</Include>\n'
        f'Include "{parts}/?.txt"\nInclude "{tmp_path}/none*"\nLast\n',
        "utf-8",
    )
    found = [item.values[0] if item.values else item.key for item in read(str(main))]
    assert found == ["First", "a.conf", "b.conf", "d.conf", "c.txt", "Last"]


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    main = tmp_path / "main.conf"
    main.write_text(f'A\nInclude "{main}"\n', "utf-8")
    assert {item.key for item in read(str(main))} == {"A"}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CgacctError, match=r'cannot read ".*none": No such file'):
        read(str(tmp_path / "none"))
