"""Who is told of what goes wrong, once per slot: kept in the table first, sent after.

What is due is read from the table alone, so that anybody may look: the scheduler after each look, and `assay schedule
check` from outside, which also notices that no scheduler is there. An alert is kept before it is sent and marked as
sent after: a kill loses none. One that is killed between sending and marking is sent a second time, under the same id
(in the mail's Message-ID, in the JSON), so that its receiver can tell.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path

from ops.schedule import outbox
from ops.schedule.channels import send
from ops.schedule.outbox import Alert
from ops.schedule.policy import deadline
from ops.schedule.schedule import Schedule, span_text
from ops.schedule.slots import Slot
from ops.schedule.table import Entry, Looking, Table
from pipelines.cron import in_zone

# Chosen: slots of a stretch without a scheduler that are counted one by one.
_MOST_COUNTED = 1000


def due(t: Looking, now: datetime) -> list[Alert]:
    """All that is to be told now and wasn't yet."""
    return [alert for entry in t.entries() if entry.schedule.alerts for alert in _of(t, entry, now)]


def _of(t: Looking, entry: Entry, now: datetime) -> Iterator[Alert]:
    schedule, since = entry.schedule, _told_since(t, entry)
    if "failure" in schedule.alert_on:
        yield from (_failed(schedule, s) for s in outbox.untold(t, schedule.name, "failure", since))
    if "gate" in schedule.alert_on:
        yield from (_rejected(schedule, s) for s in outbox.untold(t, schedule.name, "gate", since))
    if "drift" in schedule.alert_on:
        yield from (_drifted(schedule, s) for s in outbox.untold(t, schedule.name, "drift", since))
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


def _drifted(schedule: Schedule, slot: Slot) -> Alert:
    slot_text = in_zone(slot.at, schedule.tz)
    text = f"production is {slot.gate}, as the slot of {slot_text} found; assay report {slot.run} shows in what"
    return Alert(schedule.name, slot.at, "drift", text, slot.run)


def _missed(t: Looking, entry: Entry, since: datetime, now: datetime) -> Alert | None:
    """One alert for all missed slots since the last one of its kind: those of the table, and those that have passed
    without anybody looking.
    """
    schedule = entry.schedule
    last = outbox.last_told(t, schedule.name, "missed")
    new = [s.at for s in outbox.untold(t, schedule.name, "missed", since, last)]
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
    if now - fresh <= schedule.fresh_within or outbox.was_told(t, schedule.name, key, "stale"):
        return None
    what = f"the newest result is of {in_zone(fresh, schedule.tz)}" if at is not None else "there is no result yet"
    text = f"stale: {what}, it should be no older than {span_text(schedule.fresh_within)}"
    return Alert(schedule.name, key, "stale", text)


def freshness(t: Looking, entry: Entry) -> tuple[datetime | None, datetime]:
    """The newest slot that ended well (it ran, or found nothing new) since the schedule was added, and when it did;
    without one None, and since when there could have been one.
    """
    name = entry.schedule.name
    added = [v.since for v in t.versions(name) if v.change == "added"][-1]
    newest = t.newest_result(name)
    if newest is None or newest.ended is None or newest.ended < added:
        return None, added
    return newest.at, newest.ended


def keep_due(table: Table, now: datetime) -> list[Alert]:
    """Keep what is due, a line per channel; returns it."""
    with table.look() as t:
        if not due(t, now):
            return []
    with table.change() as changing:
        found = due(changing, now)
        channels = {e.schedule.name: e.schedule.alerts for e in changing.entries()}
        for alert in found:
            outbox.keep(changing, alert, channels[alert.schedule], now)
        return found


def deliver(table: Table, root: Path, environment: Mapping[str, str], now: Callable[[], datetime]) -> list[str]:
    """Send what is kept and not sent; returns a line about each that couldn't be."""
    failed = []
    while (taken := _take(table, now())) is not None:
        error = send(taken.channel, taken.schedule, taken.message, root, environment)
        with table.change() as t:
            outbox.mark(t, taken, error, now())
        if error:
            failed.append(f"alert to {taken.channel.label}: {error}")
    return failed


def _take(table: Table, now: datetime) -> outbox.Taken | None:
    with table.change() as t:
        return outbox.take(t, now)
