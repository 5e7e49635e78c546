"""Go, where it is here: tests without it say so, and fail where it is declared to be there."""

import os

import pytest

from steps.engines.exports.ollama.golang import has_go

# Set where Go must be there: a test that can't use it fails then.
DECLARED = "ASSAY_TESTS_NEED_GO"


def needs_go() -> None:
    """Skips the test where there is no Go."""
    if not has_go() and os.environ.get(DECLARED):
        pytest.fail(f"{DECLARED} is set, but go isn't on the PATH")
    if not has_go():
        pytest.skip("NOT TESTED: Ollama's templates; go isn't on the PATH (Debian: apt-get install golang-go)")
