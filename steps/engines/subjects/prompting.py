"""A model that is asked with more than the bare question: instructions, worked examples, passages looked up for it.

What is compared with a tuned model is the same model, asked as well as one can: rows are put to it in its own chat
template, its answers are graded like anybody's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from steps.contracts.digests import value_digest
from steps.contracts.evaluation import PROMPTING
from steps.contracts.records import Row, message
from steps.engines.retrieval.questions import question
from steps.engines.subjects.endpoint_model import EndpointModel
from steps.engines.subjects.local_model import LocalModel
from steps.engines.subjects.subject import Asked, Prompt, Replies

# What of a row's words a passage held, where the row has an answer to be found.
CONTEXT_RECALL = "context_recall"


@dataclass(frozen=True)
class Context:
    """What is put around one question. `examples`: (question, answer), the nearest to the question last;
    `passages`: best first; `scores`: of what was looked up, whatever room there is for it.
    """

    examples: tuple[tuple[str, str], ...] = ()
    passages: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    def smaller(self) -> "Context | None":
        """The same without its least useful part; None: nothing is left to leave out."""
        if len(self.examples) > len(self.passages):
            return replace(self, examples=self.examples[1:])
        if self.passages:
            return replace(self, passages=self.passages[:-1])
        return replace(self, examples=self.examples[1:]) if self.examples else None


@dataclass(frozen=True)
class Prompting:
    """How questions are asked.

    Attributes:
        system: instructions before everything else; "": none.
        passages_as: how passages and question are put together: `{passages}` and `{question}` stand for them.
        answer_after: the answer is what follows the last of these words; "": all that is said.
        max_new_tokens: room for an answer; None: by its reference, as every other subject's.
        contexts: what is put around each of these rows.
        lookup_notes: what is to be known of looking things up for these rows.
        identity: JSON values of all that decides over the contexts.
    """

    system: str = ""
    passages_as: str = "{passages}\n\n{question}"
    answer_after: str = ""
    max_new_tokens: int | None = None
    contexts: Callable[[Sequence[Row]], list[Context]] = lambda rows: [Context()] * len(rows)
    lookup_notes: Callable[[Sequence[Row]], tuple[str, ...]] = lambda rows: ()
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of all that decides over a prompt."""
        own = [self.system, self.passages_as, self.answer_after, self.max_new_tokens]
        return value_digest([own, dict(self.identity)])

    def put(self, row: Row, context: Context) -> Row:
        """The row with that around its question; its answer is as it was."""
        before = list(row["messages"])
        asked = max(i for i, m in enumerate(before) if m["role"] == "user")
        head = [m for m in before[:1] if m["role"] == "system"]
        rest = before[len(head) :]
        said = "\n\n".join(filter(None, (self.system, *(str(m["content"]) for m in head))))
        if context.passages:
            passages = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(context.passages, 1))
            text = self.passages_as.replace("{question}", str(before[asked]["content"]))
            rest[asked - len(head)] = {**before[asked], "content": text.replace("{passages}", passages)}
        shown = [m for asked, said in context.examples for m in (message("user", asked), message("assistant", said))]
        return {**row, "messages": [*([message("system", said)] if said else []), *shown, *rest]}


class PromptedModel:
    """A model, asked so. It answers; what it predicts of bare text is the model's own affair."""

    def __init__(self, name: str, model: LocalModel | EndpointModel, prompting: Prompting) -> None:
        self.name = name
        self._model, self._prompting = model, prompting
        self.digest = value_digest([model.digest, prompting.digest])
        self._smaller = 0

    @property
    def decoding(self) -> Mapping[str, Any]:
        """As the model's; how it is asked is in the digest."""
        return {**self._model.decoding, PROMPTING: self._prompting.digest}

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """Each row in its context; where that leaves no room for an answer, in a smaller one, which a note counts.

        Raises:
            TrainingDataError: the template refuses all of them.
        """
        due = [i for i, row in enumerate(rows) if row["kind"] != "document" and question(row)]
        contexts = dict(zip(due, self._prompting.contexts([rows[i] for i in due]), strict=True))
        found: list[Prompt | None] = [None] * len(rows)
        scores: list[dict[str, float]] = [{} for _ in rows]
        shortened = set[int]()
        notes: tuple[str, ...] = ()
        waiting = due
        while waiting:
            asked = self._model.prompts([self._prompting.put(rows[i], contexts[i]) for i in waiting])
            notes = notes or asked.notes
            fits = self._model.have_room(asked.prompts, self._prompting.max_new_tokens)
            again = []
            for i, prompt, room in zip(waiting, asked.prompts, fits, strict=True):
                smaller = contexts[i].smaller()
                if prompt is not None and not room and smaller is not None:
                    contexts[i] = smaller
                    again.append(i)
                else:
                    found[i] = prompt
                    scores[i] = {**_recall(contexts[i], prompt), **contexts[i].scores}
            shortened |= set(again)
            waiting = again
        if shortened:
            notes = (*notes, f"{len(shortened)} prompts with fewer examples or passages, for want of room")
        return Asked(found, (*notes, *self._prompting.lookup_notes(rows)), scores)

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """What it says; of an answer with words before it, those are its reasoning."""
        said = self._model.answer(prompts, max_new_tokens or self._prompting.max_new_tokens)
        after = self._prompting.answer_after
        if not after:
            return said
        thought = list(said.reasoning) or [None] * len(said.texts)
        texts: list[str | None] = []
        for i, text in enumerate(said.texts):
            before, found, answer = (text or "").rpartition(after)
            texts.append(answer.strip() if found else text)
            thought[i] = "\n".join(filter(None, (thought[i], before.strip()))) or None if found else thought[i]
        return replace(said, texts=texts, reasoning=thought)


def _recall(context: Context, prompt: Prompt | None) -> dict[str, float]:
    """Whether the reference's words stand in a passage, of a row for which some were looked up."""
    if prompt is None or not context.passages or not prompt.reference.strip():
        return {}
    wanted = " ".join(prompt.reference.casefold().split())
    return {CONTEXT_RECALL: float(any(wanted in " ".join(p.casefold().split()) for p in context.passages))}
