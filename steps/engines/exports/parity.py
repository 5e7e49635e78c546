"""The proof that an export is the model that was trained: prompts and texts have the same tokens, and each time behind
the same answer so far comes the same next token.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from steps.contracts.errors import IntegrityError, TrainingDataError
from steps.contracts.reports import Frozen
from steps.engines.exports.folder_format import Asked, Runtime, Source
from steps.engines.lm.decoding import without_own_decoding
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.memory import release
from steps.engines.lm.threads import torch_threads
from steps.engines.template.effective import config_of
from steps.engines.template.render import chat_template


class Parity(Frozen):
    """What the check found of an export that passed it.

    Attributes:
        prompts: that were asked; each was rendered to exactly the same tokens.
        texts: that were tokenised alone, with exactly the same tokens.
        decomposed: texts beside these that aren't in Unicode's composed form (NFC); decomposed_differ: of them those
            with other tokens, where the export's runtime doesn't compose.
        tokens: of the trained model's greedy answers, at each of which both were asked for the next token.
        differ: of them those where the export's most probable token is another one, the trained model's two best being
            at most `epsilon` (in logits) apart; `widest` is the largest such distance, 0 where none differs.
        limit: the share of tokens that may differ; None: recorded before there was one.
        first: the first of these in words, None where there is none.
        ended: answers that ended by themselves, and not because their room was full.
        ends: token ids that end an answer, in both.
    """

    prompts: int
    texts: int
    decomposed: int = 0
    decomposed_differ: int = 0
    tokens: int
    differ: int = 0
    widest: float = 0.0
    epsilon: float
    limit: float | None = None
    first: str | None = None
    ended: int = 0
    ends: tuple[int, ...] = Field(())


@dataclass(frozen=True)
class Reply:
    """A prompt's token ids, and those of the greedy answer, with what ended it.

    Attributes:
        best: the most probable token at each place of the answer, by one pass over all of it.
        margins: by how much (in logits) it is before the second.
    """

    asked: Asked
    prompt: list[int]
    answer: list[int]
    best: list[int]
    margins: list[float]


@dataclass(frozen=True)
class Reference:
    """What the trained model does. `texts`: token ids by text; `pieces`: what each token is, for people."""

    replies: Sequence[Reply]
    texts: dict[str, list[int]]
    ends: list[int]
    pieces: Sequence[str]

    def piece(self, token: int) -> str:
        """A token for people."""
        return f"{self.pieces[token]!r} ({token})" if 0 <= token < len(self.pieces) else f"({token})"


def reference_of(
    source: Source, asked: Sequence[Asked], texts: Sequence[str], *, max_new_tokens: int, device: str = "auto",
    num_threads: int = 1,
) -> Reference:  # fmt: skip
    """Ask the trained model, in float32: an adapter over its base.

    Raises:
        TrainingDataError: no prompt, or the template refuses one.
    """
    if not asked:
        raise TrainingDataError("no prompt to compare by")
    with torch_threads(num_threads):
        loaded = load(source.base, source.tuned, dtype="float32", device=device)
        tokenizer, ends = loaded.tokenizer, stop_ids(loaded)
        template = chat_template(tokenizer, config_of(source.model.info.template)) if tokenizer.chat_template else None
        replies = []
        for one in asked:
            if isinstance(one, str):
                prompt = list(tokenizer(one)["input_ids"])
            elif template is None:
                raise TrainingDataError("the model has no chat template", hint="compare by plain texts")
            else:
                text = template.render([dict(m) for m in one], None, prompt=True)
                prompt = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            replies.append(_reply(loaded, one, prompt, ends, max_new_tokens))
        known = {t: list(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts}
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        del loaded
        release()
    return Reference(replies, known, ends, pieces)


def _reply(loaded: LoadedModel, asked: Asked, prompt: list[int], ends: list[int], room: int) -> Reply:
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=room, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
    ids = torch.tensor([prompt], device=loaded.device)
    with without_gradients(loaded.model), without_own_decoding(loaded.model):
        out = loaded.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        logits = loaded.model(input_ids=out).logits[0, len(prompt) - 1 : -1].float()
    top = logits.topk(2)
    margins = (top.values[:, 0] - top.values[:, 1]).tolist()
    return Reply(asked, prompt, out[0, len(prompt) :].tolist(), top.indices[:, 0].tolist(), margins)


def check_parity(
    reference: Reference, runtime: Runtime, epsilon: float, where: str, limit: float = 1.0
) -> Parity:  # fmt: skip
    """Hold an export against the trained model. `limit`: the share of tokens that may differ, each of them within ε.

    Raises:
        IntegrityError: it isn't the same model; the first difference is in the text.
    """
    texts, decomposed, other = _check_texts(reference, runtime, where)
    _check_ends(reference, runtime, where)
    _check_prompts(reference, runtime, where)
    differ, first, widest, tokens = 0, None, 0.0, 0
    beyond: list[str] = []
    for number, reply in enumerate(reference.replies, 1):
        said = runtime.next_tokens(reply.prompt, reply.answer)
        tokens += len(reply.answer)
        for place, (a, b, margin) in enumerate(zip(said, reply.best, reply.margins, strict=True), 1):
            if a == b:
                continue
            line = (
                f"prompt {number}, token {place} of the answer: the export says {reference.piece(a)}, the trained model"
                f" {reference.piece(b)}, by {margin:.3g} before its second"
            )
            if margin > epsilon:
                beyond.append(line)
            differ, first, widest = differ + 1, first or line, max(widest, margin)
    if beyond:
        raise IntegrityError(
            f"the export isn't the model that was trained: {beyond[0]}; allowed are {epsilon:g}; of {tokens} tokens"
            f" {differ} are others, {len(beyond)} of them beyond that",
            where=where,
            hint="nothing was written; export in a more exact number format",
        )
    if tokens and differ > limit * tokens:
        raise IntegrityError(
            f"the export says too often something else than the model that was trained: {differ} of {tokens} tokens,"
            f" allowed are {limit:.0%}; the first: {first}",
            where=where,
            hint="nothing was written; export in a more exact number format, or --most-differing SHARE",
        )
    return Parity(
        prompts=len(reference.replies), texts=texts, decomposed=decomposed, decomposed_differ=other, tokens=tokens,
        differ=differ, widest=widest, epsilon=epsilon, limit=limit, first=first, ends=tuple(reference.ends),
        ended=sum(reply.answer[-1] in reference.ends for reply in reference.replies),
    )  # fmt: skip


def _check_texts(reference: Reference, runtime: Runtime, where: str) -> tuple[int, int, int]:
    """How many texts have the same tokens, how many more aren't composed, and how many of these have others."""
    composed = decomposed = other = 0
    for text, expected in reference.texts.items():
        found = runtime.token_ids(text)
        if not unicodedata.is_normalized("NFC", text):
            decomposed, other = decomposed + 1, other + (found != expected)
        elif found != expected:
            what = f"the text {text[:60]!r} is tokenised otherwise: {_apart(reference, found, expected)}"
            raise IntegrityError(what, where=where, hint="nothing was written; its tokenizer can't be exported so")
        else:
            composed += 1
    return composed, decomposed, other


def _check_ends(reference: Reference, runtime: Runtime, where: str) -> None:
    for token in reference.ends:
        if not runtime.ends_with(token):
            what = f"the trained model's answers end with {reference.piece(token)}, the export goes on behind it"
            raise IntegrityError(what, where=where, hint="nothing was written")


def _check_prompts(reference: Reference, runtime: Runtime, where: str) -> None:
    for number, reply in enumerate(reference.replies, 1):
        found = runtime.prompt_ids(reply.asked)
        if found != reply.prompt:
            what = f"prompt {number} has other tokens: {_apart(reference, found, reply.prompt)}"
            raise IntegrityError(what, where=where, hint="nothing was written; its chat template can't be exported so")


def _apart(reference: Reference, found: Sequence[int], expected: Sequence[int]) -> str:
    """Where two rows of tokens begin to differ, in words."""
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
    if at is None:
        return f"the export has {len(found)} tokens, the trained model {len(expected)}"
    return f"token {at + 1} is {reference.piece(found[at])} in the export, {reference.piece(expected[at])} before"
