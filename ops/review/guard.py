"""What a person lets through is looked at as scrub and screen of the run would, before the decision is written."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from steps.contracts.errors import InputError
from steps.contracts.records import Row, content_id_of
from steps.engines.rows.segments import segments, with_segments
from steps.review.decisions import Checked

if TYPE_CHECKING:
    from steps.screen.screener import Screener
    from steps.scrub.detectors import Detectors
    from steps.scrub.findings import Finding
    from steps.scrub.redactor import Settler


@dataclass(frozen=True)
class Looked:
    """The row with what was found in it replaced, and what was found. `again`: screen would take the row out again."""

    row: Row
    checked: Checked
    again: bool


class Guard:
    """The scrub and screen settings of a run, as its resolved config has them; a context manager.

    Without scrub in the run nothing is replaced, and without screen nothing is screened.
    """

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        self._root = root
        skipped = config.get("skip") or ()
        found = {name: config.get(name) for name in ("scrub", "screen") if name not in skipped}
        self._settings = {name: settings for name, settings in found.items() if settings is not None}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    @cached_property
    def search(self) -> str:
        """What `Checked.search` is under these settings.

        Raises:
            ConfigError: the pseudonym key isn't set here. InputNotFoundError: a word file isn't there.
        """
        if "scrub" not in self._settings:
            return ""
        from pipelines.inputs import scrub_id
        from steps.scrub.config import ScrubConfig
        from steps.scrub.row_codec import search_digest

        config = ScrubConfig.model_validate(self._settings["scrub"])
        return search_digest(config, scrub_id(self._root, config))

    def look(self, row: Row, seen: Row | None = None) -> Looked:
        """Search the row. `seen`: the row as scrub left it before the person changed it; None when it never saw it.

        Raises:
            ConfigError: as for `search`. MissingDependencyError: a model isn't there.
        """
        row, checked = self._scrubbed(row, seen) if self.search else (row, Checked(search=""))
        decision = self._screener.verdict(row).decision if self._screener is not None else None
        if decision is None:
            return Looked(row, checked, again=False)
        said = {"screen": f"{decision.action}: {decision.reason}",
                "hits": tuple(tuple(hit) for hit in decision.evidence.get("hits", ()))}  # fmt: skip
        return Looked(row, checked.model_copy(update=said), again=decision.action in ("drop", "quarantine"))

    def words(self, text: str) -> str:
        """A person's own words with what was found in them replaced.

        Raises:
            InputError: a detector failed on them.
        """
        if not self.search or not text:
            return text
        settler, detectors = self._tools
        found = settler.settle([text], detectors)[text]
        if found is None:
            raise InputError("the words couldn't be searched for personal data", hint="use others, or none")
        return _replaced(settler, text, found)

    def _scrubbed(self, row: Row, seen: Row | None) -> tuple[Row, Checked]:
        """The row with what was found in it replaced."""
        settler, detectors = self._tools
        parts = segments(row)
        settled = settler.settle((p.text for p in parts), detectors)
        stays = self._made_up(seen)
        texts: dict[str, str] = {}
        spans: list[tuple[str | int, ...]] = []
        counts: Counter[str] = Counter()
        for part in parts:
            found = [f for f in settled[part.text] or () if part.text[f.start : f.end] not in stays]
            if found:
                texts[part.path] = _replaced(settler, part.text, found)
                counts.update(f.entity for f in found)
                spans += [(part.path, f.start, f.end, f.entity, settler.name(part.text, f)) for f in found]
        new = with_segments(row, texts)
        new["content_id"] = content_id_of(new)
        failed = tuple(p.path for p in parts if settled[p.text] is None)
        replaced = dict(sorted(counts.items()))
        return new, Checked(search=self.search, replaced=replaced, spans=tuple(spans), unsearched=failed)

    def _made_up(self, seen: Row | None) -> set[str]:
        """Values in a row after scrub that look personal because scrub put them there."""
        if seen is None or self._settings["scrub"].get("mode") != "surrogate":
            return set()
        settler, detectors = self._tools
        settled = settler.settle((p.text for p in segments(seen)), detectors)
        return {text[f.start : f.end] for text, found in settled.items() for f in found or ()}

    @cached_property
    def _tools(self) -> tuple["Settler", "Detectors"]:
        from steps.scrub.config import ScrubConfig
        from steps.scrub.detectors import Detectors
        from steps.scrub.pseudonyms.pseudonym import read_key
        from steps.scrub.redactor import Settler
        from steps.scrub.word_files import with_words

        config = ScrubConfig.model_validate({**self._settings["scrub"], "workers": 1})
        config = with_words(config, self._root)
        return Settler(config, read_key(config)), self._open.enter_context(Detectors(config))

    @cached_property
    def _screener(self) -> "Screener | None":
        from steps.screen.config import ScreenConfig
        from steps.screen.screener import Screener

        if "screen" not in self._settings:
            return None
        return Screener(ScreenConfig.model_validate(self._settings["screen"]))


def _replaced(settler: "Settler", text: str, found: "list[Finding]") -> str:
    from steps.scrub.findings import replaced

    return replaced(text, settler.replacements(text, found))[0]
