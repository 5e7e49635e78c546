"""Whether the registry has and serves the version that was registered."""

import json
from collections.abc import Iterator

from ops.audit.findings import Finding, held
from steps.contracts.errors import IntegrityError, ServiceError
from steps.contracts.evaluation import Registration
from steps.contracts.models import ModelInfo
from steps.register.registered import FILES, Registered

# A tag that people may change by hand.
_STATUS = "status"
_THERE = "the version is in the registry"


def check_registry(registration: Registration, model: ModelInfo | None) -> Iterator[Finding]:
    """Ask the registry itself, and read every file of the version. `model`: None where its record is damaged."""
    from steps.register.registered import read_registered

    try:
        found = read_registered(registration)
    except IntegrityError as e:
        yield Finding(_THERE, "differs", f"{e.where}: {e.what}")
        return
    except ServiceError as e:
        yield Finding(_THERE, "not reached", f"{e.where}: {e.what}")
        return
    if found is None:
        what = f"{registration.tracking_uri} has no {registration.name}/{registration.version}"
        yield Finding(_THERE, "gone", what)
        return
    yield Finding(_THERE, "holds", f"{registration.name}/{registration.version}")
    recorded = {k: v for k, v in registration.tags.items() if k != _STATUS}
    wrong = sorted(k for k, v in recorded.items() if found.tags.get(k) != v)
    yield held("the registry's tags are the recorded ones", not wrong, ", ".join(wrong) or f"{len(recorded)} tags")
    yield from _check_files(registration, found, model)


def _check_files(registration: Registration, found: Registered, model: ModelInfo | None) -> Iterator[Finding]:
    expected = dict(json.loads(registration.tags.get(FILES, "{}")))
    if not expected:
        yield Finding("MLmodel, served.py, cards and gate in MLflow", "unrecorded", "registered without their digests")
    served = {name: d for name, d in found.files.items() if name in expected}
    if model is not None:
        expected |= {f"{found.weights}/{name}": d for name, d in model.files.items()}
        # Loading refuses files that are none of the model's.
        served |= {name: d for name, d in found.files.items() if name.startswith(f"{found.weights}/")}
    damaged = sorted(n for n in expected.keys() | served.keys() if expected.get(n) != served.get(n))
    said = ", ".join(f"{name} {_said(name, expected, served)}" for name in damaged)
    yield held("the registry serves the recorded files", not damaged, said or f"{len(expected)} files")


def _said(name: str, expected: dict[str, str], served: dict[str, str]) -> str:
    if name not in expected:
        return "is new"
    return "was changed" if name in served else "is gone"
