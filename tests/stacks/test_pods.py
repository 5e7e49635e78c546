"""Steps as pods: each by ZenML's own entrypoint, in a bare process with an empty home and the code from the archive."""

import os
from pathlib import Path

import pytest
from support import outcomes, pod_stack, pods

pytestmark = [
    pytest.mark.stacks,
    pytest.mark.skipif(not os.access(pods.APP if pods.APP.exists() else "/", os.W_OK), reason="/app isn't ours"),
]


def test_whole_run_as_pods(s3: str, tmp_path: Path, numba: Path, reference: outcomes.Outcome) -> None:
    state = tmp_path / "state"
    root = pod_stack.checkout(tmp_path / "checkout")
    more = pod_stack.variables(root, state, numba)
    pod_stack.make_known(state, more)
    made = outcomes.run(state, outcomes.SMOKE, "--infra", "pods", **more)
    assert made.stack == "pods" and made.artifact_store == s3
    assert outcomes.outcome(state, made.name, **more).differences(reference) == {}
