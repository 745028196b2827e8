# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From the options and the rules files to one RuleSet. A mistake costs its own rule only."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from .config import Config
from .hierarchy import Hierarchy, encode
from .patterns import Pattern, PatternError, quote
from .rules import Exclude, Rule, RuleSet
from .rulesfile import SIZE_MAX, parse_rules_file
from .templates import DEFAULT, Template

logger = logging.getLogger(__name__)

_SOURCE = "collectd.conf"


def rule_set(config: Config, hierarchy: Hierarchy) -> RuleSet:
    """Return the rules of collectd.conf, then those of each file; log each mistake."""
    rules = list(_rules(config, hierarchy))
    excludes = list(_excludes(config, hierarchy))
    for path in config.rules_files:
        try:
            text = _read(path)
        except OSError as error:
            why = f"{error.strerror}; mend the path, or write the file"
            logger.error("%s: RulesFile %s: cannot be read: %s", _SOURCE, quote(path), why)
            continue
        found = parse_rules_file(text, path, hierarchy.root)
        rules += found.rules
        excludes += found.excludes
        for problem in found.problems:
            logger.error("%s", problem)
    return RuleSet(rules, excludes)


def _read(path: str) -> bytes:
    # Without O_NONBLOCK, a FIFO in the place of a file would stop collectd's start.
    fd = os.open(encode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(SIZE_MAX + 1)


def _rules(config: Config, hierarchy: Hierarchy) -> Iterator[Rule]:
    for selection in config.cgroups:
        try:
            objection = hierarchy.objection(selection.pattern)
            if objection:
                raise PatternError(objection)
            pattern = Pattern.parse(selection.pattern, hierarchy.root)
            template = Template.parse(selection.instance or DEFAULT, pattern)
        except PatternError as error:
            _refuse("CGroup", selection.pattern, error)
        else:
            yield Rule(pattern, template, _SOURCE)


def _excludes(config: Config, hierarchy: Hierarchy) -> Iterator[Exclude]:
    for text in config.excludes:
        try:
            yield Exclude(Pattern.parse(text, hierarchy.root), _SOURCE)
        except PatternError as error:
            _refuse("Exclude", text, error)


def _refuse(option: str, text: str, error: PatternError) -> None:
    # Most errors begin with the pattern that they are about.
    why = str(error).removeprefix(f"{quote(text)}: ")
    logger.error("%s: %s %s: %s", _SOURCE, option, quote(text), why)
