"""Questions about a text that are answered by one token, in a model's chat template: prefix + text + question.

The answer's place is where the template lets the assistant speak, without thinking: templates whose prompts open a
think block close it, those with a switch have it off, and what the template itself writes before an answer (an empty
think block, a channel, a space) stands there too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import apply_settings
from steps.engines.template.render import ChatTemplate, bos_text, chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_HERE = "PLACEOFTHETEXT"


@dataclass(frozen=True)
class ChoicePrompts:
    """Token ids of what is shared by all texts; a text's own are found by `middles`.

    Attributes:
        tails, choices: of each question, what stands behind a text, and the token of each answer.
    """

    tokenizer: "PreTrainedTokenizerBase"
    prefix: list[int]
    tails: list[list[int]]
    choices: list[list[int]]
    _before: str
    _after: list[str]
    _bos: list[int]
    _control: frozenset[int] = frozenset()

    def middles(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The tokens of each text between prefix and tail; None where the tokenizer writes what is shared in other
        tokens beside this text, or reads a control token in it.
        """
        found: list[list[int] | None] = []
        for ids in self._tokens([self._before + text + self._after[0] for text in texts]):
            tail = [*self.tails[0], self.choices[0][0]]
            start, end = len(self.prefix), len(ids) - len(tail)
            fits = start <= end and ids[:start] == self.prefix and ids[end:] == tail
            found.append(ids[start:end] if fits and self._control.isdisjoint(ids[start:end]) else None)
        return found

    def wholes(self, texts: Sequence[str], question: int) -> list[list[int]]:
        """All tokens of each text with that question, up to the answer: what `prefix + middle + tail` must be."""
        return [ids[:-1] for ids in self._tokens([self._before + t + self._after[question] for t in texts])]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        out = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        return [[*self._bos, *ids] for ids in out]


def choice_prompts(
    tokenizer: "PreTrainedTokenizerBase",
    orders: str,
    questions: Sequence[str],
    answers: Sequence[str],
    probes: Sequence[str],
    where: str,
) -> ChoicePrompts:
    """The prompts of these questions about any text.

    Args:
        tokenizer: its template is set to answer without thinking.
        orders: what the system says. questions: what stands behind a text, in the same message.
        answers: the answers that a question may have, each a token of its own.
        probes: texts as those to come, whose beginnings and ends differ: what is shared is found with them.
        where: the model, in messages.

    Raises:
        ConfigError: an answer isn't one token where it stands, or what is shared is written in other tokens beside
            one text than beside another. TrainingDataError: the template refuses a question.
    """
    template = _answering(tokenizer)
    messages = [_messages(orders, f"{_HERE}{question}") for question in questions]
    heads = [_head(template, said, answers) for said in messages]
    parts = [head.partition(_HERE) for head in heads]
    name = str(tokenizer.name_or_path or type(tokenizer).__name__)
    if any(not here or _HERE in after for _, here, after in parts) or len({before for before, _, _ in parts}) > 1:
        raise ConfigError("the chat template writes a message twice, or changes it", where=f"{where}: {name}")
    bos = bos_text(tokenizer)
    begins = [int(tokenizer.convert_tokens_to_ids(bos))] if bos and not heads[0].startswith(bos) else []
    before, after = parts[0][0], [a for _, _, a in parts]
    bare = ChoicePrompts(tokenizer, [], [], [], before, after, begins)
    choices = [_choices(bare, before + probes[0] + a, answers, f"{where}: tokenizer {name}") for a in after]
    found = ChoicePrompts(tokenizer, [], [], choices, before, [a + answers[0] for a in after], begins)
    wholes = [found.wholes(probes, q) for q in range(len(questions))]
    every = [ids for of_question in wholes for ids in of_question]
    prefix = every[0][: _shared(every)]
    control = control_tokens(tokenizer)
    done = ChoicePrompts(tokenizer, prefix, _tails(wholes), choices, found._before, found._after, begins, control)
    _check(done, probes, wholes, f"{where}: tokenizer {name}")
    return done


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Ids that no text of others may come to: special tokens, and added ones that the chat template writes. Not the
    one for what the tokenizer doesn't know, where it is for that alone.
    """
    template = str(tokenizer.chat_template or "")
    added = {i: t for i, t in tokenizer.added_tokens_decoder.items() if t.content.strip()}
    ids = {i for i, t in added.items() if t.special or t.content in template} | set(tokenizer.all_special_ids)
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return frozenset(ids - ({tokenizer.unk_token_id} - set(ends)))


def _answering(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate:
    """The tokenizer's template without thinking, in which a system message may stand."""
    for config in (TemplateConfig(thinking="off"), TemplateConfig(thinking="off", system="merge_into_user")):
        apply_settings(tokenizer, config)
        template = chat_template(tokenizer, config)
        try:
            if _HERE in template.render(_messages(_HERE, "x"), None, prompt=True):
                break
        except TrainingDataError:
            if config.system != "keep":
                raise
    return template


def _messages(orders: str, said: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": orders}, {"role": "user", "content": said}]


def _head(template: ChatTemplate, messages: list[dict[str, str]], answers: Sequence[str]) -> str:
    """The text up to an answer: the prompt, and what the template writes between it and an answer."""
    prompt = template.render(messages, None, prompt=True)
    said = [template.render([*messages, {"role": "assistant", "content": a}], None) for a in answers]
    shared = said[0][: _shared(said)]
    goes_on = all(s[len(shared) :].startswith(a) for s, a in zip(said, answers, strict=True))
    return shared if goes_on and shared.startswith(prompt) else prompt


def _choices(prompts: ChoicePrompts, head: str, answers: Sequence[str], where: str) -> list[int]:
    """The token of each answer behind a text."""
    whole = prompts._tokens([head + answer for answer in answers])
    for answer, ids in zip(answers, whole, strict=True):
        if len(ids) != len(whole[0]) or ids[:-1] != whole[0][:-1]:
            raise ConfigError(
                f"{answer!r} is not one token where the answer stands", where=where,
                hint="name a model whose tokenizer has the ratings as tokens of their own, or use backend llm",
            )  # fmt: skip
    found = [ids[-1] for ids in whole]
    if len(set(found)) < len(found):
        raise ConfigError(
            f"two of {', '.join(answers)} are the same token", where=where,
            hint="name a model whose tokenizer has the ratings as tokens of their own, or use backend llm",
        )  # fmt: skip
    return found


def _tails(wholes: list[list[list[int]]]) -> list[list[int]]:
    """What follows the texts, by question: from where the questions part, or with one question from where the texts'
    ends are the same.
    """
    if len(wholes) > 1:
        split = _shared([of[0] for of in wholes])
        return [of[0][split:] for of in wholes]
    ends = _shared([ids[::-1] for ids in wholes[0]])
    return [ids[len(ids) - ends :] for ids in wholes[0][:1]]


def _shared(many: Sequence[Any]) -> int:
    """How many characters or tokens all of several begin with."""
    first, last = min(many), max(many)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _check(prompts: ChoicePrompts, probes: Sequence[str], wholes: list[list[list[int]]], where: str) -> None:
    middles = prompts.middles(probes)
    for of, tail in zip(wholes, prompts.tails, strict=True):
        for middle, whole in zip(middles, of, strict=True):
            if not tail or middle is None or [*prompts.prefix, *middle, *tail] != whole:
                raise ConfigError(
                    "what texts share is written in other tokens beside one text than beside another", where=where,
                    hint="name a model with another tokenizer, or use backend llm",
                )  # fmt: skip
