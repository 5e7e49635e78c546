"""A run that may be released: a base, an adapter over it, evaluations, a decision, what stages said; with words in all
places that must not leave the house.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from support import modelled_run, sample_run
from support.stored_run import StoredRun, with_digest

from ops.run_index import save_run
from steps.contracts.digests import text_digest
from steps.contracts.evaluation import (
    Compared,
    Comparison,
    Decision,
    EvalReport,
    Metric,
    Reason,
    Registration,
    TaskResult,
    Try,
)
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.contracts.provenance import DeclaredSource
from steps.contracts.reports import Example, StageReport, Table

# Stand in rows, answers, examples, settings and addresses of the run.
CANARY = "Zaphod-Canary-4417"
SECRET = "hunter2-canary"
SOURCES = (
    DeclaredSource(
        name="mails", location=f"/home/{CANARY}/mails", licence="CC-BY-4.0", access="internal", consent="given"
    ),
    DeclaredSource(name="pages", location=f"https://u:{SECRET}@files.example.org/pages.jsonl?token={SECRET}"),
    DeclaredSource(name="open", location="acme/pages@0123456789012345678901234567890123456789", licence="MIT"),
)  # fmt: skip
READ = {
    "mails/jane.roe.eml": text_digest("mail"),
    "pages/pages.jsonl": text_digest("pages"),
    "open/acme/pages": "0" * 40,
}
# Of an owner's own words.
CARD = {"intended_use": "Orders from mails.", "limitations": ["English only."], "licence": "Apache-2.0"}


def build(
    work: Path, base: ModelFolder, *, promote: bool = True, registration: Registration | None = None,
    registry: dict[str, Any] | None = None, name: str = modelled_run.NAME,
) -> StoredRun:  # fmt: skip
    """Below `work`; its record goes to the state folder. `registry`: settings of the run's registry."""
    ref = BaseRef(source="local", name=f"/home/{CANARY}/base", digest=base.info.digest)
    base = ModelFolder(base.info.model_copy(update={"base": ref}), base.path)
    run = modelled_run.build(work, base, registered=False, name=name)
    assert run.record is not None
    info = model_of(run)
    plain = len(run.artifacts)
    for report in _reports():
        (run.add(f"{report.stage}_step", f"{report.stage}_report", "stage_report") / "report.json").write_text(
            report.model_dump_json()
        )
    _add_evaluations(run, base, info, promote)
    _add_inputs(run)
    read = {"ingest.json": text_digest(json.dumps(READ))}
    values = {**run.record.config, "base": {"licence": "MIT"}, "registry": {"name": "shop", **CARD, **(registry or {})}}
    values["judge"] = {"instructions": CANARY}
    record = run.record.model_copy(
        update={
            "artifacts": (*run.record.artifacts, *map(with_digest, run.artifacts[plain:-1])),
            "around": (run.artifacts[-1].model_copy(update={"beside": read}),),
            "sources": SOURCES, "config": values, "packages": {"torch": "2.13.0+cpu", "zc.lockfile": "1", "A_b": "2"},
            "registration": registration, "log": CANARY, "tracking_uri": f"https://u:{SECRET}@mlflow.example.org",
        }
    )  # fmt: skip
    run.record = sample_run.of_config(record, yaml.safe_dump(values))
    save_run(work, run.record, yaml.safe_dump(values))
    return run


def model_of(run: StoredRun) -> ModelInfo:
    """The tuned model."""
    return ModelInfo.model_validate_json((run.store / "train_step/tuned/model.json").read_bytes())


def registered(run_digest: str, uri: str, version: str = "1", approvals: int = 0) -> Registration:
    """In a registry made on the spot."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, registry_uri=uri)
    tags = {"gate": "passed", "weights_digest": run_digest, "approvals_required": str(approvals)}
    client.create_registered_model("shop")
    client.create_model_version("shop", "/nowhere", tags=tags)
    client.set_registered_model_alias("shop", "candidate", version)
    return Registration(
        name="shop", version=version, status="candidate", aliases=("candidate",), model_uri=f"models:/shop/{version}",
        tracking_uri=uri, run_id="r", tags=tags,
    )  # fmt: skip


def _reports() -> tuple[StageReport, ...]:
    common: dict[str, Any] = {"config_digest": "c", "seconds": 1.0, "cpu_seconds": 1.0}
    example = Example(record_id="a" * 32, reason="near", text=CANARY, evidence={"with": CANARY})
    told = Table(title="Clusters", columns=("name",), rows=((CANARY,),))
    columns = ("source", "format", "rows", "rejected", "licence", "bytes")
    sources = Table(title="sources", columns=columns, rows=(("mails", "openai", 20, 1, "CC-BY-4.0", 4096),))
    return (
        StageReport(stage="ingest", rows_in=21, kept=20, dropped=1, dropped_by={"broken_json": 1},
                    tables=(sources, told), counts={"rows read per source": {"mails": 20, "pages": 1}},
                    examples=(example,), **common),
        StageReport(stage="scrub", rows_in=20, kept=20, changed=3, counts={"findings by entity": {"EMAIL_ADDRESS": 4}},
                    notes=(f"pseudonym key fingerprint: {SECRET}", f"NER is off: {Path.home()}/{CANARY[:3]}/ner"),
                    examples=(example,), **common),
        StageReport(stage="screen", rows_in=20, kept=16, quarantined=4, quarantined_by={"self_harm": 4},
                    counts={"rows by language": {"en": 15, "de": 5}}, **common),
        StageReport(stage="train", rows_in=8, kept=8, counts={"tokens": {"train rows": 640}}, examples=(example,),
                    **common),
    )  # fmt: skip


def _add_evaluations(run: StoredRun, base: ModelFolder, info: ModelInfo, promote: bool) -> None:
    digests = {"base": base.info.digest, "tuned": info.digest}
    for subject, digest in digests.items():
        metric = Metric(name="exact_match", estimate=sample_run.estimate(0.25 if subject == "base" else 0.75, 0.1, n=8))
        task = TaskResult(task="held_out", version="1", kind="held_out", data_digest="e" * 64, n=8, metrics=(metric,))
        tried = Try(settings={"system": CANARY}, metric="exact_match", estimate=metric.estimate)
        report = EvalReport(
            subject=subject, model_digest=digest, dataset_digest=info.dataset_digest or "", tasks=(task,),
            decoding="{}", seconds=1.0, cpu_seconds=1.0, tries=(tried,),
        )  # fmt: skip
        folder = run.add(f"evaluate_{subject}_step", f"evaluation_{subject}", "eval_report")
        (folder / "value.json").write_text(report.model_dump_json())
    compared = Comparison(
        reference=Compared(name="base", digest=digests["base"]), dataset_digest=info.dataset_digest or "",
        candidates=(Compared(name="tuned", digest=digests["tuned"]),), differences=(),
    )  # fmt: skip
    (run.add("gate_step", "comparison", "comparison") / "value.json").write_text(compared.model_dump_json())
    reason = Reason(check="gain in exact_match", passed=promote, required="above 0", found="0.5 | <b>")
    decision = Decision(promote=promote, reference="base", candidate="tuned", reasons=(reason,), config_digest="c")
    (run.add("gate_step", "decision", "decision") / "value.json").write_text(decision.model_dump_json())


def _add_inputs(run: StoredRun) -> None:
    (run.add("start_step", "ingest_inputs", "file") / "ingest.json").write_text(json.dumps(READ))
