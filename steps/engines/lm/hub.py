"""The Hugging Face hub: pin a revision, download safetensors. The only module here that may touch the network."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.contracts.errors import InputNotFoundError, ServiceError

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What a causal model needs; never pickled weights, never code.
_WANTED = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]
_UNWANTED = ["original/*", "onnx/*", "*.py"]


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which never moves (a branch or tag does)."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def resolve_revision(name: str, revision: str | None) -> str:
    """The commit hash that a hub model's branch, tag or (None) default branch points to now.

    Raises:
        InputNotFoundError: no such model or revision, or it is gated and the token gives no access.
        ServiceError: the hub can't be reached.
    """
    if revision is not None and is_commit(revision):
        return revision
    from huggingface_hub import HfApi

    with _hub_errors(name, revision):
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(name, revision=revision)
    if not info.sha:
        raise ServiceError("the hub named no commit for this model", where=name, hint="set `revision` to a commit hash")
    return str(info.sha)


def download(name: str, revision: str) -> Path:
    """Folder of a hub model's files at one commit, from the local cache when they are there.

    Raises: as `resolve_revision`.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(name, revision):
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    return Path(folder)


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    import httpx2  # what huggingface_hub speaks HTTP with; its connection errors come through unwrapped
    from huggingface_hub import errors

    where = f"hub model {name}" + (f" at {revision}" if revision else "")
    try:
        yield
    except errors.GatedRepoError as e:
        hint = "accept its terms on the hub, then set HF_TOKEN to a token that may read it"
        raise InputNotFoundError("this model is gated", where=where, hint=hint) from e
    except errors.RevisionNotFoundError as e:
        raise InputNotFoundError("no such revision", where=where, hint="copy the commit hash from its history") from e
    except errors.RepositoryNotFoundError as e:
        hint = "check the spelling (owner/name); a private model needs HF_TOKEN"
        raise InputNotFoundError("no such model on the hub", where=where, hint=hint) from e
    except errors.HFValidationError as e:
        hint = "a hub id is owner/name; a local folder must exist"
        raise InputNotFoundError("neither a local folder nor a hub id", where=where, hint=hint) from e
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, httpx2.HTTPError, OSError) as e:
        hint = "go online (unset HF_HUB_OFFLINE), or download it once elsewhere and name the folder as `model`"
        raise ServiceError(f"the hub can't be reached ({type(e).__name__})", where=where, hint=hint) from e
