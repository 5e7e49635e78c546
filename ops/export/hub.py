"""An exported folder as a data set or a model on a Hugging Face hub; `HF_ENDPOINT` names another one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

from steps.contracts.errors import AssayError, ConfigError, InputError, ServiceError
from steps.engines.formats.training_rows import Form

_KINDS = {"dataset": "data set", "model": "model"}
# What exports of models write.
_EXPORTED = (
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "Modelfile", "adapter_config.json", "config.json",
    "generation_config.json", "chat_template.jinja", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "export.json", "DATA.md",
)  # fmt: skip


def upload(folder: Path, repo: str, token_env: str, public: bool, message: str) -> str:
    """Make `repo` (OWNER/NAME) have the folder's files in one commit; returns its address.

    A data set that isn't there yet is made, a private one unless `public`. Rows of an earlier export that this one
    lacks are removed by the same commit; files of other names stay.

    Raises:
        InputError: no token. ConfigError: not a name of a data set, or it is public and `public` wasn't said.
        ServiceError: the hub can't be reached, or refuses.
    """
    api = _api(token_env)
    with _answering(repo):
        _make(api, repo, public, "dataset")
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message=message,
            delete_patterns=[f"{form}/*" for form in get_args(Form)],
        )
    return str(done.commit_url)


def push_model(
    folder: Path, texts: Mapping[str, str], repo: str, token_env: str, public: bool, message: str
) -> str:  # fmt: skip
    """Make the model `repo` (OWNER/NAME) have the folder's files and `texts` in one commit; returns OWNER/NAME@COMMIT.

    A model that isn't there yet is made, a private one unless `public`. Files that an earlier export wrote there and
    this one lacks are removed by the same commit; others stay.

    Raises: as `upload`; StorageError, InputNotFoundError: a file can't be read.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = _api(token_env)
    files: dict[str, Path | bytes] = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    files |= {name: text.encode() for name, text in texts.items()}
    with _answering(repo):
        _make(api, repo, public, "model")
        there = api.list_repo_files(repo, repo_type="model")
        old = [n for n in there if n not in files and any(fnmatch(n, p) for p in _EXPORTED)]
        added = [CommitOperationAdd(name, str(c) if isinstance(c, Path) else c) for name, c in sorted(files.items())]
        done = api.create_commit(
            repo, [*added, *(CommitOperationDelete(n) for n in old)], repo_type="model", commit_message=message
        )
    return f"{repo}@{done.oid}"


def require_model_repo(repo: str, token_env: str, public: bool) -> None:
    """Look, before anything is exported, whether it could be pushed there. Raises as `push_model`."""
    from huggingface_hub.errors import RepositoryNotFoundError

    api = _api(token_env)
    with _answering(repo):
        try:
            _check_public(api.repo_info(repo, repo_type="model"), repo, public, "model")
        except RepositoryNotFoundError:
            return


def _api(token_env: str) -> Any:
    """The library's client, with the token that an environment variable holds."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    token = os.environ.get(token_env)
    if not token:
        hint = "set it to a token that may write; --token-env names another variable"
        raise InputError("no token for the hub: this environment variable is not set", where=token_env, hint=hint)
    disable_progress_bars()
    # Read here and not by the library, which reads it once, when it is imported.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)


def _make(api: Any, repo: str, public: bool, kind: str) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(repo, repo_type=kind)
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type=kind, private=not public)
        return
    _check_public(found, repo, public, kind)


def _check_public(found: Any, repo: str, public: bool, kind: str) -> None:
    if not found.private and not public:
        raise ConfigError(f"this {_KINDS[kind]} is public", where=repo, hint="--public says that it may be")


@contextmanager
def _answering(repo: str) -> Iterator[None]:
    """Turn what the library raises into our errors."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except AssayError:
        raise
    except HFValidationError as e:
        raise ConfigError(f"not a name of a repository: {e}", where=repo, hint="OWNER/NAME") from e
    except HfHubHTTPError as e:
        status = e.response.status_code
        what = f"the hub refuses ({status}): {e.server_message or str(e).splitlines()[0]}"
        hint = "does the token belong to this owner, and may it write?" if status in (401, 403, 404) else "try again"
        raise ServiceError(what, where=repo, hint=hint) from e
    except Exception as e:  # of the library's HTTP client, whichever that is, and of the hub's storage
        what = f"the upload failed: {type(e).__name__}: {e}"
        raise ServiceError(what, where=repo, hint="check the network and HF_ENDPOINT; nothing was committed") from e
