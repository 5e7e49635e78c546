"""Fourteen questions from the user's own documents: 8 of what they say, 4 of general knowledge, 2 without an answer.

A model behind an endpoint writes them. Each is checked by its form, held against its document, and answered once more
by the model without the answer that it wrote: what the two readings don't agree on is left out. Without enough
questions there is no suite; none is made up from patterns.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from ops.suites.asking import ANSWER_WORDS, to_read, to_write, was_read, written
from ops.suites.documents import Source
from steps.contracts.digests import canonical_json, short_id
from steps.contracts.errors import ServiceError
from steps.engines.graders.graders import Words
from steps.engines.graders.values import normalise
from steps.engines.llm.client import Reply
from steps.engines.llm.session import ChatSession, Question
from steps.engines.retrieval.words import WordIndex

Kind: TypeAlias = Literal["domain", "general", "unanswerable"]
# The protocol: what was trained, what mustn't be forgotten, what mustn't be made up.
COUNTS: dict[Kind, int] = {"domain": 8, "general": 4, "unanswerable": 2}
# Chosen: a model of which so many rounds give too few questions won't give them in more.
_ROUNDS = 5
# Passages that the second reading sees: that of the question, and those of all documents that are nearest to it.
_NEAREST = 3
_LEAST_QUOTE_CHARS = 8


@dataclass(frozen=True)
class Made:
    """A question that passed."""

    question: str
    answer: str
    quote: str
    source: Source


@dataclass
class Questions:
    """What there is so far, and why others were left out, by reason."""

    made: dict[Kind, list[Made]] = field(default_factory=lambda: {k: [] for k in COUNTS})
    left_out: Counter[str] = field(default_factory=Counter)

    def known(self, kind: Kind) -> list[str]:
        """The questions of a kind."""
        return [m.question for m in self.made[kind]]


def make_questions(held: Sequence[Source], others: Sequence[Source], session: ChatSession) -> Questions:
    """The questions of the protocol, from whole documents that training doesn't see.

    Raises:
        ServiceError: the endpoint doesn't work, or its model doesn't write enough questions that pass.
    """
    found = Questions()
    index = WordIndex([p for s in (*held, *others) for p in s.passages])
    passages = [p for s in (*held, *others) for p in s.passages]
    seen = normalise("\n".join(p for s in others for p in s.passages), ignore_case=True)
    for kind, count in COUNTS.items():
        order = list(_by_turns(held))
        for turn in range(_ROUNDS):
            missing = count - len(found.made[kind])
            if missing <= 0:
                break
            at = [order[(turn * count + i) % len(order)] for i in range(min(missing, len(order)))]
            _round(kind, at, found, session, seen)
            _read_again(kind, count, found, session, index, passages)
        if len(found.made[kind]) < count:
            why = ", ".join(f"{n} {reason}" for reason, n in found.left_out.most_common()) or "it wrote none"
            raise ServiceError(
                f"{len(found.made[kind])} of {count} {kind} questions passed in {_ROUNDS} rounds; left out: {why}",
                where=session.endpoint.model,
                hint="a larger model writes better ones, and longer documents say more; no suite was written",
            )
    return found


def _by_turns(held: Sequence[Source]) -> Iterator[tuple[Source, str]]:
    """Passages of all documents in turn, within one by hash, so that they don't all come from its beginning."""
    orders = [sorted(s.passages, key=lambda p: short_id("passage", p)) for s in held]
    for i in range(max(map(len, orders))):
        yield from ((s, order[i]) for s, order in zip(held, orders, strict=True) if i < len(order))


def _round(kind: Kind, at: Sequence[tuple[Source, str]], found: Questions, session: ChatSession, seen: str) -> None:
    """Ask for questions of these passages, and take in those whose form and quote are right."""
    # A passage has room for two facts; general ones come from one reply, so that they don't repeat each other.
    asked = at[:1] if kind == "general" else at
    n = COUNTS[kind] if kind == "general" else 2
    replies = _replies([to_write(kind, p, n, found.known(kind), session) for _, p in asked], session)
    for (source, passage), reply in zip(asked, replies, strict=True):
        questions = written(reply)
        if questions is None:
            found.left_out["replies of another form"] += 1
        for one in questions or ():
            if why := _fault(kind, one, passage, seen, found):
                found.left_out[why] += 1
            else:
                found.made[kind].append(
                    Made(one["question"].strip(), one["answer"].strip(), one["quote"].strip(), source)
                )


def _fault(kind: Kind, one: dict[str, str], passage: str, seen: str, found: Questions) -> str:
    """Why a question doesn't do; "": it does."""
    question, answer, quote = (one[k].strip() for k in ("question", "answer", "quote"))
    said = {normalise(q, ignore_case=True) for k in COUNTS for q in found.known(k)}
    if normalise(question, ignore_case=True) in said:
        return "asked twice"
    if kind != "unanswerable" and (len(answer.split()) > ANSWER_WORDS or not Words().tokenize(answer)):
        return f"answers of more than {ANSWER_WORDS} words, or none"
    if kind != "unanswerable" and _stands_in(answer, question):
        return "questions that give their answer away"
    return _fault_of_quote(answer, quote, passage, seen) if kind == "domain" else ""


def _fault_of_quote(answer: str, quote: str, passage: str, seen: str) -> str:
    if len(quote) < _LEAST_QUOTE_CHARS or normalise(quote) not in normalise(passage):
        return "quotes that the document doesn't have"
    if not _stands_in(answer, quote):
        return "answers that aren't in their quote"
    return "quotes that stand in a document for training too" if normalise(quote, ignore_case=True) in seen else ""


def _stands_in(part: str, whole: str) -> bool:
    words, said = (f" {' '.join(Words().tokenize(t))} " for t in (part, whole))
    return bool(words.strip()) and words in said


def _read_again(
    kind: Kind, count: int, found: Questions, session: ChatSession, index: WordIndex, passages: Sequence[str]
) -> None:
    """Leave out what the second reading doesn't agree on, and what is more than is wanted."""
    made = found.made[kind]
    near = index.nearest([m.question for m in made], _NEAREST)
    texts = ["\n\n".join(dict.fromkeys([m.quote, *(passages[i] for i in n)])) for m, n in zip(made, near, strict=True)]
    asked = [to_read(m.question, t if kind != "general" else "", session) for m, t in zip(made, texts, strict=True)]
    replies = _replies(asked, session)
    kept = []
    for one, reply in zip(made, replies, strict=True):
        whole, answer = was_read(reply)
        if not whole:
            found.left_out["second readings of another form"] += 1
        elif (answer is None) if kind == "unanswerable" else (answer is not None and _agree(answer, one.answer)):
            kept.append(one)
        else:
            found.left_out["a second reading says otherwise"] += 1
    found.made[kind] = kept[:count]


def _agree(one: str, other: str) -> bool:
    return _stands_in(one, other) or _stands_in(other, one)


def _replies(questions: Sequence[Question], session: ChatSession) -> list[Reply]:
    """Raises ServiceError where one got none: what is missing isn't left out silently."""
    found = [a.reply for a in session.answers(questions)]
    replies = [r for r in found if isinstance(r, Reply)]
    if len(replies) < len(found):
        failed = next(r for r in found if not isinstance(r, Reply))
        raise ServiceError(
            f"{len(found) - len(replies)} of {len(found)} requests got no reply: {failed.reason}, {failed.detail}",
            where=session.endpoint.base_url, hint="run again: replies so far are kept",
        )  # fmt: skip
    return replies


def write_suite(
    folder: Path,
    name: str,
    licence: str,
    model: str,
    found: Questions,
    held: Sequence[Source],
    others: Sequence[Source],
) -> None:
    """suite.yaml, a file of questions per task, and documents.jsonl, which says of each document what it is for."""
    tasks = [
        {"name": "domain", "kind": "domain", "file": "domain.jsonl", "graders": ["contains", "rouge_l", "chrf"]},
        {"name": "general", "kind": "qa", "file": "general.jsonl", "graders": ["contains"]},
        {"name": "unanswerable", "kind": "unanswerable", "file": "unanswerable.jsonl"},
    ]
    for kind, made in found.made.items():
        _lines(folder / f"{kind}.jsonl", [_item(kind, i, m) for i, m in enumerate(made, 1)])
    kept_apart = {s.sha256 for s in held}
    documents = sorted((*held, *others), key=lambda s: s.name)
    _lines(
        folder / "documents.jsonl",
        [{"document": s.name, "sha256": s.sha256, "held_out": s.sha256 in kept_apart} for s in documents],
    )
    suite = {
        "name": name, "version": "1", "licence": licence,
        "description": f"Questions that {model} wrote from {len(held)} of {len(documents)} documents: those with"
        " held_out: true in documents.jsonl, which belong in no training data.",
        "tasks": tasks,
    }  # fmt: skip
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _item(kind: Kind, number: int, made: Made) -> dict[str, Any]:
    item = {"id": f"{kind}-{number}", "source": made.source.name[:80], "question": made.question, "answer": made.answer}
    if kind != "domain":
        del item["source"]
        return {**item, **({"note": made.quote} if made.quote else {})}
    return {**item, "note": made.quote, "passages": [made.quote], "document": made.source.name}


def _lines(path: Path, values: Sequence[dict[str, Any]]) -> None:
    text = "".join(f"{json.dumps(json.loads(canonical_json(v)), ensure_ascii=False)}\n" for v in values)
    path.write_text(text, encoding="utf-8")
