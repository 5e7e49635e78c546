"""What each method makes of the rows: drafts with questions, and those of the answers that stay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from steps.augment.config import (
    AugmentConfig,
    BackTranslation,
    Distill,
    Evolve,
    Method,
    Paraphrase,
    Persona,
    SelfInstruct,
)
from steps.augment.drafts import Draft
from steps.augment.prompts import SAME, WRITTEN, prompt_digest, to_compare, to_invent, to_write
from steps.contracts.digests import short_id
from steps.engines.llm.asker import Asker
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.session import Question
from steps.engines.prompted.prompted import Prompted

# Chosen: longer ones are no question.
_QUESTION_CHARS = 4_000
KEEP_ANSWER = ("paraphrase", "back_translation")


@dataclass(frozen=True)
class Wanted:
    """Questions that are asked for. `kind`: as the prompts call it."""

    method: str
    kind: str
    how: str
    n: int
    seeds: tuple[Prompted, ...]


@dataclass
class Written:
    """What a method gave. `prompts`: digest of its orders, by `how`."""

    drafts: list[Draft] = field(default_factory=list)
    prompts: dict[tuple[str, str], str] = field(default_factory=dict)


def written(seeds: Sequence[Prompted], config: AugmentConfig, asker: Asker) -> Written:
    """Drafts of all methods, those that keep the row's answer checked: does the new question ask the same?"""
    found = Written()
    for method in config.methods:
        found.drafts += _of(method, seeds, config, asker, found.prompts)
    _check_meaning([d for d in found.drafts if d.method in KEEP_ANSWER and not d.dropped], asker)
    return found


def _of(
    method: Method, seeds: Sequence[Prompted], config: AugmentConfig, asker: Asker, prompts: dict[tuple[str, str], str]
) -> list[Draft]:
    if isinstance(method, Distill):
        return [Draft(method.kind, "", 0, (s,), s.question) for s in _share(seeds, method.kind, method.share)]
    if isinstance(method, BackTranslation):
        return _back_translated(method, seeds, config, asker, prompts)
    wanted = list(wanted_of(method, seeds))
    for w in wanted:
        prompts[w.method, w.how] = prompt_digest(w.kind, w.how, w.n, config.instructions)
    asked = [question_of(w, w.seeds[0].question, config, asker.endpoint) for w in wanted]
    return _read(wanted, asker.objects(method.kind, asked, WRITTEN))


def wanted_of(method: Method, seeds: Sequence[Prompted]) -> Iterator[Wanted]:
    """What a method asks for first; nothing where it writes no question."""
    if isinstance(method, Distill):
        return
    if isinstance(method, BackTranslation):
        for seed in _share(seeds, method.kind, method.share):
            yield from (Wanted(method.kind, "translate", language, 1, (seed,)) for language in method.through)
        return
    if isinstance(method, SelfInstruct):
        for number in range(method.requests if seeds else 0):
            some = sorted(seeds, key=lambda s, n=number: short_id("seeds", str(n), s.record_id))[: method.seeds]  # type: ignore[misc]
            yield Wanted(method.kind, method.kind, "", method.tasks, tuple(some))
        return
    assert isinstance(method, Paraphrase | Evolve | Persona)
    for seed in _share(seeds, method.kind, method.share):
        if isinstance(method, Paraphrase):
            yield Wanted(method.kind, method.kind, "", method.per_row, (seed,))
        elif isinstance(method, Evolve):
            yield from (Wanted(method.kind, f"evolve:{how}", how, 1, (seed,)) for how in method.how)
        else:
            yield from (Wanted(method.kind, method.kind, who, 1, (seed,)) for who in method.personas)


def _share(seeds: Sequence[Prompted], what: str, share: float) -> list[Prompted]:
    return [s for s in seeds if s.position(what) < share]


def _back_translated(
    method: BackTranslation, seeds: Sequence[Prompted], config: AugmentConfig, asker: Asker,
    prompts: dict[tuple[str, str], str],
) -> list[Draft]:  # fmt: skip
    wanted = list(wanted_of(method, seeds))
    for w in wanted:
        prompts[w.method, w.how] = prompt_digest("translate", w.how, 1, config.instructions)
    there = asker.objects(
        method.kind, [question_of(w, w.seeds[0].question, config, asker.endpoint) for w in wanted], WRITTEN
    )
    abroad = [
        (Wanted(w.method, "translate_back", w.how, 1, w.seeds), said)
        for w, found in zip(wanted, there, strict=True)
        if not isinstance(found, str) and (said := next(iter(found["questions"]), "").strip())
    ]
    back = asker.objects(method.kind, [question_of(w, said, config, asker.endpoint) for w, said in abroad], WRITTEN)
    return _read([w for w, _ in abroad], back)


def question_of(w: Wanted, question: str, config: AugmentConfig, asked: Endpoint) -> Question:
    """What is sent. `question`: in place of the first seed's."""
    if w.method == "self_instruct":
        return to_invent(w.n, w.seeds, config.instructions, asked)
    return to_write(w.kind, w.how, w.n, w.seeds[0], question, config.instructions, asked)


def _read(wanted: Sequence[Wanted], found: Sequence[dict[str, Any] | str]) -> list[Draft]:
    """Drafts of the questions in the replies."""
    drafts = []
    for w, reply in zip(wanted, found, strict=True):
        for number, said in enumerate(reply["questions"] if not isinstance(reply, str) else ()):
            keeps = w.method in KEEP_ANSWER
            draft = Draft(w.method, w.how, number, w.seeds, said.strip(), w.seeds[0].answer if keeps else "")
            if fault := _fault(draft, w.n):
                size = {"question_chars": len(draft.question), "limit": _QUESTION_CHARS}
                draft.drop(fault, **(size if fault == "too_long" else {}))
            drafts.append(draft)
    return drafts


def _fault(draft: Draft, n: int) -> str:
    if draft.number >= n:
        return "more_than_asked"
    if not draft.question:
        return "empty"
    if len(draft.question) > _QUESTION_CHARS:
        return "too_long"
    return "control_tokens" if "<|" in draft.question or "\0" in draft.question else ""


def _check_meaning(drafts: Sequence[Draft], asker: Asker) -> None:
    asked = [to_compare(d.seeds[0].question, d.question, asker.endpoint) for d in drafts]
    for draft, found in zip(drafts, asker.objects("meaning", asked, SAME), strict=True):
        if isinstance(found, str):
            draft.drop(f"unchecked:{found}")
        elif not found["same"]:
            draft.drop("other_meaning")
