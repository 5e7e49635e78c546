"""Talking to MLflow: its errors are one of ours, it is not waited for long, and no password is told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from steps.contracts.errors import ServiceError
from steps.engines.tracking.secrets import without_secret

# Seconds and tries. A server that is down refuses the connection and is told at once; one that accepts it and says
# nothing gets the time that a busy one took to answer in our tests (over 5 s on two loaded cores). An upload may
# take longer.
PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
WORK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}


@contextmanager
def service(uri: str) -> Iterator[None]:
    """What MLflow and its HTTP client raise, as one error that names the server and not the password."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as e:
        reached = "can't be reached" if _unreachable(e) else "refused"
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ServiceError(
            f"MLflow {reached}: {without_secret(first)[:300]}",
            where=without_secret(uri),
            hint="start the server or check MLFLOW_TRACKING_URI and its credentials; the run resumes at this step",
        ) from e


def _unreachable(error: BaseException) -> bool:
    text = str(error)
    return any(s in text for s in ("Max retries", "Connection", "timed out", "Timeout"))


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Variables of the environment, as they were before afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
