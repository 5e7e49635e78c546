"""Where durable state lies, as an infra file says it."""

from pathlib import Path

import pytest

from ops.infra import InfraConfig, load_infra
from pipelines.step_names import KNOWN_STEPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("said", "uri"),
    [
        (None, None),
        ("state", "s3://bucket/runs/state"),
        ("a/b", "s3://bucket/runs/a/b"),
        ("gs://other/state", "gs://other/state"),
        ("/shared/state", "/shared/state"),
    ],
)
def test_state_is_a_url_a_folder_or_below_the_artifact_store(said: str | None, uri: str | None) -> None:
    assert InfraConfig(stack="x", state=said).state_uri("s3://bucket/runs/") == uri


def test_declared_stacks_say_where_state_lasts() -> None:
    here, s3 = (load_infra(ROOT, name, (*KNOWN_STEPS, "evaluate_step")) for name in ("local", "s3"))
    assert here.state_uri("/artifacts") is None
    assert s3.state_uri("s3://bucket/runs") == "s3://bucket/runs/state"
