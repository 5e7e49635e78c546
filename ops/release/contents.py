"""What the documents of a release are made of, and the ones that are plain JSON: lineage, licences, gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.release.clearance import Clearance
from ops.release.evaluation import PublicEvaluation
from ops.release.facts import NOT_RECORDED, Facts, base_name
from steps.contracts.digests import value_digest
from steps.contracts.exports import ExportManifest
from steps.contracts.models import BaseRef

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Contents:
    """Everything that is told of a release.

    Attributes:
        name: of the model; created: of the release, UTC, ISO 8601.
        files: SHA-256 and bytes of the files that the export wrote, by path.
        licence_texts: files of the base with the words of its licence, as they lie in the release.
    """

    name: str
    created: str
    tool: str
    facts: Facts
    clearance: Clearance
    evaluation: PublicEvaluation
    export: ExportManifest
    files: Mapping[str, tuple[str, int]]
    licence_texts: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Digest of the trained model, as the run and its evaluation name it."""
        return self.facts.model.digest

    @property
    def weights(self) -> str:
        """One digest of all files that the export wrote."""
        return weights_digest({name: sha256 for name, (sha256, _) in self.files.items()})

    @property
    def dataset(self) -> str | None:
        """Digest of the dataset version that it was trained on."""
        return self.facts.dataset.digest if self.facts.dataset else None

    @property
    def licence(self) -> str:
        """Of the model itself, as the config states it."""
        return str(self.facts.card.get("licence") or UNKNOWN)

    @property
    def digests(self) -> dict[str, str | None]:
        """The three digests that every document names."""
        return {"model": self.model, "weights": self.weights, "dataset": self.dataset}


def weights_digest(files: Mapping[str, str]) -> str:
    """One digest of an export's files. `files`: SHA-256 by path."""
    return value_digest(dict(files))


def base_version(ref: BaseRef) -> str | None:
    """What pins it."""
    return ref.revision or ref.digest


def lineage(c: Contents) -> dict[str, Any]:
    """The chain of models from the base on, the rows, and the runs."""
    f = c.facts
    return {
        **c.digests,
        "base": f.base.model_dump(mode="json") | {"name": base_name(f.base)},
        "models": [a.model_dump(mode="json") for a in f.model.lineage],
        "run": {"name": f.run, "id": f.run_id, "started": f.started, "commit": f.commit, "config": f.config_digest},
        "earlier_runs": [{"name": name, "record_sha256": sha256} for name, sha256 in f.earlier],
        "rows": f.dataset.model_dump(mode="json") if f.dataset else None,
        "stages": [s.model_dump(mode="json") for s in f.stages],
    }  # fmt: skip


def licences(c: Contents) -> dict[str, Any]:
    """Of the model, its base and every source; what nobody stated is unknown."""
    f = c.facts
    return {
        **c.digests,
        "licences": {
            "model": c.licence,
            "base": {"name": base_name(f.base), "licence": f.base_licence or UNKNOWN, "texts": list(c.licence_texts)},
            "sources": [{"name": s.name, "licence": s.licence or UNKNOWN} for s in f.sources],
        },
    }


def gate(c: Contents) -> dict[str, Any]:
    """The gate's decision, the people who decided, and why the release was made where something spoke against it."""
    said = c.clearance
    return {
        **c.digests,
        "decision": said.decision.model_dump(mode="json") if said.decision else None,
        "registered": said.registered,
        "approvals_wanted": said.wanted,
        "approvals": None if said.approvals is None else [a.model_dump(mode="json") for a in said.approvals],
        "against": list(said.against),
        "although": said.although,
    }


def or_unrecorded(value: Any) -> Any:
    """The value; of nothing that it isn't recorded."""
    return NOT_RECORDED if value is None or value in ({}, ()) else value
