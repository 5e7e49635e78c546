"""Files that are read where they are, by URL: fsspec's file systems, with their errors as ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from steps.contracts.digests import short_id
from steps.contracts.errors import AssayError, InputError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.engines.tracking.secrets import without_secret

# In a glob; a "?" is more often the beginning of a URL's query.
MAGIC = "*["
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\")\]]+")
_SHORT = 12


def shown(text: str) -> str:
    """A text with what may sign or open the URLs in it taken out: users, passwords, and queries but for a digest."""
    return _QUERY.sub(lambda m: f"{m[1]}?{short_id(m[0])[:_SHORT]}", without_secret(text))


@contextmanager
def reached(url: str) -> Iterator[tuple[Any, str]]:
    """The file system behind a URL, and the path in it; nothing that was known of it before counts.

    Raises:
        MissingDependencyError: the URL's protocol needs a package that isn't installed.
        InputNotFoundError, InputError, ServiceError: inside, what the file system raises.
    """
    import fsspec

    where = shown(url)
    try:
        fs, path = fsspec.core.url_to_fs(url)
        fs.invalidate_cache()
    except (ImportError, ValueError) as e:
        raise MissingDependencyError(
            f"can't open this kind of URL: {shown(str(e))}", where=where,
            hint="install the fsspec package for it (s3fs, gcsfs, adlfs ...)",
        ) from e  # fmt: skip
    with told(where):
        yield fs, str(path)


@contextmanager
def told(where: str) -> Iterator[None]:
    """What a file system raises, as ours."""
    try:
        yield
    except AssayError:
        raise
    except FileNotFoundError as e:
        raise InputNotFoundError("no such file or folder", where=where, hint="check the URL") from e
    except PermissionError as e:
        hint = "check the file's permissions, or the credentials in the environment"
        raise InputError("not allowed to read", where=where, hint=hint) from e
    except Exception as e:  # each store has errors of its own, many of them no OSError (botocore)
        what = f"the file store can't be read: {type(e).__name__}: {shown(str(e))}"
        raise ServiceError(what, where=where, hint="check the connection, the credentials and the URL") from e
