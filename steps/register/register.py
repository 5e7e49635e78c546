"""Register a model in MLflow: adapter, cards, tags that lead back to its data, aliases as the gate decided."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steps.contracts.digests import canonical_json, folder_digests, value_digest
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.evaluation import STOP_TOKEN_IDS, Decision, Registration
from steps.contracts.models import CHAMPION
from steps.contracts.storage import write_whole
from steps.engines.exports.export import Decoding, Exported
from steps.engines.exports.registry import EXPORTS
from steps.engines.lm.folder import check_files
from steps.engines.scoring.metrics import HELD_OUT
from steps.engines.tracking.database import database_file, make_database
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.service import PROBE, WORK, environment, service
from steps.engines.tracking.training import carry_training
from steps.register import versions
from steps.register.cards import Candidate, base_text, dataset_card, escape, model_card
from steps.register.champion import present_champion
from steps.register.config import RegisterConfig
from steps.register.registered import FILES, model_digests

# The export that MLflow serves.
_FORMAT = "pyfunc"
# Folders of documents in the MLflow run.
_LOGGED = ("cards", "gate")
_PARENT = "mlflow.parentRunId"
# Characters that MLflow's database columns hold: description and tag value of a model version.
_DESCRIPTION, _TAG = 5_000, 5_000


def register(candidate: Candidate, decision: Decision, config: RegisterConfig, folder: Path) -> Registration:
    """Log the model's weights (for an adapter nothing of the base) and register them as a new model version.

    Into the active MLflow run when there is one and the settings name no other place, else into a run of its own.
    Weights that were registered with the same word and settings before keep their version, and what was interrupted
    is completed. A candidate that passed the gate gets
    the alias `candidate`, and `champion` too unless `promotion` is manual; one that didn't is registered with the tag
    status=rejected and moves no alias.

    Args:
        folder: the two cards are written there.

    Raises:
        IntegrityError: the gate compared other weights, or they changed on disk.
        ValueError: evaluations, comparison and decision don't belong together.
        ServiceError: the MLflow server is down or refuses.
    """
    _check(candidate, decision)
    cards = {
        "model_card.md": model_card(candidate, decision, config),
        "dataset_card.md": dataset_card(candidate, config),
    }
    for name, text in cards.items():
        write_whole(folder / "cards" / name, text)
    with _tracking(config, candidate.lineage.get("zenml_run")) as (uri, run_id), versions.one_at_a_time(uri):
        status = _status(candidate, decision, config, uri)
        key = _key(candidate, decision, config, status)
        tags = _tags(candidate, decision, status, run_id) | {versions.KEY: key}
        carry_training(candidate.model.info.digest, candidate.training, run_id)
        found = versions.find(config.name, key)
        if found is None:
            source = _log(candidate, decision, config, folder, tags)
            found = versions.create(config.name, source, tags | {FILES: _digests(folder, source)})
        number = str(found.version)
        aliases = versions.complete(config.name, number, status, _cut(cards["model_card.md"]), config.approvals)
        versions.describe(config.name, _about(candidate, config))
    return Registration(
        name=config.name,
        version=number,
        status=status,
        aliases=aliases,
        model_uri=f"models:/{config.name}/{number}",
        tracking_uri=without_secret(uri),
        run_id=found.tags["mlflow_run_id"],
        tags={name: value for name, value in found.tags.items() if name in tags or name == FILES},
    )


def _key(candidate: Candidate, decision: Decision, config: RegisterConfig, status: str) -> str:
    """Equal only where the same weights, of the same rows, get the same word, status and settings."""
    parts = {
        "weights": candidate.model.info.digest,
        "base": candidate.base.info.digest,
        "dataset": candidate.dataset.digest,
        "decision": decision.model_dump(mode="json"),
        "status": status,
        "settings": config.model_dump(mode="json", exclude={"tracking_uri", "experiment", "approvals"}),
    }
    return value_digest(parts)


def _check(candidate: Candidate, decision: Decision) -> None:
    """The gate's word must be about these weights, and the weights on disk must be the ones that were measured."""
    info, compared = candidate.model.info, candidate.comparison
    judged = next((c.digest for c in compared.candidates if c.name == decision.candidate), "nothing")
    if judged != info.digest:
        raise IntegrityError(
            f"the gate compared the weights {judged[:12]}, these are {info.digest[:12]}",
            where="register",
            hint="evaluate and gate this model before registering it",
        )
    measured = {e.subject: e.model_digest for e in candidate.evaluations}
    if any(measured.get(c.name) != c.digest for c in (compared.reference, *compared.candidates)):
        raise ValueError("the gate compared other subjects than these evaluations are of")
    if decision.promote and not (decision.reasons and all(r.passed for r in decision.reasons)):
        raise ValueError("a promotion without all checks passed")
    if candidate.model.path is None:
        raise ConfigError("the model is only a reference: there are no weights to register", where="register")
    check_files(candidate.model.path, info.files)


def _status(candidate: Candidate, decision: Decision, config: RegisterConfig, uri: str) -> Any:
    if not decision.promote:
        return "rejected"
    if config.promotion == "manual" or _another_champion(candidate, config, uri):
        return versions.CANDIDATE
    return versions.CHAMPION


def _another_champion(candidate: Candidate, config: RegisterConfig, uri: str) -> bool:
    """Whether another version became champion since the gate compared: nobody knows that the candidate is better."""
    compared = next((c.digest for c in candidate.comparison.candidates if c.name == CHAMPION), None)
    if compared is None:
        return False
    present = present_champion(uri, config.name)
    unchanged = (compared, candidate.model.info.digest)
    return present is not None and present.weights not in unchanged


def _tags(candidate: Candidate, decision: Decision, status: str, run_id: str) -> dict[str, str]:
    info = candidate.model.info
    tags = {
        **candidate.lineage,
        "status": status,
        "gate": "passed" if decision.promote else "failed",
        "gate_config_digest": decision.config_digest,
        "dataset_digest": candidate.dataset.digest,
        "base": base_text(candidate.base.info.base),
        "base_digest": (info.started_from or candidate.base.info.lineage)[0].digest,
        "started_from": " > ".join(f"{a.name} {a.digest[:12]}" for a in info.started_from),
        "weights_digest": candidate.model.info.digest,
        "kind": candidate.model.info.kind,
        "mlflow_run_id": run_id,
        **_labels(candidate),
    }
    failed = [r.check for r in decision.reasons if not r.passed]
    if failed:
        tags["gate_failed"] = "; ".join(failed)
    return {k: str(v)[:_TAG] for k, v in sorted(tags.items()) if str(v)}


def _labels(candidate: Candidate) -> dict[str, str]:
    """What is declared of the sources, each word once; "none" among them: of a source nothing was declared."""
    said = {
        "source_licences": [s.licence for s in candidate.sources],
        "source_access": [s.access for s in candidate.sources],
        "source_consent": [s.consent for s in candidate.sources],
    }
    return {tag: "; ".join(sorted({w or "none" for w in words})) for tag, words in said.items() if any(words)}


def _log(candidate: Candidate, decision: Decision, config: RegisterConfig, folder: Path, tags: dict[str, str]) -> str:
    """Log cards, decision, metrics and the model into the active run; returns the logged model's URI.

    `folder`: its cards are logged, the decision is written there too.
    """
    import mlflow

    mlflow.set_tags(tags)
    write_whole(folder / "gate" / "decision.json", decision.model_dump_json(indent=2))
    write_whole(folder / "gate" / "comparison.json", candidate.comparison.model_dump_json(indent=2))
    for name in _LOGGED:
        mlflow.log_artifacts(str(folder / name), name)
    mlflow.log_metrics(
        {
            f"{subject}/{d.task}/{d.metric}": e.value
            for d in candidate.comparison.of(decision.candidate)
            for subject, e in (
                (decision.reference, d.reference),
                (decision.candidate, d.candidate),
                ("change", d.change),
            )
        }
    )
    return EXPORTS[_FORMAT].log(exported(candidate, decision.candidate, config, folder / "cards", tags), "model")


def _digests(folder: Path, source: str) -> str:
    """SHA-256, as JSON, of what was logged besides the weights."""
    documents = {f"{name}/{file}": d for name in _LOGGED for file, d in folder_digests(folder / name).items()}
    found = {f"run/{name}": d for name, d in documents.items()}
    return canonical_json(found | {f"model/{name}": d for name, d in model_digests(source).items()})


def exported(candidate: Candidate, subject: str, config: RegisterConfig, cards: Path, tags: dict[str, str]) -> Exported:
    """The candidate's model, to be decoded as the evaluation of `subject` was."""
    decoding = json.loads(candidate.evaluation(subject).decoding)
    # A reward model answers nothing.
    tokens = config.max_new_tokens or decoding.get("max_new_tokens", {}).get(HELD_OUT) or 256
    return Exported(
        candidate.model, candidate.base, candidate.base_location,
        Decoding(
            tokens, decoding["batch_size"], decoding["dtype"], decoding["num_threads"],
            decoding.get("generation", {}), decoding.get(STOP_TOKEN_IDS, ()), decoding["batch_tokens"],
        ),
        beside={"cards": cards}, tags=tags, requirements=config.extra_pip_requirements,
    )  # fmt: skip


def _about(candidate: Candidate, config: RegisterConfig) -> str:
    """What all versions of the model have in common, in Markdown."""
    use = f"{escape(config.intended_use)}\n\n" if config.intended_use else ""
    base, sources = escape(base_text(candidate.base.info.base)), ", ".join(escape(s.name) for s in candidate.sources)
    return (
        f"{use}Tuned from {base} on rows of {sources or 'recorded datasets'}, registered by assay. `@champion` is the"
        " version that passed the gate last, `@candidate` the newest that passed; a version's description is its model"
        " card, its tags lead to rows, run and commit."
    )[:_DESCRIPTION]


def _cut(card: str) -> str:
    """The card without its front matter, as far as whole lines fit into MLflow's description."""
    text = card.split("---\n", 2)[-1].lstrip()
    if len(text) <= _DESCRIPTION:
        return text
    rest = "\n\n(Cut here; the whole card is cards/model_card.md in the run's artifacts.)"
    return text[: text.rfind("\n", 0, _DESCRIPTION - len(rest))] + rest


@contextmanager
def _tracking(config: RegisterConfig, run_name: str | None) -> Iterator[tuple[str, str]]:
    """(tracking URI, run id) on a server that was seen to answer: of the active run, unless the settings name another
    place; else of a run that is started there.
    """
    import mlflow
    from mlflow.tracking import is_tracking_uri_set

    running, before = mlflow.active_run(), mlflow.get_tracking_uri()
    if running is None and not (config.tracking_uri or is_tracking_uri_set()):
        raise ConfigError(
            "no MLflow to register in: the stack has no experiment tracker and no tracking URI is set",
            where="registry",
            hint="set MLFLOW_TRACKING_URI or registry.tracking_uri, or bind the stack's tracker in configs/infra",
        )
    in_force = before if running is not None else os.environ.get("MLFLOW_TRACKING_URI") or before
    uri = config.tracking_uri or in_force
    try:
        mlflow.set_tracking_uri(uri)
        with service(uri), environment(WORK):
            make_database(uri)
            with environment(PROBE):
                mlflow.MlflowClient().search_experiments(max_results=1)
            if running is not None and uri == before:
                yield uri, running.info.run_id
            else:
                with _own_run(config, uri, run_name) as run_id:
                    yield uri, run_id
    finally:
        mlflow.set_tracking_uri(before)


@contextmanager
def _own_run(config: RegisterConfig, uri: str, run_name: str | None) -> Iterator[str]:
    """A run that is no child of the active one, which lies elsewhere."""
    import mlflow

    experiment = _experiment(config.experiment, uri)
    with mlflow.start_run(experiment_id=experiment, run_name=run_name, nested=True) as run:
        if mlflow.MlflowClient().get_run(run.info.run_id).data.tags.get(_PARENT):
            mlflow.delete_tag(_PARENT)
        yield str(run.info.run_id)


def _experiment(name: str, uri: str) -> str:
    """Id of the experiment, made when it isn't there; of a database file the artifacts lie beside it."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    file = database_file(uri)
    beside = file.parent / "mlflow_artifacts" if file is not None else None
    return str(client.create_experiment(name, artifact_location=beside.as_uri() if beside else None))
