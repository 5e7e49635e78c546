"""Alerts in the table: kept, taken to be sent, marked as sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.schedule.channels import Message
from ops.schedule.schedule import AlertKind, AnyChannel, Schedule
from ops.schedule.slots import Slot
from ops.schedule.table import Changing, Looking, text_of, time_of
from pipelines.cron import in_zone
from steps.contracts.digests import short_id

# Chosen: a receiver that doesn't answer is asked so often, after a minute, two, four ...; some nine hours in all.
MOST_TRIES = 10
_FIRST_WAIT = timedelta(minutes=1)
# While one process sends an alert no other does; longer than any channel takes.
_LEASE = timedelta(minutes=5)
_WAITING = f"sent IS NULL AND tries < {MOST_TRIES} AND (next_try IS NULL OR next_try <= ?)"
_THIS = "schedule = ? AND at = ? AND kind = ? AND channel = ?"
# How slots end that are told of.
_WHICH: dict[AlertKind, str] = {
    "failure": "state = 'failed'",
    "gate": "gate = 'rejected'",
    "drift": "gate IN ('drifted', 'degraded')",
    "missed": "state = 'missed'",
}


@dataclass(frozen=True)
class Alert:
    """Something that somebody should know; `at` and `kind` make it one of its schedule's."""

    schedule: str
    at: datetime
    kind: AlertKind
    text: str
    run: str | None = None

    @property
    def id(self) -> str:
        """The same for each time that it is sent."""
        return short_id(self.schedule, text_of(self.at), self.kind)


@dataclass(frozen=True)
class Taken:
    """An alert that this process sends now; `tries`: how often it was tried, this time included."""

    schedule: Schedule
    channel: AnyChannel
    message: Message
    tries: int


def untold(t: Looking, name: str, kind: AlertKind, since: datetime, after: datetime | None = None) -> list[Slot]:
    """Slots that have ended so since a moment and that no such alert is kept of, by their time; only those after
    another slot's, when told so.
    """
    keys = t.rows(
        f"SELECT at FROM slots s WHERE schedule = ? AND {_WHICH[kind]} AND ended >= ? AND at > ? AND NOT EXISTS"
        " (SELECT 1 FROM alerts a WHERE a.schedule = s.schedule AND a.at = s.at AND a.kind = ?) ORDER BY at",
        (name, text_of(since), text_of(after) if after is not None else "", kind),
    )
    return [slot for key in keys if (slot := t.slot(name, time_of(key["at"]))) is not None]


def last_told(t: Looking, name: str, kind: AlertKind) -> datetime | None:
    """The newest slot that an alert of that kind is kept of."""
    found = t.rows("SELECT max(at) AS at FROM alerts WHERE schedule = ? AND kind = ?", (name, kind))[0]["at"]
    return time_of(found) if found else None


def was_told(t: Looking, name: str, at: datetime, kind: AlertKind) -> bool:
    """Whether an alert of that kind is kept of a slot."""
    query = "SELECT 1 FROM alerts WHERE schedule = ? AND at = ? AND kind = ?"
    return bool(t.rows(query, (name, text_of(at), kind)))


def keep(t: Changing, alert: Alert, channels: Iterable[AnyChannel], now: datetime) -> None:
    """Keep an alert, for each channel once."""
    columns = "schedule, at, kind, channel, text, made, run"
    for channel in channels:
        given = (alert.schedule, text_of(alert.at), alert.kind, channel.label, alert.text, text_of(now), alert.run)
        t.do(f"INSERT OR IGNORE INTO alerts ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", given)


def take(t: Changing, now: datetime) -> Taken | None:
    """The next alert to send; no other process takes it for some minutes."""
    known = {e.schedule.name: e.schedule for e in t.entries(removed=True)}
    for row in t.rows(f"SELECT * FROM alerts WHERE {_WAITING} ORDER BY made, at", (text_of(now),)):
        schedule = known[row["schedule"]]
        channel = next((c for c in schedule.alerts if c.label == row["channel"]), None)
        if channel is None:
            continue
        this = tuple(row[name] for name in ("schedule", "at", "kind", "channel"))
        t.do(f"UPDATE alerts SET tries = tries + 1, next_try = ? WHERE {_THIS}", (text_of(now + _LEASE), *this))
        alert = Alert(row["schedule"], time_of(row["at"]), row["kind"], row["text"], row["run"])
        slot = in_zone(alert.at, schedule.tz)
        message = Message(alert.id, alert.schedule, alert.at, slot, alert.kind, alert.text, alert.run)
        return Taken(schedule, channel, message, row["tries"] + 1)
    return None


def mark(t: Changing, taken: Taken, error: str | None, now: datetime) -> None:
    """Note that it was sent, or why not and when it is tried again."""
    message = taken.message
    this = (message.schedule, text_of(message.at), message.kind, taken.channel.label)
    wait = _FIRST_WAIT * 2 ** (taken.tries - 1)
    sent = None if error else text_of(now)
    t.do(
        f"UPDATE alerts SET sent = ?, next_try = ?, error = ? WHERE {_THIS}", (sent, text_of(now + wait), error, *this)
    )


def any_waits(t: Looking, now: datetime) -> bool:
    """Whether an alert is to be sent now."""
    return bool(t.rows(f"SELECT 1 FROM alerts WHERE {_WAITING} LIMIT 1", (text_of(now),)))


def drop_unsent(t: Changing, name: str, kept: Iterable[AnyChannel]) -> None:
    """Forget what waits for channels that a schedule has no more."""
    labels = [channel.label for channel in kept]
    other = f"channel NOT IN ({', '.join('?' * len(labels))})" if labels else "1"
    t.do(f"DELETE FROM alerts WHERE schedule = ? AND sent IS NULL AND {other}", (name, *labels))


def undelivered(t: Looking) -> list[tuple[str, str, str]]:
    """Alerts that nobody has got yet: schedule, channel, and why."""
    rows = t.rows("SELECT schedule, channel, error FROM alerts WHERE sent IS NULL AND error IS NOT NULL ORDER BY made")
    return [(row["schedule"], row["channel"], row["error"]) for row in rows]
