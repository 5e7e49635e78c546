"""Links from a run to where it is seen besides."""

import pytest
from support import sample_run

from pipelines.report.dashboards import Dashboards
from pipelines.report.page import render_page


def test_a_run_of_the_local_stores_is_linked_and_one_of_a_bucket_is_not() -> None:
    page = sample_run.page()
    run = page.record.model_copy(update={"run_id": "abc", "artifact_store": "/state/artifacts"})
    assert Dashboards().of(run)["ZenML's dashboard"] == "http://127.0.0.1:8237/projects/default/runs/abc"
    assert Dashboards().of(run.model_copy(update={"artifact_store": "s3://bucket/runs"})) == {}


@pytest.mark.parametrize(("tracker", "linked"), [("sqlite:////x/mlflow.db", True), ("https://mlflow.example", False)])
def test_mlflow_is_linked_where_it_is_the_local_file(tracker: str, linked: bool) -> None:
    run = sample_run.page().record
    assert run.registration is not None
    registered = run.registration.model_copy(update={"tracking_uri": tracker, "run_id": "def"})
    found = Dashboards(mlflow="http://127.0.0.1:1").of(run.model_copy(update={"registration": registered}))
    assert found.get("MLflow") == ("http://127.0.0.1:1/#/runs/def" if linked else None)


def test_the_foot_of_the_page_leads_there() -> None:
    html = render_page(sample_run.page())
    assert 'href="http://127.0.0.1:8237/projects/default/runs/' in html.split("<footer>")[1]
