# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A small tree of paths, and the globs to try on it."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st

TREE = [
    "/".join(parts) for n in range(4) for parts in itertools.product(("a", "b", "ab"), repeat=n)
]


def below(directory: str) -> list[str]:
    start = f"{directory}/" if directory else ""
    return [path for path in TREE if path != directory and path.startswith(start)]


PIECES = st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]"])
COMPONENTS = st.one_of(
    st.just("**"),
    st.lists(PIECES, min_size=1, max_size=3).map("".join).filter(lambda text: "**" not in text),
)
GLOBS = st.lists(COMPONENTS, max_size=4).map(lambda parts: "/".join(parts) or "/")
PROPERTY = settings(database=None, deadline=None, max_examples=150)
