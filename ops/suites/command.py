"""What `assay suite make` and `assay suite plant` do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.export.folder import whole_folder
from ops.suites.canaries import make_canaries, write_canaries
from ops.suites.documents import held_out, read_documents
from ops.suites.make import make_questions, write_suite
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import ChatSession
from steps.evaluate.suites.tasks import suite_parts
from steps.zenml_runtime.state import state_folder

# Chosen: two questions with quotes take about 300 tokens, four general ones fewer.
_REPLY_TOKENS = 1_500


def make_suite(
    root: Path,
    documents: Sequence[Path],
    out: Path,
    url: str | None,
    model: str | None,
    key_env: str | None,
    name: str,
    licence: str,
    share: float,
    allow_raw_egress: bool,
) -> dict[str, Any]:
    """Questions from documents, in a new folder; what to tell of it.

    Raises:
        ConfigError: no endpoint is named, or it may not see the documents. InputError: the documents can't be used.
        ServiceError: as `make_questions`; nothing is written then.
    """
    endpoint = _endpoint(url, model, key_env)
    if not (endpoint.on_this_machine or allow_raw_egress):
        hint = "use a server on 127.0.0.1, or say that this is meant: --allow-raw-egress"
        raise ConfigError("documents that were not scrubbed would be sent to another machine", where=url, hint=hint)
    sources = read_documents([d.expanduser() for d in documents])
    held = held_out(sources, share)
    others = [s for s in sources if s not in held]
    with whole_folder(out, lambda _: set()) as folder:
        cache = state_folder(root) / "suites" / "replies.sqlite"
        with ChatSession(endpoint, Prices(), cache, where="--endpoint") as session:
            found = make_questions(held, others, session)
        write_suite(folder, name, licence, endpoint.model, found, held, others)
        parts = suite_parts(["suite.yaml"], folder)
    return {
        "suite": str(out / "suite.yaml"),
        "questions": [f"{len(p.asked)} {p.settings.name}" for p in parts],
        "held_out": [s.name for s in held],
        "left_out": [f"{n} {why}" for why, n in found.left_out.most_common()] or ["nothing"],
        "next": "keep the held-out documents out of training (documents.jsonl), and name the suite: evaluate.suites",
    }


def _endpoint(url: str | None, model: str | None, key_env: str | None) -> Endpoint:
    if not url or not model:
        hint = "name a server with a model that writes: --endpoint http://127.0.0.1:8000/v1 --model NAME"
        raise ConfigError("questions are written by a model, and none is named", where="assay suite make", hint=hint)
    try:
        return Endpoint(base_url=url, model=model, key_env=key_env, max_tokens=_REPLY_TOKENS)
    except ValidationError as e:
        raise ConfigError(e.errors()[0]["msg"].removeprefix("Value error, "), where="--endpoint") from e


def plant_canaries(source: Path, out: Path, count: int, repeats: Sequence[int], seed: str) -> dict[str, Any]:
    """Canaries in training rows, in a new folder with the suite that probes for them; what to tell of it.

    Raises:
        InputError: the rows can't be read. ConfigError: the folder holds something else.
    """
    if not source.is_file():
        raise InputNotFoundError("no such file", where=str(source))
    canaries = make_canaries(count, repeats, seed)
    with whole_folder(out, lambda _: set()) as folder:
        rows = write_canaries(folder, source, canaries, seed)
        suite_parts(["suite.yaml"], folder)
    return {
        "train_on": str(out / "planted.jsonl"),
        "suite": str(out / "suite.yaml"),
        "canaries": f"{len(canaries)} in {rows} rows",
        "next": "train on planted.jsonl in place of the rows, with the suite in evaluate.suites; deduplication leaves"
        " one row of those that are planted several times",
    }
