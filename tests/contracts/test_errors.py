"""Exit statuses are what scripts rely on; an error reads: where, what, way out."""

import pytest

from steps.contracts import errors
from steps.contracts.errors import AssayError, WorkerDiedError


def test_the_exit_status_of_each_error() -> None:
    found = {
        e.__name__: e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, AssayError)
    }
    assert found == {
        "AssayError": 1, "ConfigError": 2, "InputError": 3, "InputNotFoundError": 3, "MissingDependencyError": 4,
        "OutOfMemoryError": 2, "ServiceError": 5, "StorageError": 6, "IntegrityError": 7, "StepFailedError": 1,
        "UnsafeSerializationError": 8, "TrainingDataError": 3, "WorkerDiedError": 1, "StepTimeoutError": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "what"),
        ({"where": "here"}, "here: what"),
        ({"hint": "so"}, "what\n  way out: so"),
        ({"where": "here", "hint": "so"}, "here: what\n  way out: so"),
        ({"where": "", "hint": ""}, "what"),
    ],
)
def test_an_error_in_words(parts: dict[str, str], text: str) -> None:
    for error in (AssayError("what", **parts), WorkerDiedError("what", 7, **parts)):
        assert str(error) == text
        assert (error.what, error.where, error.hint) == ("what", parts.get("where"), parts.get("hint"))
    assert WorkerDiedError("what", 7).item == 7 and WorkerDiedError("what").item is None
