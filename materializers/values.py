"""Reports, comparisons, decisions, registrations: frozen models as JSON, with a page for the dashboard."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from materializers import layout, views
from materializers.transfer import as_json, get_value, put_main, put_text
from steps.contracts.data_report import DataReport
from steps.contracts.digests import text_digest, value_digest
from steps.contracts.evaluation import Comparison, Decision, EvalReport, Registration, WinRates
from steps.contracts.exports import ParityReport
from steps.contracts.monitoring import Monitored
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import RunRecord

_MEASURED = ("seconds", "cpu_seconds", "usage", "spent")


class ValueMaterializer(BaseMaterializer):
    """`value.json` and `view.html`."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (
        EvalReport, Comparison, Decision, Registration, Monitored, DataReport, ParityReport,
        WinRates,
    )  # fmt: skip
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA_ANALYSIS
    FILE: ClassVar[str] = layout.VALUE

    def save(self, data: Frozen) -> None:
        """Write the JSON and its digest."""
        put_main(as_json(data), f"{self.uri}/{self.FILE}", self.artifact_store)

    def load(self, data_type: type[Any]) -> Any:
        """Read, verify and validate the JSON."""
        return get_value(f"{self.uri}/{self.FILE}", self.artifact_store, data_type)

    def extract_metadata(self, data: Frozen) -> dict[str, Any]:
        """The digest of what is stored."""
        return {layout.SHA256: text_digest(as_json(data))}

    def compute_content_hash(self, data: Frozen) -> str:
        """Digest of the values; what it took is left out, so that an equal re-run keeps what follows cached."""
        return value_digest(data.model_dump(mode="json", exclude=set(_MEASURED)))

    def save_visualizations(self, data: Frozen) -> dict[str, VisualizationType]:
        """The same view as in the run's page."""
        uri = f"{self.uri}/{layout.VIEW}"
        put_text(views.as_html(data), uri, self.artifact_store)
        return {uri: VisualizationType.HTML}


class RunRecordMaterializer(ValueMaterializer):
    """`value.json`; its view is the run's page, which is an artifact of its own."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (RunRecord,)

    def save_visualizations(self, data: Frozen) -> dict[str, VisualizationType]:
        """None."""
        return {}


class StageReportMaterializer(ValueMaterializer):
    """`report.json`; the counts become metadata."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (StageReport,)
    FILE: ClassVar[str] = layout.REPORT

    def extract_metadata(self, data: Frozen) -> dict[str, Any]:
        """The counters, the reasons and the speed."""
        assert isinstance(data, StageReport)
        counts = data.model_dump(
            include={"rows_in", "created", "kept", "dropped", "quarantined", "changed", "flagged", "undecided"}
        )
        by = {"dropped_by": data.dropped_by, "quarantined_by": data.quarantined_by, "flagged_by": data.flagged_by}
        speed = {"seconds": data.seconds, "rows_per_second": data.rows_per_second}
        return {**super().extract_metadata(data), **counts, **by, **speed}
