# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From the options and the rules files to one RuleSet. A mistake costs its own rule only."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from .config import Config
from .files import read_regular
from .hierarchy import Hierarchy
from .patterns import Pattern, PatternError
from .rules import Exclude, Rule, RuleSet
from .rulesfile import SIZE_MAX, parse_rules_file
from .templates import DEFAULT, Template
from .text import quote

logger = logging.getLogger(__name__)

_SOURCE = "collectd.conf"
# So many mistakes of one file are named; it may be of another kind altogether.
_MOST = 20


def rule_set(config: Config, hierarchy: Hierarchy) -> RuleSet:
    """Return the rules of collectd.conf, then those of each file; log each mistake."""
    rules = list(_rules(config, hierarchy))
    excludes = list(_excludes(config, hierarchy))
    for path in config.rules_files:
        try:
            text = read_regular(path, SIZE_MAX + 1)
        except OSError as error:
            why = f"{error.strerror}; mend the path, or write the file"
            logger.error("%s: RulesFile %s: cannot be read: %s", _SOURCE, quote(path), why)
            continue
        found = parse_rules_file(text, path, hierarchy.root)
        rules += found.rules
        excludes += found.excludes
        for problem in found.problems[:_MOST]:
            logger.error("%s", problem)
        if len(found.problems) > _MOST:
            logger.error("%s: and %d more mistakes", path, len(found.problems) - _MOST)
    return RuleSet([rule for rule in rules if _can_match(rule, hierarchy)], excludes)


def _can_match(rule: Rule, hierarchy: Hierarchy) -> bool:
    objection = "" if rule.pattern.literal is None else hierarchy.objection(rule.pattern.text)
    if objection:
        logger.error("%s: %s: %s", rule.source, quote(rule.pattern.text), objection)
    return not objection


def _rules(config: Config, hierarchy: Hierarchy) -> Iterator[Rule]:
    for selection in config.cgroups:
        try:
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
