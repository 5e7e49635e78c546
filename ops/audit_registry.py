"""Whether MLflow has and serves the version that was registered."""

import json

from ops.audit_index import Check
from steps.contracts.errors import IntegrityError, ServiceError
from steps.contracts.evaluation import Registration
from steps.contracts.models import ModelInfo

# A tag that people may change by hand.
_STATUS = "status"


def check_registry(registration: Registration, model: ModelInfo | None) -> tuple[list[Check], list[str]]:
    """Checks, and what couldn't be checked, in words. `model`: None where its record is damaged."""
    from steps.register.registered import FILES, read_registered

    what = "the version is in the registry"
    try:
        found = read_registered(registration)
    except IntegrityError as e:
        return [(what, False, f"{e.where}: {e.what}")], []
    except ServiceError as e:
        return [], [f"the registered version and the files that MLflow serves: {e.where}: {e.what}"]
    if found is None:
        return [(what, False, f"{registration.tracking_uri} has no {registration.name}/{registration.version}")], []
    recorded = {k: v for k, v in registration.tags.items() if k != _STATUS}
    wrong = sorted(k for k, v in recorded.items() if found.tags.get(k) != v)
    checks = [
        (what, True, f"{registration.name}/{registration.version}"),
        ("the registry's tags are the recorded ones", not wrong, ", ".join(wrong) or f"{len(recorded)} tags"),
    ]
    expected = dict(json.loads(registration.tags.get(FILES, "{}")))
    unchecked = [] if expected else ["MLmodel, served.py, cards and gate in MLflow: registered without their digests"]
    served = {name: d for name, d in found.files.items() if name in expected}
    if model is not None:
        expected |= {f"{found.weights}/{name}": d for name, d in model.files.items()}
        # Loading refuses files that are none of the model's.
        served |= {name: d for name, d in found.files.items() if name.startswith(f"{found.weights}/")}
    damaged = sorted(n for n in expected.keys() | served.keys() if expected.get(n) != served.get(n))
    said = ", ".join(f"{name} {_said(name, expected, served)}" for name in damaged)
    return [
        *checks,
        ("MLflow serves the recorded files", not damaged, said or f"{len(expected)} files read"),
    ], unchecked


def _said(name: str, expected: dict[str, str], served: dict[str, str]) -> str:
    if name not in expected:
        return "is new"
    return "was changed" if name in served else "is gone"
