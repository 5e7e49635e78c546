"""An exported folder as a data set on a Hugging Face hub; `HF_ENDPOINT` names another one than huggingface.co."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from steps.contracts.errors import AssayError, ConfigError, InputError, ServiceError
from steps.engines.formats.training_rows import Form


def upload(folder: Path, repo: str, token_env: str, public: bool, message: str) -> str:
    """Make `repo` (OWNER/NAME) have the folder's files in one commit; returns its address.

    A data set that isn't there yet is made, a private one unless `public`. Rows of an earlier export that this one
    lacks are removed by the same commit; files of other names stay.

    Raises:
        InputError: no token. ConfigError: not a name of a data set, or it is public and `public` wasn't said.
        ServiceError: the hub can't be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    token = os.environ.get(token_env)
    if not token:
        hint = "set it to a token that may write; --token-env names another variable"
        raise InputError("no token for the hub: this environment variable is not set", where=token_env, hint=hint)
    disable_progress_bars()
    # Read here and not by the library, which reads it once, when it is imported.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    with _answering(repo):
        _make(api, repo, public)
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message=message,
            delete_patterns=[f"{form}/*" for form in get_args(Form)],
        )
    return str(done.commit_url)


def _make(api: Any, repo: str, public: bool) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(repo, repo_type="dataset")
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type="dataset", private=not public)
        return
    if not found.private and not public:
        raise ConfigError("this data set is public", where=repo, hint="--public says that it may be")


@contextmanager
def _answering(repo: str) -> Iterator[None]:
    """Turn what the library raises into our errors."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except AssayError:
        raise
    except HFValidationError as e:
        raise ConfigError(f"not a name of a data set: {e}", where=repo, hint="OWNER/NAME") from e
    except HfHubHTTPError as e:
        status = e.response.status_code
        what = f"the hub refuses ({status}): {e.server_message or str(e).splitlines()[0]}"
        hint = "does the token belong to this owner, and may it write?" if status in (401, 403, 404) else "try again"
        raise ServiceError(what, where=repo, hint=hint) from e
    except Exception as e:  # of the library's HTTP client, whichever that is, and of the hub's storage
        what = f"the upload failed: {type(e).__name__}: {e}"
        raise ServiceError(what, where=repo, hint="check the network and HF_ENDPOINT; nothing was committed") from e
