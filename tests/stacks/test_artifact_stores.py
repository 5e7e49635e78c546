"""Artifacts elsewhere, steps here: the same run, whatever holds its files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import outcomes
from support.servers import azurite, gcs

pytestmark = pytest.mark.stacks


def whole(infra: str, store: str, state: Path, reference: outcomes.Outcome) -> None:
    """All of configs/runs/smoke.yaml, control suites and registration included."""
    tracker = {"MLFLOW_TRACKING_URI": f"sqlite:///{state.parent}/mlflow.db"}
    made = outcomes.run(state, outcomes.SMOKE, "--infra", infra, **tracker)
    assert made.artifact_store == store and all(a.uri.startswith(store) for a in made.artifacts)
    assert outcomes.outcome(state, made.name, **tracker).differences(reference) == {}


def test_whole_run_with_artifacts_in_s3(s3: str, tmp_path: Path, reference: outcomes.Outcome) -> None:
    whole("s3", s3, tmp_path / "state", reference)


def test_whole_run_with_artifacts_in_azure_blob(
    azurite_server: str, tmp_path: Path, reference: outcomes.Outcome, away: Callable[..., None]
) -> None:
    store = f"az://{azurite.CONTAINER}/runs"
    away(**azurite.environment(azurite_server), ASSAY_BLOB_PATH=store)
    whole("blob", store, tmp_path / "state", reference)


def test_whole_run_with_artifacts_in_gcs(
    gcs_server: str, tmp_path: Path, reference: outcomes.Outcome, away: Callable[..., None]
) -> None:
    store = f"gs://{gcs.BUCKET}/runs"
    away(**gcs.environment(gcs_server), ASSAY_GCS_PATH=store)
    whole("gcs", store, tmp_path / "state", reference)
