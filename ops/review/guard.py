"""What a person lets through is looked at as scrub and screen of the run would, before the decision is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.stages import stage_named
from steps.contracts.context import StageContext
from steps.contracts.errors import InputError
from steps.contracts.records import Row, make_row
from steps.review.decisions import Checked
from steps.zenml_runtime.urls import with_urls


@dataclass(frozen=True)
class GuardedRow:
    """The row with what was found in it replaced, and what was found. `taken_out`: screen would take it out again."""

    row: Row
    checked: Checked
    taken_out: bool


class Guard:
    """The scrub and screen settings of a run, as its resolved config has them.

    Without scrub in the run nothing is replaced, and without screen nothing is screened.
    """

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        settings = {name: _settings_of(name, config) for name in ("scrub", "screen")}
        self._scrub, self._screen = settings["scrub"], settings["screen"]
        named = [n for name, of in settings.items() if of is not None for n in stage_named(name).named(of)]
        self._ctx = StageContext(folder=root, root=with_urls(named, root))

    @cached_property
    def search(self) -> str:
        """What `Checked.search` is under these settings.

        Raises:
            ConfigError: the pseudonym key isn't set here. InputNotFoundError: a word file isn't there.
        """
        from pipelines.input_digests import search_id

        return search_id(self._ctx.root, self._scrub) if self._scrub is not None else ""

    def look(self, row: Row, before: Row | None = None) -> GuardedRow:
        """Search the row. `before`: the row as scrub left it; None when it never saw it.

        Raises:
            ConfigError: as for `search`. MissingDependencyError: a model isn't there.
        """
        row, checked = self._scrubbed(row, before)
        if self._screen is None:
            return GuardedRow(row, checked, taken_out=False)
        from steps.screen.recheck import recheck

        found = recheck(row, self._screen, self._ctx)
        checked = checked.model_copy(update={"screen": found.decision, "hits": found.hits})
        return GuardedRow(row, checked, taken_out=found.taken_out)

    def words(self, text: str) -> str:
        """A person's own words with what was found in them replaced.

        Raises:
            InputError: a detector failed on them.
        """
        if not self.search or not text:
            return text
        row, checked = self._scrubbed(make_row(kind="document", source="", locator="", raw=b"", text=text), None)
        if checked.unsearched:
            raise InputError("the words couldn't be searched for personal data", hint="use others, or none")
        return str(row["text"])

    def _scrubbed(self, row: Row, before: Row | None) -> tuple[Row, Checked]:
        if self._scrub is None:
            return row, Checked(search="")
        from steps.scrub.recheck import recheck

        found = recheck(row, self._scrub, self._ctx, before)
        return found.row, Checked(
            search=self.search, replaced=found.replaced, spans=found.spans, unsearched=found.unsearched
        )


def _settings_of(name: str, config: Mapping[str, Any]) -> Any:
    """The stage's settings; None where the run left it out."""
    stage = stage_named(name)
    given = config.get(stage.field)
    if given is None or name in (config.get("skip") or ()):
        return None
    return stage.settings.model_validate(given)
