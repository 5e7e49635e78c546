"""Rows that may hold personal data, and what is made from them, stay on this machine unless a config says otherwise."""

from collections.abc import Iterable

from steps.contracts.errors import ConfigError
from steps.engines.llm.endpoint import Connection, on_this_machine


def refuse_egress(servers: Iterable[Connection | str | None], *, scrubbed: bool, allowed: bool, where: str) -> None:
    """Stop before rows go to one of these servers that isn't at a loopback address or a localhost name.

    scrubbed: whether personal data was removed from the rows; allowed: the config's `allow_raw_egress`; where: the
    config's part that both belong to.

    Raises:
        ConfigError: the rows weren't scrubbed, and nothing allows it.
    """
    urls = [s.base_url if isinstance(s, Connection) else s for s in servers if s is not None]
    away = [url for url in urls if not on_this_machine(url)]
    if scrubbed or allowed or not away:
        return
    raise ConfigError(
        "rows that were not scrubbed, or vectors made from them, would be sent to another machine",
        where=f"{where}: {away[0]}",
        hint=f"scrub before, use a server on 127.0.0.1, or set {where}.allow_raw_egress: true",
    )
