"""`assay validate` and `assay schema`."""

import json
from pathlib import Path

from ops.console import complain, emit, explain_error, say
from steps.contracts.errors import AssayError
from steps.contracts.storage import write_whole


def validate(
    root: Path, configs: list[Path], infra: str | None, overrides: list[str], slot: str | None, json_output: bool
) -> int:
    """Check every file, also after one failed. Returns the exit status of the first that did."""
    from ops.environment import importable
    from ops.infra import load_infra
    from ops.preflight import checked
    from ops.stacks.files import stack_file
    from pipelines.slots import slot_of
    from pipelines.step_names import KNOWN_STEPS, step_names

    importable(root)
    place = load_infra(root, infra)
    stack = stack_file(root, place.stack)
    at = slot_of(slot) if slot else None
    results, status = [], 0
    for path in configs:
        notes: list[str] = []
        try:
            config, notes = checked(root, path, overrides, stack, at, place)
            load_infra(root, infra, (*KNOWN_STEPS, *step_names(config)))
        except AssayError as e:
            status = status or e.exit_code
            results.append({"config": str(path), "ok": False, "error": str(e), "notes": notes})
            if not json_output:
                complain(explain_error(e))
            continue
        results.append({"config": str(path), "ok": True, "error": None, "notes": notes})
        if not json_output:
            say(f"{path}: ok")
            for note in notes:
                say(f"  note: {note}")
    if json_output:
        emit({"configs": results})
    return status


def schema(out: Path | None) -> None:
    """Print or write the JSON Schema of RunConfig."""
    from pipelines.config import RunConfig

    text = json.dumps(RunConfig.model_json_schema(), indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text)
