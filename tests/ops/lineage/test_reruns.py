"""Which parts of two cache keys differ, and what is said of a step that a run would have."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import sample_run

from ops.commands.reruns import _changes, _line
from ops.lineage.reruns import Change, Rerun, _planned, changes_between
from steps.zenml_runtime import cache_keys
from steps.zenml_runtime.cache_keys import UNKNOWN, KeyParts, PlannedStep, StepOfRun
from steps.zenml_runtime.step import CacheKey, cache_key

CODE = {"steps.dedup.dedup": "aaa", "steps.contracts.dataset": "bbb"}


def parts(
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    code: Mapping[str, str] | None = CODE,
    libraries: Mapping[str, str] | None = None,
    store: str = "1 /store",
) -> KeyParts:
    return KeyParts(settings or {}, inputs or {"rows": "1"}, code, libraries or {"numpy": "2.0"}, store)


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (parts(), []),
        (parts({"config": {"a": [1, {}]}}), [Change("settings", "a.0", None, 1), Change("settings", "a.1", None, {})]),
        (parts(inputs={"rows": "2"}), [Change("input", "rows", "1", "2")]),
        (parts(inputs={"rows": UNKNOWN}), []),
        (parts(inputs={"rows": f"1 {UNKNOWN}"}), []),
        (parts(code={**CODE, "steps.dedup.dedup": "ccc"}), [Change("code", "steps.dedup.dedup", "aaa", "ccc")]),
        (parts(code={"steps.dedup.dedup": "aaa"}), [Change("code", "steps.contracts.dataset", "bbb", None)]),
        # Not recorded by older versions: nothing is said of it.
        (parts(code=None), []),
        (parts(libraries={"numpy": "2.1"}), [Change("library", "numpy", "2.0", "2.1")]),
        (parts(store="1 /other"), [Change("store", "artifact store", "1 /store", "1 /other")]),
    ],
)  # fmt: skip
def test_parts_that_differ(after: KeyParts, changes: list[Change]) -> None:
    assert list(changes_between(parts(), after)) == changes


def test_lists_and_tuples_of_settings_are_compared_by_their_values() -> None:
    before, after = (
        parts({"config": {"names": ["a", "b"], "empty": []}}),
        parts({"config": {"names": ("a", "c"), "empty": []}}),
    )
    assert list(changes_between(before, after)) == [Change("settings", "names.1", "b", "c")]


def _step(taken_from: str | None, after: KeyParts, cached: bool = True) -> PlannedStep:
    return PlannedStep("dedup_step", taken_from, cached, after, {"rows": "ingest_step", "config": "start_step"})


def test_what_a_planned_step_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two earlier runs: the older one had the same settings as what is planned."""
    runs = [sample_run.record(name) for name in ("newer", "older")]
    runs = [r.model_copy(update={"run_id": r.name}) for r in runs]
    settings = {"newer": {"config": {"threshold": 0.9}}, "older": {"config": {"threshold": 0.7}}}
    monkeypatch.setattr(
        cache_keys,
        "steps_of",
        lambda run: {"dedup_step": StepOfRun(run, "dedup_step", "completed", "", True, parts(settings[run]))},
    )
    planned = parts(settings["older"], {"rows": UNKNOWN})
    assert _planned(_step(None, planned), runs, ["start_step", "ingest_step"]) == Rerun(
        "dedup_step", "depends", compared_with="older", upstream=("ingest_step",)
    )
    other = _planned(_step(None, parts({"config": {"threshold": 0.8}}, {"rows": UNKNOWN})), runs, ["ingest_step"])
    assert (other.state, other.compared_with) == ("runs", "newer")
    assert other.changes == (Change("settings", "threshold", 0.9, 0.8),)
    assert _line(other) == "threshold: 0.9 -> 0.8"
    assert _planned(_step("older", planned), runs, []).taken_from == "older"
    assert "--no-cache" in _planned(_step("", planned, cached=False), runs, []).why
    assert _planned(_step("", parts()), [], []).why == "no run of this config ended this step well"
    gone = _planned(_step("", parts(settings["older"])), runs, [])
    assert (gone.state, gone.why) == ("runs", "no part of the key differs: what was kept for it has been removed since,"
                                              " or expired")  # fmt: skip


def test_many_changed_modules_are_counted() -> None:
    changes = [Change("code", f"steps.m{n}", "a", None if n == 0 else "b") for n in range(10)]
    (line,) = _changes(changes)
    assert line.startswith("code: steps.m0 (gone), steps.m1, ") and line.endswith(" and 2 more")


def test_a_cache_key_says_what_it_is_made_of() -> None:
    key = cache_key("steps.gate.step", ["numpy", "not-installed"])
    assert isinstance(key, CacheKey) and key == str(key) and len(key) == 64
    assert key.parts["libraries"]["not-installed"] == "-"
    assert "steps.gate.gate" in key.parts["code"] and "steps.zenml_runtime.step" not in key.parts["code"]
    assert {len(digest) for digest in key.parts["code"].values()} == {12}


def test_an_input_looks_to_zenml_as_one_of_its_own(tmp_path: Path) -> None:
    """Contract with ZenML: what its key takes of an input."""
    from zenml.orchestrators.cache_utils import generate_cache_key

    read: set[str] = set()

    class Watched(SimpleNamespace):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    policy = SimpleNamespace(include_step_parameters=True, ignored_inputs=None, include_artifact_values=True,
                             include_artifact_ids=True, include_step_code=False, file_dependencies=None,
                             source_dependencies=None, cache_func=None)  # fmt: skip
    config = SimpleNamespace(
        cache_policy=policy, parameters={}, outputs={}, caching_parameters={}, environment={}, secrets=[]
    )
    step: Any = SimpleNamespace(config=config, spec=SimpleNamespace(source=SimpleNamespace(import_path="x")))
    store: Any = SimpleNamespace(id=SimpleNamespace(bytes=b"1"), path="/s", custom_cache_key=None)
    given = Watched(**vars(cache_keys._input("d")))
    generate_cache_key(step, {"rows": [given]}, store, SimpleNamespace(bytes=b"2"))  # type: ignore[arg-type,list-item]
    assert {n for n in read if not n.startswith("__")} <= {"content_hash", "id", "chunk_index"}
