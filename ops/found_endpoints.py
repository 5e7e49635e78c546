"""Models to compare: those with files here, and those behind an OpenAI-compatible server, named by its address and the
server's name of the model, as http://127.0.0.1:8000/v1#MODEL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from ops.found_models import FoundModel, find_models
from steps.contracts.errors import ConfigError
from steps.contracts.runs import RunRecord
from steps.engines.llm.endpoint import Endpoint

_SCHEMES = ("http://", "https://")


@dataclass(frozen=True)
class FoundEndpoint:
    """A model behind a server.

    Attributes:
        name: as it was asked for.
        run: that made it, which isn't known.
    """

    name: str
    endpoint: Endpoint
    run: RunRecord | None = None


Candidate: TypeAlias = FoundModel | FoundEndpoint


def find_candidates(root: Path, texts: Sequence[str], over: str | None, key_env: str | None) -> list[Candidate]:
    """All of them, in order. `key_env`: the variable that holds the servers' key; None: they want none.

    Raises:
        ConfigError: an address is none, or a text is named twice. As `find_models`.
    """
    served = {text: FoundEndpoint(text, served_endpoint(text, key_env)) for text in texts if is_served(text)}
    if key_env is not None and not served:
        raise ConfigError("no model here is behind a server", where="--key-env", hint="name one as URL#MODEL")
    twice = sorted({t for t in served if texts.count(t) > 1})
    if twice:
        raise ConfigError(f"named twice: {', '.join(twice)}")
    local = iter(find_models(root, [t for t in texts if t not in served], over))
    return [served[text] if text in served else next(local) for text in texts]


def is_served(text: str) -> bool:
    """Whether a name is a server's address."""
    return text.startswith(_SCHEMES)


def served_endpoint(text: str, key_env: str | None) -> Endpoint:
    """The model behind a server that URL#MODEL names.

    Raises:
        ConfigError: the address is none, or says no model.
    """
    url, _, model = text.partition("#")
    try:
        return Endpoint(base_url=url, model=model, key_env=key_env)
    except ValidationError as e:
        what = "it doesn't say which model of the server" if not model else e.errors()[0]["msg"]
        # An address may hold a password, which isn't said again.
        raise ConfigError(what, where=url.rpartition("@")[2], hint="name it as http://HOST:PORT/v1#MODEL") from e
