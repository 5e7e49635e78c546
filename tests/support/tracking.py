"""MLflow as a test needs it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tracking_at(uri: str) -> Iterator[None]:
    """MLflow's tracking URI, as it was before afterwards."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
