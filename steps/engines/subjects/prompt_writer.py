"""How rows are put to a model, and what becomes text of the tokens of its answers: its tokenizer and chat template,
whatever computes the answers.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import Row
from steps.engines.lm.transcript import Transcript
from steps.engines.subjects.subject import Asked, Prompt
from steps.engines.template.config import TemplateConfig
from steps.engines.template.lint import REASONS
from steps.engines.template.reasoning import Markers
from steps.engines.template.render import ChatTemplate, chat_template, conversation, prompt_and_reference
from steps.engines.template.said import missing


class PromptWriter:
    """One model's. `tokenizer`: transformers', or one that answers the same calls; `window`: tokens that a prompt and
    its answer may have.
    """

    def __init__(self, tokenizer: Any, config: TemplateConfig, window: int) -> None:
        self.tokenizer, self.window = tokenizer, window
        self._config = config

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template in force.

        Raises:
            TrainingDataError: there is none.
        """
        return chat_template(self.tokenizer, self._config)

    @cached_property
    def markers(self) -> Markers:
        """A model without a chat template answers no conversation, but goes on with documents."""
        return self.template.markers if self.tokenizer.chat_template else Markers()

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """Each row up to its last assistant turn, rendered; a preference's reference is its chosen answer.

        Rows that the template refuses can't be asked, nor those of which it leaves out what they say (reasoning
        aside, which no prompt needs): answers to half a question say nothing. A note counts them.

        Raises:
            TrainingDataError: it refuses all of them.
        """
        prompts: list[Prompt | None] = [None] * len(rows)
        refused: list[TrainingDataError] = []
        due = [(i, row) for i, row in enumerate(rows) if row["kind"] != "document"]
        for i, row in due:
            try:
                asked = Prompt(*prompt_and_reference(row, self.template))
                self._require_said(row)
                prompts[i] = asked
            except TrainingDataError as e:
                refused.append(e)
        if refused and len(refused) == len(due):
            raise refused[0]
        note = (
            f"{len(refused)} of {len(due)} rows can't be asked, so they are left out: {refused[0].what}"
            if refused
            else ""
        )
        return Asked(prompts, (note,) if note else ())

    def _require_said(self, row: Row) -> None:
        """Raise TrainingDataError where the template doesn't write all that a row says to a turn, or in it."""
        try:
            gone = missing(row, conversation(row, self.template), self.template)
        except TrainingDataError:  # not to be trained, and to be asked all the same: an earlier turn is refused
            return
        if gone is not None and gone[0] != "reasoning_missing":
            raise TrainingDataError(REASONS[gone[0]].partition(";")[0])

    def ids(self, text: str) -> list[int]:
        """The token ids of a rendered text; no special token is added."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def tokens(self, prompt: Prompt) -> tuple[list[int], int]:
        """The token ids of a prompt, and how many an answer to it may have (below 0: so many too long it is)."""
        ids = self.ids(prompt.text)
        return ids, self.window - len(ids)

    def transcript(self, prompt: Prompt, stops: Sequence[str] = ()) -> Transcript:
        """What becomes text of the tokens of an answer."""
        return Transcript(self.tokenizer, self.markers, prompt.text, stops)
