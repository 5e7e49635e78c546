"""The semantic stage: rows that say the same as a kept row, in whatever words, go."""

from pathlib import Path

import numpy as np

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ServiceError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.cross_encoder import CrossEncoder
from steps.engines.llm.egress import refuse_egress
from steps.engines.progress.progress import Stopwatch
from steps.engines.rowwise.undecided import becomes
from steps.semantic.config import SemanticConfig
from steps.semantic.decide import Decisions, Rerank, decide
from steps.semantic.embeddings import Embeddings
from steps.semantic.passes import embed_rows
from steps.semantic.report import semantic_report
from steps.semantic.spill import TextSpill


def semantic(rows: Dataset, config: SemanticConfig, ctx: StageContext) -> Outcome:
    """Drop train rows (and rows without a split) that mean the same as a row that is kept.

    Validation and test rows win over all others and are never dropped; then the earliest batch wins, within a batch
    the smallest content id. Survivors don't depend on the rows' order or sharding. Every dropped row names a kept row
    and the cosine with it. Embeddings are cached in `ctx.cache/vectors.sqlite`, and with `ctx.keep` in the artifact
    `semantic_embeddings`, for a later run; with the config's `keep_embeddings: false` in neither. Relative model
    folders start from `ctx.root`.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine.
        MissingDependencyError, InputNotFoundError: a model or a library isn't there.
        ServiceError: a server doesn't work, or too many rows could not be embedded.
    """
    servers = (config.embed.endpoint, config.neighbours.qdrant_url)
    refuse_egress(servers, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="semantic")
    watch = Stopwatch()
    keep = config.keep_embeddings
    folder = ctx.folder / "embeddings" if ctx.keep and keep else None
    cache = EmbeddingCache(ctx.cache if keep else None, ctx.earlier.get("semantic_embeddings"), folder)
    with cache, TextSpill(ctx.folder / "texts.partial") as texts:
        embedded, sent, read = embed_rows(rows, config, ctx.root, cache, texts)
        _check_undecided(embedded, config)
        found = decide(embedded, config, _second_model(config, ctx.root, texts))
        with LedgerWriter(ctx.folder / "ledger.parquet", "semantic") as lines:
            stay, set_aside = _enter(lines, embedded, found, config)
            ledger = lines.close()
        costs = (
            *cache.notes(),
            *read,
            *([f"{sent:,} requests sent to the embedding server"] if config.embed.endpoint else []),
        )
        report = semantic_report(embedded, found, config, lines, costs, texts if ctx.scrubbed else None, watch)
        embeddings = cache.write()
    quarantined = rows.select(set_aside, ctx.folder / "quarantined", "semantic")
    after = rows.select(stay, ctx.folder, "semantic")
    return Outcome(after, ledger, report.balanced(), quarantined, {"semantic_embeddings": embeddings})


def _second_model(config: SemanticConfig, root: Path, texts: TextSpill) -> Rerank | None:
    """What the cross-encoder says about rows, if one is configured."""
    if config.rerank is None:
        return None
    cross = CrossEncoder(config.rerank, root, "semantic.rerank")
    return lambda row, others: cross.scores(texts.get(row), [texts.get(o) for o in others])


def _check_undecided(rows: Embeddings, config: SemanticConfig) -> None:
    """Stop when the config says that no row may be undecided, or too many are."""
    share = len(rows.failed) / max(len(rows.kinds), 1)
    if share <= config.max_undecided_share and not (rows.failed and config.undecided == "fail"):
        return
    reasons = ", ".join(sorted(set(rows.failed.values())))
    first = rows.record_ids[min(rows.failed)].decode()
    raise ServiceError(
        f"{len(rows.failed)} of {len(rows.kinds)} rows could not be embedded ({reasons}), the first one {first};"
        f" undecided is {config.undecided}, max_undecided_share {config.max_undecided_share:g}",
        where="semantic",
        hint="mend the model or server and run again: vectors so far are kept; or raise semantic.max_undecided_share",
    )


def _enter(lines: LedgerWriter, rows: Embeddings, found: Decisions, config: SemanticConfig) -> tuple[Mask, Mask]:
    """Write the ledger. Returns which rows stay and which are quarantined, shape (n,) both."""
    keep, quarantined = ~found.dropped, np.zeros(len(rows.kinds), bool)
    for row, reason in sorted(rows.failed.items()):
        verdict = "undecided" if rows.held_out[row] else becomes(config.undecided)
        keep[row], quarantined[row] = verdict == "undecided", verdict == "quarantined"
        lines.add(rows.record_ids[row].decode(), verdict, f"undecided:{reason}")
    for row in np.flatnonzero(found.dropped).tolist():
        witness = rows.record_ids[found.witness[row]].decode()
        evidence: dict[str, object] = {"witness": witness, "cosine": float(found.cosine[row])}
        if not np.isnan(found.second[row]):
            evidence["rerank"] = round(float(found.second[row]), 6)
        if rows.cut[row] or rows.cut[found.witness[row]]:
            evidence["cut"] = True
        lines.add(
            rows.record_ids[row].decode(), "dropped", "semantic_duplicate", score=float(found.cosine[row]),
            evidence=evidence, parents=[witness],
        )  # fmt: skip
    if config.cut_texts == "keep":
        for row in np.flatnonzero(rows.cut).tolist():
            lines.add(rows.record_ids[row].decode(), "flagged", "not_compared", evidence={"cut": True})
    return keep, quarantined
