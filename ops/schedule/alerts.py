"""Who is told of what goes wrong, once per slot: kept in the table first, sent after.

What is due is read from the table alone, so that anybody may look: the scheduler after each look, and `assay schedule
check` from outside, which also notices that no scheduler is there. An alert is kept before it is sent and marked as
sent after: a kill loses none. One that is killed between sending and marking is sent a second time, under the same id
(in the mail's Message-ID, in the JSON), so that its receiver can tell.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path

from ops.schedule.channels import Message, send
from ops.schedule.cron import in_zone
from ops.schedule.policy import deadline
from ops.schedule.schedule import AlertKind, AnyChannel, Schedule, span_text
from ops.schedule.slots import Slot
from ops.schedule.table import Changing, Entry, Looking, Table, text_of, time_of
from steps.contracts.digests import short_id

# Chosen: a receiver that doesn't answer is asked so often, after a minute, two, four ...; some nine hours in all.
MOST_TRIES = 10
_FIRST_WAIT = timedelta(minutes=1)
# While one process sends an alert no other does; longer than any channel takes.
_LEASE = timedelta(minutes=5)
# Chosen: slots of a stretch without a scheduler that are counted one by one.
_MOST_COUNTED = 1000


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


def due(t: Looking, now: datetime) -> list[Alert]:
    """All that is to be told now and wasn't yet."""
    return [alert for entry in t.entries() if entry.schedule.alerts for alert in _of(t, entry, now)]


def _of(t: Looking, entry: Entry, now: datetime) -> Iterator[Alert]:
    schedule, since = entry.schedule, _told_since(t, entry)
    if "failure" in schedule.alert_on:
        yield from (_failed(schedule, s) for s in t.untold(schedule.name, "state = 'failed'", "failure", since))
    if "gate" in schedule.alert_on:
        yield from (_rejected(schedule, s) for s in t.untold(schedule.name, "gate = 'rejected'", "gate", since))
    if "missed" in schedule.alert_on and (missed := _missed(t, entry, since, now)):
        yield missed
    if "stale" in schedule.alert_on and entry.paused is None and (stale := _stale(t, entry, now)):
        yield stale


def _told_since(t: Looking, entry: Entry) -> datetime:
    """Since when the schedule tells anybody: what had gone wrong before is nobody's news."""
    since = entry.accounted
    for version in reversed(t.versions(entry.schedule.name)):
        if not Schedule.model_validate_json(version.spec).alerts or version.change == "removed":
            break
        since = version.since
    return since


def _failed(schedule: Schedule, slot: Slot) -> Alert:
    tries = f" after {slot.attempts} attempts" if slot.attempts > 1 else ""
    text = f"the slot of {in_zone(slot.at, schedule.tz)} failed{tries}: {slot.reason}"
    return Alert(schedule.name, slot.at, "failure", text, slot.run)


def _rejected(schedule: Schedule, slot: Slot) -> Alert:
    slot_text = in_zone(slot.at, schedule.tz)
    text = f"the gate rejected what the slot of {slot_text} trained; assay report {slot.run} shows why"
    return Alert(schedule.name, slot.at, "gate", text, slot.run)


def _missed(t: Looking, entry: Entry, since: datetime, now: datetime) -> Alert | None:
    """One alert for all missed slots since the last one of its kind: those of the table, and those that have passed
    without anybody looking.
    """
    schedule = entry.schedule
    last = t.last_told(schedule.name, "missed")
    new = [s.at for s in t.untold(schedule.name, "state = 'missed'", "missed", since) if last is None or s.at > last]
    if schedule.times is not None and entry.paused is None:
        passed = schedule.times.between(max(filter(None, (entry.accounted, last))), now)
        new += takewhile(lambda at: now >= deadline(schedule, at), islice(passed, _MOST_COUNTED))
    if not new:
        return None
    more = f" (and {len(new) - 1} before it)" if len(new) > 1 else ""
    beat = t.beat()
    look = f"a scheduler last looked at {in_zone(beat.seen, schedule.tz)}" if beat else "no scheduler ever looked"
    text = (
        f"nothing happened: no run was started in time for the slot of {in_zone(max(new), schedule.tz)}{more}; {look}"
    )
    return Alert(schedule.name, max(new), "missed", text)


def _stale(t: Looking, entry: Entry, now: datetime) -> Alert | None:
    schedule = entry.schedule
    if schedule.fresh_within is None:
        return None
    at, fresh = freshness(t, entry)
    key = at or fresh
    if now - fresh <= schedule.fresh_within or t.was_told(schedule.name, key, "stale"):
        return None
    what = f"the newest result is of {in_zone(fresh, schedule.tz)}" if at is not None else "there is no result yet"
    text = f"stale: {what}, it should be no older than {span_text(schedule.fresh_within)}"
    return Alert(schedule.name, key, "stale", text)


def freshness(t: Looking, entry: Entry) -> tuple[datetime | None, datetime]:
    """The newest slot that ended well (it ran, or found nothing new) and when it did; without one None, and since when
    there could have been one.
    """
    well = "state = 'ran' OR (state = 'skipped' AND attempts > 0)"
    query = f"SELECT at, ended FROM slots WHERE schedule = ? AND ({well}) ORDER BY ended DESC LIMIT 1"
    for row in t.rows(query, (entry.schedule.name,)):
        return time_of(row["at"]), time_of(row["ended"])
    added = [v.since for v in t.versions(entry.schedule.name) if v.change == "added"]
    return None, added[-1]


def keep_due(table: Table, now: datetime) -> list[Alert]:
    """Keep what is due, a line per channel; returns it."""
    with table.look() as t:
        if not due(t, now):
            return []
    with table.change() as changing:
        found = due(changing, now)
        channels = {e.schedule.name: e.schedule.alerts for e in changing.entries()}
        for alert in found:
            for channel in channels[alert.schedule]:
                _keep(changing, alert, channel, now)
        return found


def _keep(t: Changing, alert: Alert, channel: AnyChannel, now: datetime) -> None:
    statement = (
        "INSERT OR IGNORE INTO alerts (schedule, at, kind, channel, text, made, run) VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    given = (alert.schedule, text_of(alert.at), alert.kind, channel.label, alert.text, text_of(now), alert.run)
    t.do(statement, given)


@dataclass(frozen=True)
class _Taken:
    """An alert that this process sends now; `tries`: how often it was tried, this time included."""

    schedule: Schedule
    channel: AnyChannel
    message: Message
    tries: int


def deliver(table: Table, root: Path, environment: Mapping[str, str], now: Callable[[], datetime]) -> list[str]:
    """Send what is kept and not sent; returns a line about each that couldn't be."""
    failed = []
    while (taken := _take(table, now())) is not None:
        error = send(taken.channel, taken.schedule, taken.message, root, environment)
        wait = _FIRST_WAIT * 2 ** (taken.tries - 1)
        with table.change() as t:
            t.do(
                "UPDATE alerts SET sent = ?, next_try = ?, error = ?"
                " WHERE schedule = ? AND at = ? AND kind = ? AND channel = ?",
                (
                    None if error else text_of(now()), text_of(now() + wait), error, taken.message.schedule,
                    text_of(taken.message.at), taken.message.kind, taken.channel.label,
                ),
            )  # fmt: skip
        if error:
            failed.append(f"alert to {taken.channel.label}: {error}")
    return failed


def _take(table: Table, now: datetime) -> _Taken | None:
    """The next alert to send; no other process takes it for some minutes."""
    with table.change() as t:
        known = {e.schedule.name: e.schedule for e in t.entries(removed=True)}
        waiting = t.rows(
            "SELECT rowid, * FROM alerts WHERE sent IS NULL AND tries < ? AND (next_try IS NULL OR next_try <= ?)"
            " ORDER BY made, at",
            (MOST_TRIES, text_of(now)),
        )
        for row in waiting:
            schedule = known[row["schedule"]]
            channel = next((c for c in schedule.alerts if c.label == row["channel"]), None)
            if channel is None:  # taken away since
                continue
            given = (text_of(now + _LEASE), row["rowid"])
            t.do("UPDATE alerts SET tries = tries + 1, next_try = ? WHERE rowid = ?", given)
            alert = Alert(row["schedule"], time_of(row["at"]), row["kind"], row["text"], row["run"])
            slot = in_zone(alert.at, schedule.tz)
            message = Message(alert.id, alert.schedule, alert.at, slot, alert.kind, alert.text, alert.run)
            return _Taken(schedule, channel, message, row["tries"] + 1)
        return None


def any_waits(t: Looking, now: datetime) -> bool:
    """Whether an alert is to be sent now."""
    query = "SELECT 1 FROM alerts WHERE sent IS NULL AND tries < ? AND (next_try IS NULL OR next_try <= ?) LIMIT 1"
    return bool(t.rows(query, (MOST_TRIES, text_of(now))))


def undelivered(t: Looking) -> list[tuple[str, str, str]]:
    """Alerts that nobody has got yet: schedule, channel, and why."""
    rows = t.rows("SELECT schedule, channel, error FROM alerts WHERE sent IS NULL AND error IS NOT NULL ORDER BY made")
    return [(row["schedule"], row["channel"], row["error"]) for row in rows]
