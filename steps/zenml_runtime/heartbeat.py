"""Signs of life of steps, in ZenML's store: who can't see a process knows by them whether it lives.

ZenML's own worker gives them every 15 s where each step has a process of its own. Steps that run in their launcher
give them here, from the first minute on: a short step costs nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from zenml.client import Client
from zenml.zen_stores.rest_zen_store import RestZenStore
from zenml.zen_stores.sql_zen_store import SqlZenStore

# Seconds between two. Chosen: one write a minute is nothing to a database.
EVERY = 60.0
# Who said nothing for so long is dead: ZenML's own measure (`heartbeat_healthy_threshold`).
SILENCE = timedelta(minutes=30)
_SECONDS = 10.0


@contextmanager
def sign_of_life(step_run: Any) -> Iterator[None]:
    """Within, ZenML's store hears from time to time that this step (StepRunResponse) is being worked on."""
    if step_run.spec.enable_heartbeat:
        yield
        return
    over = threading.Event()
    threading.Thread(target=_beat, args=(step_run.id, over), daemon=True, name="sign of life").start()
    try:
        yield
    finally:
        over.set()


def _beat(step: UUID, over: threading.Event) -> None:
    while not over.wait(EVERY):
        # A store that doesn't answer now may the next time; the step itself will say so when it matters.
        with suppress(Exception):
            Client().zen_store.update_step_heartbeat(step)


def last_sign(step: Any) -> datetime:
    """When a step (StepRunResponse) was last heard of, in the store's time."""
    heard = (step.latest_heartbeat, step.end_time, step.start_time, step.created)
    return max(in_utc(time) for time in heard if time is not None)


def in_utc(time: datetime) -> datetime:
    """ZenML's times are in UTC and don't say so."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def time_of_store() -> datetime:
    """What time it is where signs of life are written down: this machine's clock may have jumped.

    Raises:
        OSError, SQLAlchemyError: the store doesn't answer.
    """
    store = Client().zen_store
    if isinstance(store, RestZenStore):
        said = store.session.get(f"{store.url}/health", timeout=_SECONDS).headers.get("Date")
        return parsedate_to_datetime(said) if said else datetime.now(UTC)
    if isinstance(store, SqlZenStore) and store.engine.dialect.name != "sqlite":
        with store.engine.connect() as connection:
            return in_utc(connection.execute(text("SELECT UTC_TIMESTAMP()")).scalar_one())
    return datetime.now(UTC)
