"""A model where it answers after its export, as a subject: asked what the trained model was asked, in its rooms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from steps.contracts.records import Row
from steps.engines.exports.folder_format import Conversing, Generating, Source
from steps.engines.lm.load import load_without_weights
from steps.engines.lm.memory import release
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.subjects.subject import Asked, Prompt, Replies
from steps.engines.template.effective import config_of


@contextmanager
def exported_model(
    name: str, source: Source, runtime: Generating | Conversing, inference: Inference
) -> Iterator["ExportedModel"]:
    """`source`: the trained model, of which no weight is loaded; `inference`: how that one was run."""
    info = source.model.info
    loaded = load_without_weights(source.base, source.tuned)
    trained = LocalModel(name, info.digest, loaded, inference, config_of(info.template))
    del loaded
    try:
        yield ExportedModel(trained, runtime)
    finally:
        trained.close()
        release()


class ExportedModel:
    """It answers. Whatever is said of rows, prompts and rooms is the trained model's."""

    def __init__(self, trained: LocalModel, runtime: Generating | Conversing) -> None:
        self.name, self.digest = trained.name, trained.digest
        self._trained, self._runtime = trained, runtime
        # By the prompts that rows become.
        self._rows: dict[str, Row] = {}

    @property
    def decoding(self) -> dict[str, Any]:
        """The trained model's."""
        return self._trained.decoding

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """As the trained model is asked."""
        asked = self._trained.prompts(rows)
        self._rows |= {p.text: row for p, row in zip(asked.prompts, rows, strict=True) if p is not None}
        return asked

    def have_room(self, prompts: Sequence[Prompt | None], max_new_tokens: int | None) -> list[bool]:
        """As the trained model has it."""
        return self._trained.have_room(prompts, max_new_tokens)

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """What the runtime says, in the trained model's rooms."""
        rooms, _, room = self._trained.rooms(prompts, max_new_tokens)
        fits = [i for i, own in enumerate(rooms) if own]
        if isinstance(self._runtime, Conversing):
            said: list[str] = self._runtime.converse(
                [self._rows[prompts[i].text] for i in fits], [rooms[i] for i in fits]
            )
        else:
            said = [self._said(prompts[i], rooms[i]) for i in fits]
        texts: list[str | None] = [None] * len(prompts)
        for i, text in zip(fits, said, strict=True):
            texts[i] = text
        return Replies(texts, room)

    def _said(self, prompt: Prompt, room: int) -> str:
        assert isinstance(self._runtime, Generating)
        transcript = self._trained.transcript(prompt)
        for token in self._runtime.generate(self._trained.tokens(prompt)[0], room):
            if not self._runtime.ends_with(token):
                transcript.add(token)
        return transcript.whole().text
