"""Whether lm_eval is there."""

from importlib.util import find_spec

from steps.contracts.errors import MissingDependencyError

HOW_TO_GET_IT = "pip install 'assay[lm-eval]'"


def require_harness() -> None:
    """Raises MissingDependencyError: lm_eval isn't installed."""
    try:
        found = find_spec("lm_eval")
    except ValueError:
        found = None
    if found is None:
        raise MissingDependencyError("evaluate.lm_eval needs lm_eval", hint=HOW_TO_GET_IT)
