"""Where events about runs go (OpenLineage, https://openlineage.io)."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import Field

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen

# What the clients of other programs read as well.
URL, NAMESPACE, PATH, DISABLED, KEY = (
    f"OPENLINEAGE_{name}" for name in ("URL", "NAMESPACE", "ENDPOINT", "DISABLED", "API_KEY")
)


class OpenLineageConfig(Frozen):
    """Where a run's events go. No number and no cache key depends on it."""

    url: str | None = Field(
        None,
        description="http(s) URL of a server, or a file that each event is a line of; null: OPENLINEAGE_URL of the"
        " launcher, and without it no events",
    )
    namespace: str | None = Field(
        None, description="of jobs and of what they make; null: OPENLINEAGE_NAMESPACE, else assay"
    )
    # Chosen: what nobody minds at either end of a run of minutes.
    timeout: float = Field(
        5, gt=0, le=60, description="seconds that a run waits at most for its events to be taken, at each end"
    )


class Endpoint(Frozen):
    """The same with everything said; a run carries it in its `extra`. A key isn't part of it: OPENLINEAGE_API_KEY.

    Attributes:
        url: of a server (http, https), of a file, or the path of a file of this machine.
        path: of the server that takes events.
        seconds: to wait at most, for all events of one moment.
    """

    url: str
    path: str = "api/v1/lineage"
    namespace: str = "assay"
    seconds: float = 5

    @property
    def is_server(self) -> bool:
        """Whether events are posted, and not written."""
        return urlsplit(self.url).scheme in ("http", "https")


def endpoint(config: OpenLineageConfig, environment: Mapping[str, str]) -> Endpoint | None:
    """Where events go; None: nowhere.

    Raises:
        ConfigError: the URL holds a password, or names no host.
    """
    url = (config.url or environment.get(URL, "")).strip()
    if not url or environment.get(DISABLED, "").strip().lower() == "true":
        return None
    _check(url)
    return Endpoint(
        url=url,
        path=environment.get(PATH) or Endpoint.model_fields["path"].default,
        namespace=config.namespace or environment.get(NAMESPACE) or Endpoint.model_fields["namespace"].default,
        seconds=config.timeout,
    )


def _check(url: str) -> None:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        what = "the URL of OpenLineage holds a user or a password, and a run keeps it in clear"
        raise ConfigError(what, where=URL, hint=f"leave it out, and set {KEY}")
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ConfigError(f"the URL of OpenLineage names no host: {url}", where=URL, hint="http://HOST:PORT")
