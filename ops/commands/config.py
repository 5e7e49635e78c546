"""`assay validate` and `assay schema`."""

import json
from pathlib import Path

from ops.console import complain, emit, explain_error, say
from steps.contracts.errors import AssayError
from steps.contracts.storage import write_whole


def validate(configs: list[Path], overrides: list[str], json_output: bool) -> int:
    """Check every file, also after one failed. Returns the exit status of the first that did."""
    from pipelines.config import RunConfig
    from pipelines.load import load_model

    results, status = [], 0
    for path in configs:
        try:
            load_model(RunConfig, path, overrides)
        except AssayError as e:
            status = status or e.exit_code
            results.append({"config": str(path), "ok": False, "error": str(e)})
            if not json_output:
                complain(explain_error(e))
        else:
            results.append({"config": str(path), "ok": True, "error": None})
            if not json_output:
                say(f"{path}: ok")
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
