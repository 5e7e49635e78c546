"""A model packed for a container, and what answers with it there, at the addresses that SageMaker asks:

python -m ops.deploy.container FOLDER PORT
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import JsonValue, ValidationError

from ops.commands.serve import Listening, serve_models
from ops.environment import find_root
from ops.found_models import FoundModel
from ops.serving.opening import AUTO, Opened, evaluate_settings, opened_models
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError
from steps.contracts.models import ModelFolder, ModelInfo
from steps.contracts.reports import Frozen
from steps.engines.lm.folder import check_files, model_files
from steps.engines.lm.load import weights_path
from steps.engines.subjects.local_model import Inference
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import inference

LIST = "deployed.json"
# SHA-256 of that file, in the container's environment.
EXPECTED = "ASSAY_DEPLOYED"


class _Part(Frozen):
    """Full weights, or what lies over them. `files`: SHA-256 by path."""

    info: ModelInfo
    files: dict[str, str]


class _Deployed(Frozen):
    """The list: what is asked by which name, and the settings of its evaluation that decide how it answers."""

    name: str
    parts: dict[str, _Part]
    settings: dict[str, JsonValue]


@dataclass(frozen=True)
class Packed:
    """Files by their path in the folder, and the list of them, `text`, of which `digest` is the SHA-256."""

    files: dict[str, Path]
    text: bytes
    digest: str


def packed(found: FoundModel, name: str, overrides: Sequence[str]) -> Packed:
    """The model as it was evaluated: its weights with those that it lies over, and the settings of its evaluation.

    Raises:
        ConfigError: a setting that there isn't. As `weights_path`.
    """
    tuned = found.tuned
    is_whole = tuned is None or tuned.info.kind == "full"
    parts = {"base": found.model} if is_whole else {"base": found.base, "tuned": found.model}
    files, described = dict[str, Path](), dict[str, _Part]()
    for part, model in parts.items():
        folder = weights_path(model)
        digests = model_files(folder)
        files |= {f"{part}/{path}": folder / path for path in digests}
        described[part] = _Part(info=model.info, files=digests)
    asked = evaluate_settings({name: found}, overrides)
    settings = asked.model_dump(mode="json", include={f.name for f in fields(Inference)})
    text = _Deployed(name=name, parts=described, settings=settings).model_dump_json().encode()
    return Packed(files, text, hashlib.sha256(text).hexdigest())


@contextmanager
def unpacked(folder: Path) -> Iterator[Opened]:
    """The model of a folder, ready to be asked.

    Raises:
        InputNotFoundError, IntegrityError: it isn't there as it was packed. As `opened_models`.
    """
    try:
        raw = (folder / LIST).read_bytes()
        listed = _Deployed.model_validate_json(raw)
    except FileNotFoundError as e:
        raise InputNotFoundError(f"no {LIST}: no deployed model", where=str(folder)) from e
    except ValidationError as e:
        raise IntegrityError(f"not a list of a deployed model: {e.errors()[0]['msg']}", where=str(folder / LIST)) from e
    expected = os.environ.get(EXPECTED)
    if expected is not None and hashlib.sha256(raw).hexdigest() != expected:
        raise IntegrityError(f"not the list that was deployed ({expected[:12]})", where=str(folder / LIST))
    found = {}
    for part, one in listed.parts.items():
        check_files(folder / part, one.files)
        found[part] = ModelFolder(one.info, folder / part)
    models = {listed.name: (found["base"], found.get("tuned"))}
    with opened_models(models, inference(EvaluateConfig.model_validate(listed.settings)), AUTO) as desk:
        yield desk


def _main(folder: Path, port: int) -> int:
    try:
        serve_models(find_root(), unpacked(folder), Listening("0.0.0.0", port))
    except AssayError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), int(sys.argv[2])))
