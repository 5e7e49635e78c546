"""Whether what a run read is still there, as it was."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.config import RunConfig
from pipelines.input_digests import Inputs, read_inputs
from pipelines.stages import STAGES
from pipelines.step_names import START
from steps.contracts.errors import AssayError, InputError
from steps.contracts.tombstones import INPUT

# Chosen: so many files are named.
_NAMED = 20


def recorded_inputs(run: Any) -> Inputs:
    """What the first step of a run (ZenML's PipelineRunResponse) found."""
    from pipelines.record import digests_of_run

    outputs = run.steps[START].outputs if START in run.steps else {}
    key_id = outputs["key_id"][0].load() if "key_id" in outputs else ""
    return Inputs(digests=digests_of_run(run), key_id=key_id)


def check_inputs(run: str, then: Inputs, root: Path, config: RunConfig) -> bool:
    """Look at everything that the run read. Returns whether rows were erased since.

    Raises:
        InputError: something isn't there any more, or differs; all of it is named.
    """
    try:
        now = read_inputs(root, config)
    except AssayError as e:
        raise InputError(f"what it read isn't there any more: {e.what}", where=f"{run}: {e.where}", hint=_HINT) from e
    wrong = [line for stage in STAGES for line in _differing(stage.name, then.of(stage.name), now.of(stage.name))]
    if then.key_id != now.key_id:
        wrong.append("scrub: the pseudonym key, or a file that scrub reads, isn't the one that it had")
    if wrong:
        more = f"\n  and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        said = "\n  ".join(wrong[:_NAMED])
        raise InputError(f"what it read isn't what is there now:\n  {said}{more}", where=run, hint=_HINT)
    return then.of("ingest").get(INPUT) != now.of("ingest").get(INPUT)


_HINT = "put back what it read (the digests are SHA-256 of the files); the same run can't be had from other data"


def _differing(stage: str, then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted((then.keys() | now.keys()) - {INPUT}):
        before, after = then.get(name), now.get(name)
        if before is None:
            yield f"{stage}: {name} is new"
        elif after is None:
            yield f"{stage}: {name} is gone"
        elif before != after:
            yield f"{stage}: {name} differs: {before[:16]} then, {after[:16]} now"
