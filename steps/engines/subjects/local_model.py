"""A model on this machine as a subject: a base, or what was trained from it."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nsmallest
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from steps.contracts.code import code_digest
from steps.contracts.digests import short_id
from steps.contracts.errors import TrainingDataError
from steps.contracts.evaluation import EXPORTED, STOP_TOKEN_IDS
from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.engines.completions.config import EngineConfig
from steps.engines.lm.begun import BegunAnswers
from steps.engines.lm.context import context_length
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import Generated, generate, token_ids
from steps.engines.lm.kept import KeptAnswers, kept_answers
from steps.engines.lm.live import Live, answer_live
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.loss import IGNORED, token_losses
from steps.engines.lm.memory import memory_explained, release
from steps.engines.lm.shapes import BATCH_TOKENS
from steps.engines.lm.threads import torch_threads
from steps.engines.lm.transcript import Transcript
from steps.engines.progress.progress import Stopwatch
from steps.engines.subjects.pairs import encoded_pairs, preferred
from steps.engines.subjects.prompt_writer import PromptWriter
from steps.engines.subjects.subject import Asked, Loss, Losses, Preferences, Prompt, Replies, Tokens
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import changed, config_of
from steps.engines.template.render import (
    ChatTemplate,
    Encoded,
    bos_text,
    conversation,
    encode_for_loss,
    tokenize,
)
from steps.engines.template.said import missing

if TYPE_CHECKING:
    from steps.engines.subjects.exported_answers import ExportedAnswers

# Chosen: room for an answer somewhat longer than any reference (a base model rambles; a cut answer is a wrong one).
_ROOM, _SPARE_TOKENS = 1.25, 8
# Chosen: room by an answer's own reference; other ways to say it are seldom four times as long. Rounded up to a power
# of two, so that there are few rooms and full batches.
_OWN_ROOM, _OWN_SPARE = 4, 64
# Chosen: answers that are made together, apart and from their prompts alone, to see what one takes.
_TIMED = 16
# Chosen: tokens of a document before and after the cut, at least.
_SHORTEST = 8


@dataclass(frozen=True)
class Inference:
    """How a local model is run. `max_length` in tokens, None: the model's own context; `batch_size` in rows,
    `batch_tokens` with padding and the room for answers."""

    dtype: str = "float32"
    device: str = "auto"
    num_threads: int = 1
    batch_size: int = 16
    batch_tokens: int = BATCH_TOKENS
    max_length: int | None = None
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def _needed(reference: int) -> int:
    """Tokens that an answer needs at least to say what its reference says."""
    return math.ceil(_ROOM * reference) + _SPARE_TOKENS


def _drafts(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[list[str]]:
    """What the answers to these prompts may be: what most of some answers are, and the reference."""
    common = [text for text, times in Counter(answers).most_common(1) if 2 * times > len(answers)]
    return [[*common, one.turn or one.reference] for one in prompts]


def _last_turn(labels: Sequence[int]) -> tuple[int, int]:
    """Where the last run of trained tokens begins and ends, of at least one that isn't the text's first."""
    end = next(n for n in range(len(labels), 0, -1) if labels[n - 1] != IGNORED)
    start = next((n for n in range(end - 1, 0, -1) if labels[n - 1] == IGNORED), 1)
    return start, end


@contextmanager
def local_model(
    name: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    inference: Inference,
    keep_in: Path | None = None,
    engine: EngineConfig | None = None,
    folder: Path | None = None,
) -> Iterator["LocalModel"]:
    """The base, or with `tuned` (adapter or full weights) what was made of it; torch has its threads meanwhile.

    `keep_in`: a folder for its answers until the end is reached, so that they outlive an interruption.
    `engine`: its export answers, made in `folder`.

    Raises:
        IntegrityError: the base's files are not the recorded ones. As `exported_answers`.
    """
    with torch_threads(inference.num_threads), ExitStack() as stack:
        loaded = load(base, tuned, dtype=inference.dtype, device=inference.device)
        info = (tuned or base).info
        model = LocalModel(name, info.digest, loaded, inference, config_of(info.template))
        del loaded
        stack.callback(model.close)
        if engine is not None and folder is not None:
            from steps.engines.subjects.exported_answers import exported_answers

            made = exported_answers(base, tuned, engine, inference.num_threads, folder)
            model.exported = stack.enter_context(made)
        if keep_in is not None:
            model.kept = stack.enter_context(kept_answers(keep_in, _parts(base, tuned, model)))
        yield model


def _parts(base: ModelFolder, tuned: ModelFolder | None, model: "LocalModel") -> dict[str, Any]:
    """All that decides over its answers."""
    return {
        "model": [m.info.digest for m in (base, tuned) if m is not None],
        "decoding": model.decoding,
        "export": model.exported.digest if model.exported else None,
        "code": code_digest("steps.engines.lm.generate"),
        "libraries": {name: version(name) for name in ("torch", "transformers", "peft")},
    }


class LocalModel:
    """A loaded model. It answers greedily in its own chat template, and predicts what training would train."""

    def __init__(
        self,
        name: str,
        digest: str,
        loaded: LoadedModel,
        inference: Inference,
        template: TemplateConfig | None = None,
    ) -> None:
        self.name = name
        self._config = template or TemplateConfig()
        self.digest = digest
        self._loaded = loaded
        self._inference = inference
        # Where its answers are kept until all are there.
        self.kept: KeptAnswers | None = None
        # What answers in its place.
        self.exported: ExportedAnswers | None = None
        # What the last losses told of answers.
        self._begun: BegunAnswers | None = None

    def close(self) -> None:
        """Let go of the weights; it answers no more."""
        del self._loaded
        self._begun = None
        release()

    @property
    def loaded(self) -> LoadedModel:
        """Its weights and tokenizer, for code that asks in its own way."""
        return self._loaded

    @property
    def inference(self) -> Inference:
        """How it is run."""
        return self._inference

    def sharing(self, loaded: LoadedModel) -> Self:
        """The same with weights that it has together with others; what ends its answers stays its own."""
        _ = self._ends
        self._loaded = loaded
        return self

    @property
    def decoding(self) -> dict[str, Any]:
        """What decides over its numbers besides its weights."""
        i = self._inference
        return {
            "generation": i.decoding.in_force(),
            STOP_TOKEN_IDS: self._ends,
            "own_room": [_OWN_ROOM, _OWN_SPARE],
            "batch_size": i.batch_size,
            "batch_tokens": i.batch_tokens,
            "dtype": i.dtype,
            "num_threads": i.num_threads,
            "device": i.device,
            **({"template": template} if (template := changed(self._config)) else {}),
            **({EXPORTED: self.exported.identity} if self.exported else {}),
        }

    @property
    def window(self) -> int:
        """Tokens that prompt and answer may have."""
        return self._window

    @property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        return self._ends

    @cached_property
    def _writer(self) -> PromptWriter:
        return PromptWriter(self._loaded.tokenizer, self._config, self._window)

    @property
    def _template(self) -> ChatTemplate:
        return self._writer.template

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """As `PromptWriter.prompts`."""
        return self._writer.prompts(rows)

    def beginnings(self, rows: Sequence[Row], tokens: int) -> list[Prompt | None]:
        """Documents cut in the middle, or after `tokens` where they are longer than twice that."""
        return [self._beginning(str(r["text"] or ""), tokens) if r["kind"] == "document" else None for r in rows]

    def _beginning(self, text: str, tokens: int) -> Prompt | None:
        ids = self._loaded.tokenizer(text, add_special_tokens=False)["input_ids"][: 2 * tokens]
        cut = min(len(ids) // 2, tokens)
        if cut < _SHORTEST:
            return None
        # A character of several tokens may be cut in two.
        begun, rest = (str(self._loaded.tokenizer.decode(part)).strip("\ufffd") for part in (ids[:cut], ids[cut:]))
        return Prompt(bos_text(self._loaded.tokenizer) + begun, rest) if begun and rest else None

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """An answer per prompt; None where prompt and answer don't fit the context.

        Where the room isn't given, an answer gets one by its own reference, so that one long reference doesn't let all
        others run on; the longest reference's is the most.

        Answers that the losses of the same rows told are taken from there, but for a few: what one takes is timed.
        """
        rooms, lengths, room = self.rooms(prompts, max_new_tokens)
        fits = [i for i, own in enumerate(rooms) if own]
        said, timed = self._said([prompts[i] for i in fits], [rooms[i] for i in fits])
        self._begun = None
        answers: list[str | None] = [None] * len(prompts)
        reasoning: list[str | None] = [None] * len(prompts)
        for i, one in zip(fits, said, strict=True):
            reply = self._writer.markers.split(prompts[i].text, one.text)
            answers[i], reasoning[i] = reply.text, reply.reasoning
        long = len(prompts) - len(fits)
        had = sum(one.at_hand for one in said)
        notes = [
            f"{long} prompts leave no room for an answer within {self._window} tokens: not asked, scored as wrong"
            if long else "",
            f"{had} answers are of an evaluation that was interrupted" if had else "",
            f"answered by its export {self.exported.digest[:12]} in llama.cpp" if self.exported else "",
        ]  # fmt: skip
        return Replies(answers, room, tuple(filter(None, notes)), reasoning, cut=sum(one.cut for one in said),
            tokens=Tokens(sum(lengths[i] for i in fits), sum(one.tokens for one in said), at_hand=len(said) - timed[0],
                          seconds=timed[1], cpu_seconds=timed[2]))  # fmt: skip

    def rooms(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> tuple[list[int], list[int], int]:
        """Tokens that each answer may have (0: there is no room for it), those of each prompt, and the largest room."""
        lengths = self._lengths([p.text for p in prompts])
        references = self._lengths([p.turn or p.reference for p in prompts])
        room = max_new_tokens or _needed(max(references))
        own = [self._room(n, reference, max_new_tokens, room) for n, reference in zip(lengths, references, strict=True)]
        return own, lengths, room

    def _said(self, prompts: list[Prompt], rooms: list[int]) -> tuple[list[Generated], tuple[int, float, float]]:
        """The answers, and of how many of them the seconds and CPU seconds are."""
        exported = self.exported
        watch = Stopwatch()
        if exported is None:
            alone = nsmallest(_TIMED, range(len(prompts)), key=lambda n: (short_id("timed", prompts[n].text), n))
            said = dict(zip(alone, self._generated(prompts, rooms, alone), strict=True))
            timed = sum(not one.at_hand for one in said.values()), watch.seconds, watch.cpu_seconds
            others = [n for n in range(len(prompts)) if n not in said]
            drafts = _drafts(prompts, [one.text for one in said.values()])
            said |= zip(others, self._generated(prompts, rooms, others, drafts), strict=True)
            return [said[n] for n in range(len(prompts))], timed
        found = exported.answers([self._writer.ids(one.text) for one in prompts], rooms, self._ends, self.kept)
        texts = self._loaded.tokenizer.batch_decode([said for said, _ in found], skip_special_tokens=False)
        answers = [
            Generated(text.strip(), cut=len(said) == room, tokens=len(said), at_hand=had)
            for text, (said, had), room in zip(texts, found, rooms, strict=True)
        ]
        return answers, (sum(not one.at_hand for one in answers), watch.seconds, watch.cpu_seconds)

    def _generated(
        self, prompts: list[Prompt], rooms: list[int], which: Sequence[int], drafts: Sequence[Sequence[str]] = ()
    ) -> list[Generated]:
        """The answers to the prompts at these places; `drafts`: as `_drafts`; (): of nothing but the prompts."""
        i = self._inference
        with self._memory():
            return generate(
                self._loaded, [prompts[n].text for n in which], max_new_tokens=[rooms[n] for n in which],
                batch_size=i.batch_size, batch_tokens=i.batch_tokens, decoding=i.decoding, special=True,
                kept=self.kept, begun=self._begun if drafts else None,
                drafts=[drafts[n] for n in which] if drafts else (),
            )  # fmt: skip

    def have_room(self, prompts: Sequence[Prompt | None], max_new_tokens: int | None) -> list[bool]:
        """Whether each prompt leaves room for an answer; None needs none."""
        lengths = self._lengths([p.text if p else "" for p in prompts])
        references = self._lengths([(p.turn or p.reference) if p else "" for p in prompts])
        room = max_new_tokens or _needed(max(references, default=0))
        return [
            p is None or bool(self._room(n, reference, max_new_tokens, room))
            for p, n, reference in zip(prompts, lengths, references, strict=True)
        ]

    def _room(self, prompt: int, reference: int, given: int | None, most: int) -> int:
        """Tokens that an answer may have; 0: too few are left of the context. `prompt`, `reference`: in tokens."""
        left = self._window - prompt
        if given:
            given = min(given, self._window - 1)
            return given if left >= given else 0
        own = min(most, 1 << (_OWN_ROOM * reference + _OWN_SPARE - 1).bit_length(), left)
        return own if own >= min(most, _needed(reference)) else 0

    def _memory(self) -> AbstractContextManager[None]:
        i = self._inference
        return memory_explained(
            f"on {self._loaded.device} at batch_size {i.batch_size}, batch_tokens {i.batch_tokens}", "evaluate",
            "lower batch_tokens, or set max_length or dtype: bfloat16",
        )  # fmt: skip

    def tokens(self, prompt: Prompt) -> tuple[list[int], int]:
        """The token ids of a prompt, and how many an answer to it may have (below 0: so many too long it is)."""
        return self._writer.tokens(prompt)

    def answer_live(self, asked: Sequence[Live], more: Callable[[], Sequence[Live]] = lambda: ()) -> None:
        """Answer several prompts together, each told of every token, and those that `more` names meanwhile; decoded as
        `answer` does it.
        """
        i = self._inference
        with self._memory():
            answer_live(self._loaded, asked, decoding=i.decoding, ends=self._ends, more=more)

    def transcript(self, prompt: Prompt, stops: Sequence[str] = ()) -> Transcript:
        """What becomes text of the tokens of an answer."""
        return self._writer.transcript(prompt, stops)

    @cached_property
    def _ends(self) -> list[int]:
        return stop_ids(self._loaded)

    def losses(self, rows: Sequence[Row]) -> Losses:
        """Per row the nats and tokens of what training would train (a document: all of it), cut to the context."""
        window = self._window
        encoded = [(i, e) for i, row in enumerate(rows) for e in self._encoded(row)]
        cut = len({i for i, e in encoded if len(e.input_ids) > window})
        kept = [(i, e.input_ids[:window], e.labels[:window]) for i, e in encoded]
        usable = [(i, ids, labels) for i, ids, labels in kept if any(x != IGNORED for x in labels[1:])]
        self._begun = BegunAnswers(self._loaded, self._ends)
        asked = {n for n, (i, _, _) in enumerate(usable) if rows[i]["kind"] != "document"}
        with self._memory():
            found = token_losses(
                self._loaded,
                [(ids, labels) for _, ids, labels in usable],
                batch_size=self._inference.batch_size,
                batch_tokens=self._inference.batch_tokens,
                begun=self._begun,
                spans={n: _last_turn(labels) for n, (_, _, labels) in enumerate(usable) if n in asked},
                shared=True,
            )
        parts: dict[int, list[tuple[float, int]]] = {}
        for (i, _, _), part in zip(usable, found, strict=True):
            parts.setdefault(i, []).append(part)
        losses: list[Loss] = [None] * len(rows)
        for i, of_row in parts.items():
            losses[i] = (math.fsum(nats for nats, _ in of_row), sum(n for _, n in of_row))
        notes = [f"{cut} rows cut to {window} tokens for the loss"] if cut else []
        unscored = len(rows) - len(parts)
        why = "no token is trained, or the template refuses them or doesn't write all that they say"
        notes += [f"{unscored} rows have no token to score: {why}"] if unscored else []
        return Losses(losses, tuple(notes))

    def preferences(self, rows: Sequence[Row]) -> Preferences:
        """By the larger mean log-probability per token: that of a whole answer would prefer the shorter one."""
        pairs, notes = encoded_pairs(rows, self._loaded.tokenizer, self._template, self._window)
        examples = [(s.input_ids.tolist(), s.labels.tolist()) for pair in pairs if pair is not None for s in pair]
        with self._memory():
            found = token_losses(
                self._loaded, examples, batch_size=self._inference.batch_size,
                batch_tokens=self._inference.batch_tokens, shared=True,
            )  # fmt: skip
        means = iter([-nats / max(n, 1) for nats, n in found])
        return Preferences([None if pair is None else preferred(next(means), next(means)) for pair in pairs], notes)

    def _encoded(self, row: Row) -> tuple[Encoded, ...]:
        """The sequences of a row; none where training would refuse it for what the template does with it."""
        tokenizer = self._loaded.tokenizer
        if row["kind"] == "document":
            return encode_for_loss(tokenizer, row, None)
        try:
            found = conversation(row, self._template)
        except TrainingDataError:
            return ()
        return () if missing(row, found, self._template) else tuple(tokenize(tokenizer, r) for r in found.texts)

    @cached_property
    def _window(self) -> int:
        """Tokens that prompt and answer may have; a model that names no context length gets its tokenizer's."""
        declared = context_length(self._loaded.model.config.to_dict())
        context = declared or int(self._loaded.tokenizer.model_max_length)
        return min(self._inference.max_length or context, context)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in token_ids(self._loaded.tokenizer, texts)]
