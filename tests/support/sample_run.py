"""A finished run with every section filled, for the report and the command line."""

import math

import yaml

from pipelines.report.page import Model, RunPage, ScoredAnswer, SideBySide, Version
from steps.contracts.dataset import Manifest, ShardEntry
from steps.contracts.digests import value_digest
from steps.contracts.evaluation import (
    Compared,
    Comparison,
    Decision,
    Difference,
    Estimate,
    EvalReport,
    Metric,
    Reason,
    Registration,
    TaskResult,
)
from steps.contracts.models import BaseRef, ModelInfo
from steps.contracts.reports import Example, Histogram, Series, StageReport, Table
from steps.contracts.runs import RunRecord

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> \x1b[31m[red]\u202eevil </style>'
DIGEST = "ab12" * 16


def registration() -> Registration:
    return Registration(
        name="support", version="3", status="champion", aliases=("champion",), model_uri="models:/support/3",
        tracking_uri="sqlite:///mlflow.db", run_id="f00d" * 8, tags={"model_digest": DIGEST, "gate": "promoted"},
    )  # fmt: skip


def of_config(record: RunRecord, config: str) -> RunRecord:
    """The record as a run of this config (YAML) leaves it."""
    return record.model_copy(update={"config_digest": value_digest(yaml.safe_load(config))})


def record(name: str = "quickstart-2026-11-21-01-17-00") -> RunRecord:
    return RunRecord(
        run_id="11111111-2222-3333-4444-555555555555", name=name, config_name="quickstart", pipeline="curate_and_tune",
        status="completed", started="2026-11-21T01:17:00+00:00", ended="2026-11-21T01:20:41+00:00", stack="default",
        artifact_store="artifacts", commit="09322b7" + "0" * 33, config_digest=DIGEST, artifacts=(),
        cached_steps=("ingest",), executed_steps=("dedup", "train"), error=None, registration=registration(),
        tracking_uri="sqlite:///mlflow.db",
    )  # fmt: skip


def stage_reports(text: str = "Thanks for reaching out, the order has left our warehouse.") -> tuple[StageReport, ...]:
    common = {"config_digest": DIGEST, "seconds": 1.74, "cpu_seconds": 1.9}
    near = Histogram(
        title="Jaccard of verified pairs", unit="Jaccard", edges=tuple(0.7 + i * 0.0125 for i in range(25)),
        counts=tuple(int(40 * math.exp(-((i - 20) ** 2) / 18)) for i in range(24)),
    )  # fmt: skip
    lengths = Histogram(
        title="Row length", unit="characters", edges=tuple(float(2**i) for i in range(13)),
        counts=(0, 2, 9, 40, 160, 420, 900, 1400, 700, 120, 12, 1),
    )  # fmt: skip
    steps = tuple(float(i) for i in range(1, 201))
    train_loss = Series(title="train loss", x_label="step", y_label="loss (nats per token)", x=steps,
                        y=tuple(3.2 * math.exp(-i / 60) + 0.9 + 0.12 * math.sin(i) for i in range(200)))  # fmt: skip
    val_loss = Series(title="validation loss", x_label="step", y_label="loss (nats per token)", x=steps[9::10],
                      y=tuple(3.1 * math.exp(-i / 62) + 1.05 for i in range(9, 200, 10)))  # fmt: skip
    return (
        StageReport(stage="ingest", rows_in=3764, kept=3764, histograms=(lengths,),
                    counts={"format": {"openai": 2600, "sharegpt": 900, "alpaca": 264}},
                    tables=(Table(title="Rejects", columns=("source", "line", "reason"),
                                  rows=(("chat/a.jsonl", 17, "not JSON: " + text[:80]),)),), **common),
        StageReport(stage="dedup", rows_in=3764, kept=3301, dropped=463, dropped_by={"exact": 310, "near": 153},
                    histograms=(near,), examples=(Example(record_id="a" * 32, reason="near", text=text,
                    evidence={"jaccard": 0.91, "witness": "b" * 32}),), **common),
        StageReport(stage="scrub", rows_in=3301, kept=3301, changed=412, notes=("NER is off: no model named",),
                    counts={"entity": {"EMAIL_ADDRESS": 250, "PHONE_NUMBER": 140, "CREDIT_CARD": 30}}, **common),
        StageReport(stage="screen", rows_in=3301, kept=3242, dropped=40, quarantined=19, flagged=5,
                    dropped_by={"hidden_unicode": 25, "instruction_override": 15}, quarantined_by={"self_harm": 19},
                    flagged_by={"role_marker": 5},
                    examples=(Example(record_id="c" * 32, reason="instruction_override", text=text),), **common),
        StageReport(stage="judge", rows_in=3242, kept=3100, dropped=142, dropped_by={"low_score": 142}, undecided=7,
                    histograms=(Histogram(title="Judge score", unit="points", edges=(1, 2, 3, 4, 5, 6),
                                          counts=(60, 82, 400, 1500, 1200)),), **common),
        StageReport(stage="train", rows_in=2480, kept=2480, series=(train_loss, val_loss), **common),
    )  # fmt: skip


def estimate(value: float, spread: float, n: int = 124) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=n)


def comparison() -> Comparison:
    def difference(task: str, metric: str, base: float, tuned: float, spread: float) -> Difference:
        return Difference(task=task, metric=metric, subject="tuned", reference=estimate(base, spread),
                          candidate=estimate(tuned, spread),
                          change=estimate(tuned - base, spread))  # fmt: skip

    return Comparison(
        reference=Compared(name="base", digest="1" * 64), candidates=(Compared(name="tuned", digest=DIGEST),),
        dataset_digest="d" * 64,
        differences=(
            difference("support", "rouge_l", 0.12, 0.48, 0.04),
            difference("support", "exact_match", 0.0, 0.21, 0.06),
            difference("unanswerable", "refused", 0.62, 0.6, 0.05),
            Difference(task="perplexity", metric="perplexity", subject="tuned", reference=estimate(2441.7, 130.2),
                       candidate=estimate(6.31, 0.4),
                       change=estimate(0.0026, 0.0002), is_ratio=True),
        ),
    )  # fmt: skip


def eval_report(subject: str) -> EvalReport:
    metric = Metric(name="rouge_l", estimate=estimate(0.12 if subject == "base" else 0.48, 0.04))
    task = TaskResult(task="support", version="1", kind="held_out", data_digest="e" * 64, n=124, metrics=(metric,))
    return EvalReport(
        subject=subject, model_digest="1" * 64 if subject == "base" else DIGEST, dataset_digest="d" * 64,
        tasks=(task,), decoding='{"max_new_tokens":{"support":64}}', seconds=12.0, cpu_seconds=20.0,
    )  # fmt: skip


def manifest(stage: str, rows: int) -> Manifest:
    return Manifest(
        stage=stage, parent=None, digest=f"{rows:064d}", rows=rows,
        splits={"train": rows - 20, "test": 20} if stage != "ingest" else {"": rows}, kinds={"conversation": rows},
        shards=(ShardEntry(sha256="5" * 64, rows=rows, bytes=123_456),), selection=None,
    )  # fmt: skip


def page(text: str = "Hello, where is my order?") -> RunPage:
    decision = Decision(
        promote=True, reference="base", candidate="tuned", config_digest=DIGEST,
        reasons=(
            Reason(check="rouge_l must rise", passed=True, required="lower bound > 0", found="+0.36 [0.32, 0.4]"),
            Reason(check="refusals must not fall", passed=True, required="≥ -0.05", found="-0.02"),
        ),
    )  # fmt: skip
    answer = SideBySide(
        task="support", row_id="9" * 32, prompt=text, reference="It left our warehouse today.",
        answers=(
            ScoredAnswer("base", text * 3, {"rouge_l": 0.05}),
            ScoredAnswer("tuned", "It left our warehouse this morning.", {"rouge_l": 0.83}),
        ),
    )  # fmt: skip
    base = ModelInfo(kind="full", base=BaseRef(source="scratch", name="scratch"), digest="1" * 64, files={},
                     parameters=1_200_000)  # fmt: skip
    tuned = base.model_copy(
        update={"kind": "adapter", "digest": DIGEST, "trainable": 40_000, "dataset_digest": "d" * 64}
    )
    planted = Table(
        title="planted faults", columns=("kind", "planted", "found", "missed", "recall", "other rows hit"),
        rows=(("exact duplicate", 300, 300, 0, 1.0, 10), ("near duplicate", 160, 153, 7, 0.956, 0)),
    )  # fmt: skip
    return RunPage(
        record=record().model_copy(update={"sections": (planted,)}),
        config_yaml=f"name: quickstart\n# {text}\ndedup:\n  threshold: 0.8\n",
        reports=stage_reports(text), datasets=(Version("ingest", "dataset", manifest("ingest", 3764)),
                                               Version("judge", "dataset", manifest("judge", 3100))),
        models=(Model("base", base), Model("train", tuned)), evals=(eval_report("base"), eval_report("tuned")),
        comparison=comparison(), decision=decision, registration=registration(), answers=(answer, answer),
        sources={"chat/a.jsonl": 2600, text[:60]: 900},
    )  # fmt: skip
