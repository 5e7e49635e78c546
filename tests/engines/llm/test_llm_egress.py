import pytest

from steps.contracts.errors import ConfigError
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.endpoint import Connection

AWAY, HERE = "http://192.0.2.1/v1", "http://127.0.0.1:1/v1"


@pytest.mark.parametrize("servers", [(AWAY,), (None, HERE, AWAY), (Connection(base_url=AWAY, model="m"),)])
def test_raw_rows_stay_here(servers: tuple[Connection | str | None, ...]) -> None:
    with pytest.raises(ConfigError, match="not scrubbed") as found:
        refuse_egress(servers, scrubbed=False, allowed=False, where="judge")
    assert AWAY in str(found.value) and "judge.allow_raw_egress: true" in (found.value.hint or "")


@pytest.mark.parametrize(
    ("servers", "scrubbed", "allowed"),
    [((), False, False), ((None, HERE), False, False), ((AWAY,), True, False), ((AWAY,), False, True)],
)
def test_what_may_leave(servers: tuple[str | None, ...], scrubbed: bool, allowed: bool) -> None:
    refuse_egress(servers, scrubbed=scrubbed, allowed=allowed, where="judge")
