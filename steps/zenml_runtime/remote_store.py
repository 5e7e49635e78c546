"""ZenML's store where it is a server, or a database that several open: found out in seconds whether it can be used, and
asked with patience once it was.

ZenML itself would wait for minutes for a server that takes connections and says nothing, and bring a database of an
older version up to date under those who still use that version.
"""

import json
import socket
import urllib.error
import urllib.request
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import zenml
from requests import RequestException
from requests.adapters import HTTPAdapter
from sqlalchemy.exc import SQLAlchemyError
from urllib3.util.retry import Retry
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.enums import StoreType
from zenml.exceptions import AuthorizationException, CredentialsNotValid
from zenml.zen_stores.rest_zen_store import RestZenStore

from steps.contracts.errors import AssayError, ConfigError, ServiceError
from steps.engines.progress.progress import say
from steps.engines.tracking.secrets import without_secret

# Chosen: a busy server on two loaded cores answers sooner; in seconds.
_SECONDS = 10.0
# A server that is restarted refuses connections meanwhile: ZenML gives it half a minute, this four, in tries whose
# pauses double up to a minute. Measured: one on two loaded cores needs 54 s to be back.
_TRIES, _LONGEST = 9, 60
_DOWN = "start it, or correct ZENML_STORE_URL; `assay zenml login URL` changes a server that was logged in to"
_REFUSED = (
    "`assay zenml login {url}` gives new ones; a service account's key goes into ZENML_STORE_API_KEY: one that was"
    " revoked or rotated, or has ended, is of no use any more"
)


@cache
def check_store() -> None:
    """Look at the store that GlobalConfiguration names, once per process.

    Raises:
        ServiceError: it can't be reached, doesn't answer, or refuses the credentials. ConfigError: it is of another
            version of ZenML.
    """
    config = GlobalConfiguration().store_configuration
    url = str(config.url)
    if config.type == StoreType.REST:
        _check_server(url)
        _check_credentials(url)
    else:
        _check_database(url)


def _check_server(url: str) -> None:
    version = _version_of_server(url)
    if version != zenml.__version__:
        raise ConfigError(
            f"this server runs ZenML {version}, and this is {zenml.__version__}",
            where=url,
            hint="have the server brought to this version, or use a checkout whose constraints.txt has that one",
        )


def _version_of_server(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/info", timeout=_SECONDS) as reply:
            return str(json.loads(reply.read(1 << 20))["version"])
    except urllib.error.HTTPError as e:
        what = f"no ZenML server, or one that is broken: it answers with status {e.code}"
    except (ValueError, KeyError, TypeError):
        what = "no ZenML server: what it answers says no version"
    except OSError as e:
        what = _silence(e) or f"ZenML's server can't be reached: {getattr(e, 'reason', e)}"
    raise ServiceError(what, where=without_secret(url), hint=_DOWN)


def _silence(error: OSError) -> str:
    """What is to be said of a server that takes connections and doesn't answer; "" of others."""
    if isinstance(getattr(error, "reason", error), TimeoutError):
        return f"ZenML's server didn't answer within {_SECONDS:g} s: it hangs, or something on the way swallows it"
    return ""


def _check_credentials(url: str) -> None:
    try:
        store = Client().zen_store
        Client().active_user  # noqa: B018 - asked for what it raises
    except Exception as e:
        if refused(e):
            raise credentials_error(e) from e
        raise
    if isinstance(store, RestZenStore):
        _be_patient(store)


def refused(error: BaseException) -> bool:
    """Whether ZenML's server said that it doesn't know who asks, or not any more."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AuthorizationException | CredentialsNotValid):
            return True
        seen = seen.__cause__
    return False


def credentials_error(error: BaseException) -> ServiceError:
    """What is said of it."""
    url = str(GlobalConfiguration().store_configuration.url)
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return ServiceError(f"ZenML's server refuses the credentials: {first}", where=url, hint=_REFUSED.format(url=url))


def store_error(error: BaseException) -> AssayError | None:
    """An error of a step or a command as one that names ZenML's store, where it comes from there; None otherwise."""
    if refused(error):
        return credentials_error(error)
    config = GlobalConfiguration().store_configuration
    url = str(config.url)
    asked = getattr(getattr(error, "request", None), "url", "") or ""
    of_server = isinstance(error, RequestException) and config.type == StoreType.REST and asked.startswith(url)
    of_database = isinstance(error, SQLAlchemyError) and not url.startswith("sqlite")
    if not of_server and not of_database:
        return None
    first = str(error).strip().splitlines()[0][:200]
    what = f"ZenML's store doesn't answer any more: {type(error).__name__}: {without_secret(first)}"
    hint = "once it is back, `assay runs --sync` says what became of the run; finished steps are reused"
    return ServiceError(what, where=without_secret(url), hint=hint)


class _Patient(Retry):
    """ZenML's tries, more of them, and said once."""

    def sleep(self, response: Any = None) -> None:
        """Between two tries."""
        _say_waiting()
        super().sleep(response)


@cache
def _say_waiting() -> None:
    say("ZenML's server doesn't answer; it is asked again for some minutes")


def _be_patient(store: RestZenStore) -> None:
    """For what comes after the first answers: a run that computes for hours outlives a restart of the server."""
    for prefix in ("http://", "https://"):
        adapter = store.session.get_adapter(prefix)
        if isinstance(adapter, HTTPAdapter) and not isinstance(adapter.max_retries, _Patient):
            known = adapter.max_retries
            adapter.max_retries = _Patient(
                total=known.total, connect=_TRIES, read=known.read, redirect=known.redirect, status=known.status,
                other=known.other, allowed_methods=known.allowed_methods, status_forcelist=known.status_forcelist,
                backoff_factor=known.backoff_factor, backoff_max=_LONGEST,
            )  # fmt: skip


def _check_database(url: str) -> None:
    """MySQL or MariaDB. A server of theirs speaks first, so that one that hangs is told by its silence."""
    parts = urlsplit(url)
    where = without_secret(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 3306), _SECONDS) as connection:
            connection.settimeout(_SECONDS)
            greeted = bool(connection.recv(1))
    except TimeoutError as e:
        what = f"ZenML's database didn't answer within {_SECONDS:g} s: it hangs, or something on the way swallows it"
        raise ServiceError(what, where=where, hint=_DOWN) from e
    except OSError as e:
        raise ServiceError(f"ZenML's database can't be reached: {e}", where=where, hint=_DOWN) from e
    if not greeted:
        raise ServiceError("what listens there closes the connection at once", where=where, hint=_DOWN)
    _check_revision(url, where)


def _check_revision(url: str, where: str) -> None:
    """Whether tables of ours are there; none is as good, since ZenML makes them then."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.engine import make_url

    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"), connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as connection:
            has = inspect(connection).has_table("alembic_version")
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() if has else []
    except SQLAlchemyError as e:
        reason = str(getattr(e, "orig", None) or e).splitlines()[0]
        if "Unknown database" in reason:  # ZenML makes it
            return
        raise ServiceError(f"ZenML's database refuses: {reason[:200]}", where=where, hint=_DOWN) from e
    finally:
        engine.dispose()
    if found and found != [zenml.__version__]:
        raise ConfigError(
            f"this database is of ZenML {', '.join(found)}, and this is {zenml.__version__}",
            where=where,
            hint="who keeps it brings it up to date for all its users (after a dump: `assay zenml status`), or use a"
            " checkout whose constraints.txt has that version",
        )
