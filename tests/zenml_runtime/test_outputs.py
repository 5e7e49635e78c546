"""Steps with named outputs, against the pinned ZenML."""

from typing import Annotated, NamedTuple

import pytest
from zenml import pipeline

from steps.contracts.reports import StageReport
from steps.dedup.step import DedupOutputs, dedup_step
from steps.evaluate.step import EvaluateOutputs, evaluate_step
from steps.split.step import split_step
from steps.zenml_runtime.outputs import artifact_names, named_outputs, output_class, returning_tuple


class Pair(NamedTuple):
    left: Annotated[int, "left_artifact"]
    right: Annotated[str, "right_artifact"]


def pair(n: int) -> Pair:
    """Say what it is."""
    return Pair(n, str(n))


def single() -> Annotated[int, "one"]:
    return 1


def test_only_a_named_tuple_names_outputs() -> None:
    assert named_outputs(pair) is Pair and named_outputs(single) is None
    assert artifact_names(Pair) == {"left": "left_artifact", "right": "right_artifact"}


def test_zenml_sees_the_names_and_types_of_a_tuple() -> None:
    step = returning_tuple(pair, Pair)
    assert step(2) == (2, "2") and step.__name__ == "pair" and step.__doc__ == "Say what it is."
    outputs = dedup_step.entrypoint_definition.outputs
    assert list(outputs) == ["deduped", "dedup_ledger", "dedup_report", "dedup_index"]
    assert outputs["dedup_report"].resolved_annotation is StageReport


def test_fields_known_at_run_time_only() -> None:
    made = output_class("Made", {"ingest": (dict[str, str], "ingest_inputs"), "key_id": (str, "key_id")})
    assert artifact_names(made) == {"ingest": "ingest_inputs", "key_id": "key_id"}
    assert made({}, "k").key_id == "k"


def test_a_pipeline_reads_handles_by_name() -> None:
    seen = []

    @pipeline
    def chain() -> None:
        done = split_step(dedup_step(None, {}, False).rows, {})
        seen.append(done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(dedup_step), "_handle_call_during_compilation", lambda self, **_: ["r", "l", "p", "i"])
        patch.setattr(type(split_step), "_handle_call_during_compilation", lambda self, args, **_: [args[0], "l", "p"])
        chain.copy().prepare()
    (done,) = seen
    assert (done.rows, done.ledger, done.report) == ("r", "l", "p")


def test_options_keep_the_names() -> None:
    step = evaluate_step.with_options(substitutions={"subject": "tuned"})
    assert type(step) is type(evaluate_step) and EvaluateOutputs._fields == ("report", "answers")
    assert list(step.entrypoint_definition.outputs) == ["evaluation_{subject}", "answers_{subject}"]


def test_the_source_that_zenml_keeps_is_the_steps_own() -> None:
    assert "def dedup_step(" in dedup_step.source_code and DedupOutputs._fields[0] == "rows"
