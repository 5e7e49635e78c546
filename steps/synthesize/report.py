"""The account of a synthesis: what became of every chunk and every pair."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, StageReport, Table
from steps.engines.llm.asker import Requests, account_of
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Stopwatch
from steps.synthesize.candidates import Asked, Candidate
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.passages import Passage

# Chosen: what a page shows of many documents, of claims, and of each reason.
_MOST_DOCUMENTS, _MOST_CLAIMS = 100, 50
_EXAMPLES_PER_REASON = 3
_EXAMPLE_CHARS = 300
# Chosen: above this share the writer makes things up, and a person should look.
_MUCH = 0.2


class Tally:
    """Counts of a synthesis. `scrubbed`: personal data is gone, so that examples may show text."""

    def __init__(self, config: SynthesizeConfig, scrubbed: bool) -> None:
        self.config, self._scrubbed = config, scrubbed
        self.short = 0
        self.requests = Requests()
        self._kinds: dict[str, Counter[str]] = defaultdict(Counter)
        self._documents: dict[str, Counter[str]] = {}
        self._splits: dict[str, str] = {}
        self._claims: Counter[str] = Counter()
        self._examples: dict[str, list[Example]] = defaultdict(list)
        self._wrong: list[tuple[str | int, ...]] = []

    def add_document(self, source: str, split: str | None, passages: Sequence[Passage]) -> None:
        """Count a document and its chunks."""
        self._documents.setdefault(source, Counter())["chunks"] += len(passages)
        self._splits[source] = split or "–"

    def add_asked(self, asked: Asked) -> None:
        """Count what a request for pairs gave."""
        kind = self._kinds[asked.task.kind]
        kind["asked"] += 1
        fault = asked.outcome not in ("pairs", "none")
        kind["none" if asked.outcome == "none" else "unread" if fault else "gave"] += 1
        self.requests.add("writing", asked.outcome if fault else "")

    def add_pair(self, pair: Candidate) -> None:
        """Count what became of a pair."""
        outcome = "dropped" if pair.dropped else "kept"
        document = self._documents[pair.task.passages[0].source]
        for counts in (self._kinds[pair.kind], document):
            counts["written"] += 1
            counts[outcome] += 1
            counts["flagged"] += bool(pair.flagged)
        self._claims["claims"] += len(pair.claims)
        self._claims["unsupported"] += len(pair.evidence.get("unsupported", ()))
        if weak := pair.evidence.get("weak", ()):
            self._claims[pair.dropped] += len(weak)
        for claim in (*pair.evidence.get("unsupported", ()), *weak) if self._scrubbed else ():
            if len(self._wrong) < _MOST_CLAIMS:
                first = pair.task.passages[0]
                self._wrong.append((first.source, first.start, first.end, claim["claim"], claim["why"]))
        reason = pair.dropped or pair.flagged or f"kept: {pair.kind}"
        if len(self._examples[reason]) < _EXAMPLES_PER_REASON:
            text = f"{pair.question} → {pair.answer}"[:_EXAMPLE_CHARS] if self._scrubbed else ""
            chunks = [p.place(texts=self._scrubbed) for p in pair.task.passages]
            evidence = {"document": pair.task.passages[0].source, "chunks": chunks}
            evidence = {**evidence, **evidence_of(pair, scrubbed=self._scrubbed)}
            self._examples[reason].append(
                Example(record_id=pair.record_id, reason=reason, text=text, evidence=evidence)
            )

    def report(
        self, rows_in: int, undecided: int, kept: int, lines: LedgerWriter, sessions: Sequence[ChatSession],
        watch: Stopwatch,
    ) -> StageReport:  # fmt: skip
        """The finished report. `undecided`: documents with a chunk to which there was no reply of use."""
        account = account_of(self.requests, sessions)
        claims = {"claims checked": dict(self._claims)} if self._claims else {}
        return StageReport(
            stage="synthesize",
            rows_in=rows_in,
            created=lines.total("created"),
            kept=kept,
            dropped=lines.total("dropped"),
            flagged=lines.total("flagged"),
            undecided=undecided,
            dropped_by=dict(lines.counts["dropped"].most_common()),
            flagged_by=dict(lines.counts["flagged"].most_common()),
            counts={**account.counts, **claims},
            tables=(self._by_kind(), self._by_document(), *self._unsupported(), *account.tables),
            examples=tuple(e for some in self._examples.values() for e in some),
            warnings=(*self._warnings(), *account.warnings),
            notes=tuple(dict.fromkeys([*self._notes(sessions, lines), *account.notes])),
            config_digest=value_digest(self.config.model_dump(mode="json")),
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
        )

    def _by_kind(self) -> Table:
        columns = ("kind", "chunks asked", "without pairs", "no reply of use", "pairs", "dropped", "kept", "flagged")
        keys = ("asked", "none", "unread", "written", "dropped", "kept", "flagged")
        rows = tuple((kind, *(n[k] for k in keys)) for kind, n in self._kinds.items())
        return Table(title="Kinds", columns=columns, rows=rows)

    def _by_document(self) -> Table:
        columns = ("document", "split", "chunks", "pairs", "dropped", "kept", "kept per chunk")
        ordered = sorted(self._documents.items(), key=lambda item: (-item[1]["kept"], item[0]))
        rows = tuple(
            (name, self._splits[name], n["chunks"], n["written"], n["dropped"], n["kept"],
             round(n["kept"] / max(n["chunks"], 1), 2))
            for name, n in ordered[:_MOST_DOCUMENTS]
        )  # fmt: skip
        return Table(title="Yield per document", columns=columns, rows=rows)

    def _unsupported(self) -> list[Table]:
        """The first claims that aren't in their document."""
        columns = ("document", "from", "to", "claim", "why")
        return [Table(title="Claims that aren't in their document", columns=columns, rows=tuple(self._wrong))] if (
            self._wrong) else []  # fmt: skip

    def _warnings(self) -> list[str]:
        found = []
        sides = set(self._splits.values())
        if self._documents and "test" not in sides:
            found.append(
                f"none of {len(self._documents)} documents is held out for evaluation: raise split.test, or change"
                " split.salt"
            )
        claims, wrong = self._claims["claims"], self._claims["unsupported"]
        if claims and wrong / claims > _MUCH:
            found.append(f"{wrong:,} of {claims:,} claims ({wrong / claims:.0%}) aren't in their document")
        if claims and (weak := self._claims["weak_evidence"]) / claims > _MUCH:
            found.append(
                f"{weak:,} of {claims:,} claims ({weak / claims:.0%}) share few words with what is quoted for them:"
                " where answers are in another language than documents, set synthesize.min_evidence_overlap: 0"
            )
        return found

    def _notes(self, sessions: Sequence[ChatSession], lines: LedgerWriter) -> list[str]:
        names = [repr(s.endpoint.model) for s in sessions]
        by = f"Written by {names[0]}, checked by {names[-1]}."
        own = " A model that checks itself passes what it believes: synthesize.checker names another one."
        notes = [by + (own if len(names) == 1 else "")]
        if raft := lines.counts["created"]["raft"]:
            notes.append(f"{raft:,} further rows put documents before the question (raft).")
        if self.short:
            notes.append(
                f"{self.short:,} chunks have fewer than {self.config.min_words} words, and were asked nothing."
            )
        if len(self._documents) > _MOST_DOCUMENTS:
            notes.append(f"Of {len(self._documents):,} documents the {_MOST_DOCUMENTS} with the most pairs are shown.")
        return notes


def evidence_of(pair: Candidate, *, scrubbed: bool) -> dict[str, Any]:
    """What a pair's reason rests on; without texts where personal data may be in them."""
    return {k: v if scrubbed or isinstance(v, int) else len(v) for k, v in pair.evidence.items()}
