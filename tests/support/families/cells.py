"""The cells of the table: a family, a kind of row, and settings of the template; what the code makes of each."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from support.families.chance import conversation
from support.families.families import FAMILIES, Family, tokenizer
from support.families.oracle import Oracle, System, Thinking, Tokens
from support.families.rows import ROWS
from support.linting import Lint

from steps.contracts.records import Row
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import apply_settings
from steps.engines.template.render import ChatTemplate, chat_template
from steps.engines.template.said import TEXT_BESIDE_CALL

SETTINGS: tuple[tuple[Thinking, System], ...] = tuple(
    (thinking, system) for thinking in ("as_is", "on", "off") for system in ("keep", "merge_into_user")
)


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: the reason where it was refused, else its sequences, and what of the row is left out."""

    refused: str | None
    sequences: tuple[Tokens, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One cell; `row` is a name of ROWS, or the number of a conversation by chance."""

    family: str
    row: str | int
    thinking: Thinking = "as_is"
    system: System = "keep"

    @property
    def said(self) -> Row:
        """The row itself."""
        return conversation(self.row) if isinstance(self.row, int) else ROWS[self.row]

    @property
    def oracle(self) -> Oracle:
        """Its judge."""
        return Oracle(FAMILIES[self.family], self.said, self.thinking, self.system)

    def outcome(self) -> Outcome:
        """What the code makes of it."""
        tokens, template = in_force(FAMILIES[self.family], self.thinking, self.system)
        found = Lint(tokens, template).check(self.said)
        sequences = tuple(Tokens(e.input_ids, e.labels) for e in found.encoded)
        return Outcome(found.reason, sequences, tuple(sorted(found.left_out)))

    def verdict(self) -> str:
        """ "trained", with what is left out; "refused: REASON"; or what is wrong, after "WRONG: "."""
        found, oracle = self.outcome(), self.oracle
        if found.refused is not None:
            return f"refused: {found.refused}" if oracle.obstacle() else f"WRONG: refused ({found.refused})"
        faults = oracle.faults(found.sequences, no_text_beside_calls=TEXT_BESIDE_CALL in found.left_out)
        if faults:
            return f"WRONG: {'; '.join(faults)}"
        return "trained" + "".join(f", without {part}" for part in found.left_out)


@cache
def in_force(family: Family, thinking: Thinking, system: System) -> tuple[Any, ChatTemplate]:
    """The family's tokenizer with its template under these settings."""
    config = TemplateConfig(thinking=thinking, system=system)
    made = copy.deepcopy(tokenizer(family))
    apply_settings(made, config)
    return made, chat_template(made, config)


def cells() -> Iterator[Cell]:
    """All of them."""
    return (Cell(family, row, *settings) for family in FAMILIES for row in ROWS for settings in SETTINGS)
