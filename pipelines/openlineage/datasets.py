"""Sources, dataset versions and models as OpenLineage's datasets: their names, and what is known of them.

A dataset's name stays from run to run, and its version is a facet. No name and no facet holds anything out of a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    OutputDatasetFacet,
    column_lineage_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
    tags_dataset,
)

from materializers.artifacts import is_remote
from steps.base.config import BaseConfig
from steps.contracts.dataset import Manifest
from steps.contracts.digests import value_digest
from steps.contracts.records import SCHEMA
from steps.contracts.runs import ArtifactRecord
from steps.ingest.config import SourceConfig

# Columns that hold what people wrote.
TEXTS = ("messages", "tools", "chosen", "rejected", "text", "meta")
# Columns of whatever is no dataset version: of a source the row as it stands there, of a model what was learnt.
ROW, WEIGHTS = "row", "weights"
# Labels of a source that its tags show.
_LABELS = ("licence", "access", "consent")
# Stages that change texts, and whether so that what was there can't be read any more.
_REWRITING = {"scrub": True, "review": False}

Transformation = column_lineage_dataset.Transformation
InputField = column_lineage_dataset.InputField


@dataclass(frozen=True)
class Known:
    """Something that runs read or make.

    Attributes:
        columns: of a dataset version or a table; ROW or WEIGHTS alone for others.
        rows, files: how many; None: not known.
        version: digest, commit ...; "" when not known.
    """

    namespace: str
    name: str
    kind: str
    columns: tuple[str, ...]
    version: str = ""
    rows: int | None = None
    files: int | None = None
    tags: tuple[tuple[str, str], ...] = ()
    stored: str = ""
    lineage: column_lineage_dataset.ColumnLineageDatasetFacet | None = None

    def derived(self, lineage: column_lineage_dataset.ColumnLineageDatasetFacet) -> "Known":
        """The same, with where its columns came from."""
        return replace(self, lineage=lineage)

    def as_input(self) -> InputDataset:
        """As something that was read."""
        facets: dict[str, InputDatasetFacet] = {}
        if self.rows is not None or self.files is not None:
            read = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(self.rows, None, self.files)
            facets["inputStatistics"] = read
        return InputDataset(self.namespace, self.name, inputFacets=facets, facets=self._facets())

    def as_output(self) -> OutputDataset:
        """As something that was made."""
        facets: dict[str, OutputDatasetFacet] = {}
        if self.rows is not None or self.files is not None:
            made = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(self.rows, None, self.files)
            facets["outputStatistics"] = made
        lineage = {"columnLineage": self.lineage} if self.lineage else {}
        return OutputDataset(self.namespace, self.name, outputFacets=facets, facets={**self._facets(), **lineage})

    def _facets(self) -> dict[str, DatasetFacet]:
        facets: dict[str, DatasetFacet] = {
            "schema": schema_dataset.SchemaDatasetFacet(_fields(self.columns)),
            "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(self.kind),
        }
        if self.version:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(self.version)
        if self.tags:
            tags = [tags_dataset.TagsDatasetFacetFields(key, value, "assay") for key, value in self.tags]
            facets["tags"] = tags_dataset.TagsDatasetFacet(tags)
        if is_remote(self.stored):
            place = symlinks_dataset.Identifier(*located(self.stored), type="LOCATION")
            facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([place])
            facets["storage"] = storage_dataset.StorageDatasetFacet(urlsplit(self.stored).scheme)
        return facets


def located(place: str) -> tuple[str, str]:
    """Namespace and name of a file, folder or glob by path or URL, as OpenLineage names them."""
    parts = urlsplit(place)
    if "://" not in place or parts.scheme == "file":
        return "file", place.removeprefix("file://")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}", parts.path.strip("/") or "/"


def source(config: SourceConfig, digests: Mapping[str, str]) -> Known:
    """A source of the config. `digests`: of all that ingest read, by `<source name>/<file>`."""
    own = {name: digest for name, digest in digests.items() if name.startswith(f"{config.name}/")}
    said = config.model_dump()
    labels = tuple((label, str(said[label])) for label in _LABELS if said.get(label))
    if config.hub is not None:
        name = "/".join(filter(None, [config.hub, config.subset, config.split]))
        return Known("huggingface", name, "TABLE", (ROW,), config.revision or "", tags=labels)
    namespace, name = located(config.path or "")
    version = value_digest(own) if own else ""
    return Known(namespace, name, "FILE", (ROW,), version, files=len(own) or None, tags=labels)


def version(namespace: str, config_name: str, artifact: ArtifactRecord, manifest: Manifest | None) -> Known:
    """A dataset version that a run of this config made."""
    return Known(
        namespace,
        f"{config_name}.{artifact.name}",
        "TABLE",
        tuple(SCHEMA.names),
        artifact.digest or "",
        rows=manifest.rows if manifest else None,
        files=len(manifest.shards) if manifest else None,
        stored=artifact.uri,
    )


def model(namespace: str, config_name: str, artifact: ArtifactRecord, tags: tuple[tuple[str, str], ...] = ()) -> Known:
    """A model that a run of this config made, or the base that it started from."""
    name = f"{config_name}.{artifact.name}"
    return Known(namespace, name, "MODEL", (WEIGHTS,), artifact.digest or "", tags=tags, stored=artifact.uri)


def base(config: BaseConfig, digests: Mapping[str, str]) -> Known:
    """The model that training starts from. `digests`: of what the base stage read."""
    # A hub model, a function and a registered model stand there by their name, a folder by its files.
    found = digests.get(config.model)
    place = "python" if config.is_built else "mlflow" if config.registered else "huggingface" if found else "file"
    return Known(place, config.model, "MODEL", (WEIGHTS,), found or (value_digest(dict(digests)) if digests else ""))


def by_stage(stage: str, before: Sequence[Known]) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """Where the columns of a dataset version came from that a stage made of others."""
    if all(known.columns == (ROW,) for known in before):
        return from_rows(before, masked=False)
    masking = _REWRITING.get(stage)
    changed = Transformation("DIRECT", "TRANSFORMATION", f"{stage} rewrites what it finds", bool(masking))
    same = Transformation("DIRECT", "IDENTITY")
    own = Transformation("DIRECT", "TRANSFORMATION", "by a hash of the content", False)
    fields = {}
    for name in SCHEMA.names:
        how, origin = (changed, name) if name in (*TEXTS, "content_id") and masking is not None else (same, name)
        if name == "split" and stage == "split":
            how, origin = own, "content_id"
        fields[name] = column_lineage_dataset.Fields([_field(known, origin, how) for known in before])
    chosen = Transformation("INDIRECT", "FILTER", f"{stage} decides which rows stay")
    decided = [_field(known, name, chosen) for known in before for name in TEXTS] if stage != "split" else []
    return column_lineage_dataset.ColumnLineageDatasetFacet(fields, decided)


def from_rows(sources: Sequence[Known], *, masked: bool) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """Where the columns of a dataset version came from that was read from sources. `masked`: and scrubbed since."""
    read = Transformation("DIRECT", "TRANSFORMATION", "read from the row", False)
    hidden = Transformation("DIRECT", "TRANSFORMATION", "read from the row, personal data replaced", True)
    fields = {
        name: column_lineage_dataset.Fields(
            [_field(known, ROW, hidden if masked and name in TEXTS else read) for known in sources]
        )
        for name in SCHEMA.names
    }
    chosen = Transformation("INDIRECT", "FILTER", "curation decides which rows stay")
    return column_lineage_dataset.ColumnLineageDatasetFacet(fields, [_field(s, ROW, chosen) for s in sources])


def learnt_from(data: Sequence[Known]) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """Where a model's weights came from: all rows that it was trained on, and the weights before."""
    trained = Transformation("DIRECT", "AGGREGATION", "trained on it", False)
    started = Transformation("DIRECT", "TRANSFORMATION", "trained from it", False)
    origins = [
        _field(known, name, started if name == WEIGHTS else trained)
        for known in data
        for name in known.columns
        if name in (*TEXTS, ROW, WEIGHTS)
    ]
    return column_lineage_dataset.ColumnLineageDatasetFacet({WEIGHTS: column_lineage_dataset.Fields(origins)}, [])


def _field(known: Known, name: str, how: Transformation) -> InputField:
    return InputField(known.namespace, known.name, name, [how])


def _fields(columns: Sequence[str]) -> list[schema_dataset.SchemaDatasetFacetFields]:
    of_rows: dict[str, Any] = {f.name: f for f in SCHEMA}
    return [
        schema_dataset.SchemaDatasetFacetFields(name, type=_type(of_rows[name].type) if name in of_rows else None)
        for name in columns
    ]


def _type(kind: pa.DataType) -> str:
    return "list<message>" if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) else str(kind)
