"""Suites as tasks that a subject is measured by."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

from steps.contracts.digests import MultisetDigest, canonical_json, short_id
from steps.contracts.evaluation import UsedSuite
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.suites.items import Asked, BiasItem, CanaryItem, read_items
from steps.evaluate.suites.reading import Place, Suite, checked, checked_schema, read_suites
from steps.evaluate.suites.settings import BY_MODEL, SuiteTask


@dataclass(frozen=True)
class Part:
    """What a task of a suite has beside its rows.

    Attributes:
        suite: the one that it is of.
        settings: what the suite's file says of it; schema: where its JSON schema lies, by name; "": none.
        asked: its questions, in the order of the task's rows.
        declines: patterns of declines in the suite's languages.
    """

    suite: UsedSuite
    settings: SuiteTask
    schema: str
    asked: tuple[Asked, ...]
    declines: tuple[str, ...]

    @property
    def name(self) -> str:
        """The task's name in reports: no name of a control has a dot."""
        return f"{self.suite.name}.{self.settings.name}"

    @property
    def data_digest(self) -> str:
        """Of the questions with all that is known of them, in any order."""
        digest = MultisetDigest()
        digest.update(canonical_json([a.row_id, _known_of(a)]) for a in self.asked)
        return digest.hexdigest()


def _known_of(asked: Asked) -> dict[str, Any]:
    """What isn't said of where the answer stands has no part in a digest: nor had it before that could be said."""
    said = asked.item.model_dump(mode="json")
    return {k: v for k, v in said.items() if v or k not in ("passages", "document")}


def asked_models(parts: Sequence[Part]) -> dict[str, str]:
    """Grader that is a model -> a task that asks for it."""
    return {g: p.name for p in parts for g in p.settings.graders if g in BY_MODEL}


def missing_graders(parts: Sequence[Part], config: EvaluateConfig) -> dict[str, str]:
    """Those that the settings don't name -> a task that asks for each."""
    return {grader: where for grader, where in asked_models(parts).items() if getattr(config, grader) is None}


def suite_parts(names: Sequence[str], root: Path) -> list[Part]:
    """The tasks of the suites of these names, which lie under `root` by them.

    Raises:
        ConfigError: a suite's file can't be used. InputError: one of its questions can't. IntegrityError: a file isn't
            the one that the suite says.
    """
    place = _under(root)
    suites = read_suites(names, place)
    return [part for suite in suites for part in _parts(suite, place)]


def _parts(suite: Suite, place: Place) -> list[Part]:
    """Of one suite; of what it is made is told only when all of that is there."""
    asked = [_asked(suite, task, place) for task in suite.says.tasks]
    schemas = [checked_schema(suite, task, place) for task in suite.says.tasks]
    used, declines = suite.used(place), suite.says.decline_patterns
    return [
        Part(used, task, schema, questions, declines)
        for task, schema, questions in zip(suite.says.tasks, schemas, asked, strict=True)
    ]


def _under(root: Path) -> Place:
    return lambda name: root / name


def _asked(suite: Suite, task: SuiteTask, place: Place) -> tuple[Asked, ...]:
    asked = read_items(checked(suite, task, place), task, task.language or suite.says.language)
    if task.max_rows is not None:
        # Pairs, and all probes for one canary, are asked whole or not at all.
        groups = {_group(a) for a in asked}
        chosen = set(nsmallest(task.max_rows, groups, key=lambda g: short_id("suite", g)))
        asked = [a for a in asked if _group(a) in chosen]
    return tuple(asked)


def _group(asked: Asked) -> str:
    if isinstance(asked.item, CanaryItem):
        return f"canary {asked.item.canary}"
    return asked.row_id.removesuffix(f":{asked.member}") if isinstance(asked.item, BiasItem) else asked.row_id
