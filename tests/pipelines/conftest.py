"""Whole runs leave nothing behind in the test process."""

import os
from collections.abc import Iterator

import pytest
from support.object_store import forget_file_systems, s3, s3_server  # noqa: F401 - fixtures
from support.silent_judge import silent_judge  # noqa: F401 - fixture


@pytest.fixture(scope="module", autouse=True)
def process_as_before() -> Iterator[None]:
    """A run chooses its stack, tracker and experiment for the whole process, as a command may; here others follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    import mlflow

    mlflow.set_tracking_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    forget_file_systems()
