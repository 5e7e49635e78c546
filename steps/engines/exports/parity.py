"""The proof that an export is the model that was trained: prompts and texts have the same tokens, and each time behind
the same answer so far comes the same next token.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from steps.contracts.errors import IntegrityError, TrainingDataError
from steps.contracts.exports import Parity
from steps.engines.exports.folder_format import Asked, Runtime, Source
from steps.engines.lm.decoding import without_own_decoding
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.memory import release
from steps.engines.lm.threads import torch_threads
from steps.engines.template.effective import config_of
from steps.engines.template.render import chat_template

# Chosen: tokens of each prompt behind which both are asked for the next one.
_PLACES = 16


@dataclass(frozen=True)
class Reply:
    """A prompt's token ids, and those of the greedy answer, with what ended it.

    Attributes:
        best: the most probable token at each place of the answer, by one pass over all of it.
        margins: by how much (in logits) it is before the second.
        middle: the same of the prompt's own text, where models are less sure than in answers that they have learnt;
            None: the prompt is too short, or this is one.
    """

    asked: Asked
    prompt: list[int]
    answer: list[int]
    best: list[int]
    margins: list[float]
    middle: "Reply | None" = None


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
        top = loaded.model(input_ids=out).logits[0, :-1].float().topk(2)
    best, margins = top.indices[:, 0].tolist(), (top.values[:, 0] - top.values[:, 1]).tolist()
    middle, begun = None, max(1, (len(prompt) - _PLACES) // 2)
    if end := min(len(prompt), begun + _PLACES) if len(prompt) > 1 else 0:
        places = slice(begun - 1, end - 1)
        middle = Reply(asked, prompt[:begun], prompt[begun:end], best[places], margins[places])
    answer = slice(len(prompt) - 1, None)
    return Reply(asked, prompt, out[0, len(prompt) :].tolist(), best[answer], margins[answer], middle)


@dataclass(frozen=True)
class Compared:
    """What a comparison found. `why`: the first thing by which it isn't the same model, "" where it is; `hint`: the way
    out.
    """

    parity: Parity
    why: str = ""
    hint: str = ""


def check_parity(
    reference: Reference, runtime: Runtime, epsilon: float, where: str, limit: float = 1.0
) -> Parity:  # fmt: skip
    """Hold an export against the trained model. `limit`: the share of tokens that may differ, each of them within ε.

    Raises:
        IntegrityError: it isn't the same model; the first difference is in the text.
    """
    found = compared(reference, runtime, epsilon, limit)
    if found.why:
        raise IntegrityError(found.why, where=where, hint=f"nothing was written{found.hint}")
    return found.parity


def compared(reference: Reference, runtime: Runtime, epsilon: float, limit: float) -> Compared:
    """The same, of one that needn't be the model: where texts, ends or prompts differ already, no token is asked for.

    Raises:
        IntegrityError: the runtime doesn't answer.
    """
    texts, decomposed, other, why = _texts(reference, runtime)
    counts = {"texts": texts, "decomposed": decomposed, "decomposed_differ": other, "epsilon": epsilon, "limit": limit}
    if why:
        return Compared(Parity(prompts=0, tokens=0, **counts), why, "; its tokenizer can't be exported so")
    if why := _ends(reference, runtime):
        return Compared(Parity(prompts=0, tokens=0, **counts), why)
    same, why = _prompts(reference, runtime)
    if why:
        return Compared(Parity(prompts=same, tokens=0, **counts), why, "; its chat template can't be exported so")
    tokens, differing = _answers(reference, runtime)
    parity = Parity(
        prompts=same, tokens=tokens, differ=len(differing), widest=max((m for m, _ in differing), default=0.0),
        first=differing[0][1] if differing else None, ends=tuple(reference.ends),
        ended=sum(reply.answer[-1] in reference.ends for reply in reference.replies), **counts,
    )  # fmt: skip
    beyond = [line for margin, line in differing if margin > epsilon]
    if beyond:
        return Compared(
            parity,
            f"the export isn't the model that was trained: {beyond[0]}; allowed are {epsilon:g}; of {tokens} tokens"
            f" {len(differing)} are others, {len(beyond)} of them beyond that",
            "; export in a more exact number format",
        )
    if tokens and len(differing) > limit * tokens:
        return Compared(
            parity,
            f"the export says too often something else than the model that was trained: {len(differing)} of {tokens}"
            f" tokens, allowed are {limit:.0%}; the first: {differing[0][1]}",
            "; export in a more exact number format, or --most-differing SHARE",
        )
    return Compared(parity)


def _answers(reference: Reference, runtime: Runtime) -> tuple[int, list[tuple[float, str]]]:
    """How many tokens were compared, and those that are others: by how much the trained model's is before its second,
    and in words.
    """
    tokens, differing = 0, list[tuple[float, str]]()
    for number, reply in enumerate(reference.replies, 1):
        for one in (reply, reply.middle):
            said = runtime.next_tokens(one.prompt, one.answer) if one is not None else []
            tokens += len(said)
            for place, a in enumerate(said):
                if one is not None and a != (b := one.best[place]):
                    of = f"{place + 1} of the answer" if one is reply else f"{len(one.prompt) + place + 1} of itself"
                    line = (
                        f"prompt {number}, token {of}: the export says {reference.piece(a)}, the trained model"
                        f" {reference.piece(b)}, by {one.margins[place]:.3g} before its second"
                    )
                    differing.append((one.margins[place], line))
    return tokens, differing


def _texts(reference: Reference, runtime: Runtime) -> tuple[int, int, int, str]:
    """How many texts have the same tokens, how many more aren't composed, how many of these have others, and the first
    composed one that has.
    """
    composed = decomposed = other = 0
    for text, expected in reference.texts.items():
        found = runtime.token_ids(text)
        if not unicodedata.is_normalized("NFC", text):
            decomposed, other = decomposed + 1, other + (found != expected)
        elif found != expected:
            what = f"the text {text[:60]!r} is tokenised otherwise: {_apart(reference, found, expected)}"
            return composed, decomposed, other, what
        else:
            composed += 1
    return composed, decomposed, other, ""


def _ends(reference: Reference, runtime: Runtime) -> str:
    """What ends the model's answers ends the export's, and what it says within them doesn't."""
    for token in reference.ends:
        if not runtime.ends_with(token):
            return f"the trained model's answers end with {reference.piece(token)}, the export goes on behind it"
    said = {token for reply in reference.replies for token in reply.answer} if reference.ends else set()
    for token in sorted(said.difference(reference.ends)):
        if runtime.ends_with(token):
            return f"the trained model goes on behind {reference.piece(token)}, the export's answers end with it"
    return ""


def _prompts(reference: Reference, runtime: Runtime) -> tuple[int, str]:
    """How many prompts have the same tokens before the first that hasn't, and that one."""
    for number, reply in enumerate(reference.replies, 1):
        found = runtime.prompt_ids(reply.asked)
        if found != reply.prompt:
            return number - 1, f"prompt {number} has other tokens: {_apart(reference, found, reply.prompt)}"
    return len(reference.replies), ""


def _apart(reference: Reference, found: Sequence[int], expected: Sequence[int]) -> str:
    """Where two rows of tokens begin to differ, in words."""
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
    if at is None:
        return f"the export has {len(found)} tokens, the trained model {len(expected)}"
    return f"token {at + 1} is {reference.piece(found[at])} in the export, {reference.piece(expected[at])} before"
