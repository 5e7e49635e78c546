"""MLflow's own format: weights or adapter, and a file of code that finds the base, verifies everything and answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steps.contracts.digests import canonical_json
from steps.contracts.errors import IntegrityError
from steps.engines.exports.export import Conversation, Exported
from steps.engines.lm.load import has_tokenizer, load_tokenizer
from steps.engines.lm.scorer import is_scorer
from steps.engines.template.dialect import Dialect
from steps.engines.template.effective import config_of
from steps.engines.template.reasoning import Markers
from steps.engines.template.render import chat_template

SERVED = Path(__file__).with_name("served.py")
# What it reads beside the weights.
SETTINGS = "served.json"
_WHEN_LOADING = ("base_location", "batch_size", "batch_tokens", "num_threads", "device")

# What served.py imports; the versions in force are pinned.
_REQUIREMENTS = ("mlflow", "torch", "transformers", "peft", "safetensors", "pandas", "fsspec")
# What fsspec needs to read a base behind such a URL.
_STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
# Conversations on standard input, answers as the last line of standard output.
_ASK = """
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
assert "steps" not in sys.modules, "it needs the project"
print(json.dumps(model.predict(pandas.DataFrame({"messages": json.load(sys.stdin)}))))
"""


class Pyfunc:
    """An MLflow pyfunc model from code. Nothing of an adapter's base is copied."""

    def write(self, exported: Exported, folder: Path) -> Path:
        """Write MLflow's folder: `MLmodel`, `served.py`, the weights below `artifacts/`."""
        import mlflow

        with _saved(exported) as saved:
            mlflow.pyfunc.save_model(str(folder), **saved)
        return folder

    def log(self, exported: Exported, name: str) -> str:
        """The same folder as a logged model."""
        import mlflow

        with _saved(exported) as saved:
            return str(mlflow.pyfunc.log_model(name=name, **saved).model_uri)

    def answers(self, location: str, conversations: Sequence[Conversation], scratch: Path) -> list[str]:
        """Loaded by MLflow alone, with the tracking URI in force."""
        import mlflow

        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", _ASK, location],
            input=json.dumps(list(conversations)), capture_output=True, text=True, cwd=scratch, check=False,
            env={**kept, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise IntegrityError(f"the export doesn't answer: {last[:300]}", where=location)
        answers: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
        return answers


@contextmanager
def _saved(exported: Exported) -> Iterator[dict[str, Any]]:
    """Arguments of MLflow's functions, while it copies. It copies modes too, and the code's is the checkout's."""
    settings = served_config(exported)
    with TemporaryDirectory() as folder:
        # MLflow makes a parameter of each value of model_config: only those that may be given when loading are there.
        file = Path(folder) / SETTINGS
        file.write_text(canonical_json({k: v for k, v in settings.items() if k not in _WHEN_LOADING}))
        artifacts = {"model": exported.model.path, "settings": file, **exported.beside}
        yield {
            "python_model": shutil.copyfile(SERVED, f"{folder}/{SERVED.name}"),
            "artifacts": {name: str(path) for name, path in artifacts.items()},
            "model_config": {name: settings[name] for name in _WHEN_LOADING},
            "signature": signature(exported.decoding.max_new_tokens, scores=is_scorer(exported.model)),
            "pip_requirements": requirements(exported),
            "metadata": dict(exported.tags),
        }


def served_config(exported: Exported) -> dict[str, Any]:
    """What served.py needs to give the answers that were evaluated."""
    base, info, decoding = exported.base.info, exported.model.info, exported.decoding
    whole = exported.model if has_tokenizer(exported.model) else exported.base
    tokenizer = load_tokenizer(whole)
    template = chat_template(tokenizer, config_of(info.template)) if tokenizer.chat_template else None
    return {
        "kind": info.kind,
        "scores": is_scorer(exported.model),
        "pad_token_id": tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        "model_files": dict(info.files),
        "base_source": base.base.source,
        "base_name": base.base.name,
        "base_revision": base.base.revision,
        "base_digest": base.base.digest,
        "base_files": dict(base.files),
        "base_location": exported.base_location,
        "max_new_tokens": decoding.max_new_tokens,
        "generation": dict(decoding.generation),
        "stop_token_ids": list(decoding.stop_token_ids),
        "batch_size": decoding.batch_size,
        "batch_tokens": decoding.batch_tokens,
        "dtype": decoding.dtype,
        "num_threads": decoding.num_threads,
        "device": "auto",
        "thinking": config_of(info.template).thinking,
        "dialect": asdict(template.dialect if template else Dialect()),
        "markers": asdict(template.markers if template else Markers()),
    }


def signature(max_new_tokens: int, *, scores: bool = False) -> Any:
    """Input columns `messages`, `prompt` and `tools` (one of the first two per row), output text (`scores`: a number),
    one parameter.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, Object, ParamSchema, ParamSpec, Property, Schema

    optional = ("content", "name", "tool_calls", "tool_call_id", "reasoning_content")
    turn = Object([Property("role", "string"), *(Property(n, "string", required=False) for n in optional)])
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(Array(turn), "messages", required=False),
                ColSpec("string", "prompt", required=False),
                ColSpec("string", "tools", required=False),
            ]
        ),
        outputs=Schema([ColSpec("double" if scores else "string")]),
        params=None if scores else ParamSchema([ParamSpec("max_new_tokens", "long", max_new_tokens)]),
    )


def requirements(exported: Exported) -> list[str]:
    """Pinned requirements of the served model; a local build's suffix (torch 2.13.0+cpu) is no part of a version."""
    scheme, _, path = exported.base_location.partition("://")
    store = _STORES.get(scheme) if path else None
    return [_pinned(name) for name in (*_REQUIREMENTS, *([store] if store else []))] + [*exported.requirements]


def _pinned(name: str) -> str:
    try:
        return f"{name}=={version(name).split('+')[0]}"
    except PackageNotFoundError:  # a store's client need not be installed where the model is registered
        return name
