"""What a schedule promises, as pure functions: what the table says and what time it is -> what becomes of slots.

A slot starts in time or it doesn't: in time is before its deadline (`deadline`). Slots that are found in time follow
`overlap`, those that nobody started in time follow `catchup`. The past is never looked at twice: what is found lies
between the moment up to which all is accounted for and now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from ops.schedule.schedule import LATE, Schedule, span_text
from ops.schedule.slots import Decided, Result, Slot, State
from pipelines.cron import in_zone

# What ends what waits.
Over: TypeAlias = Literal["paused", "removed"]
# Which of several waiting slots starts first.
_FIRST = {"manual": 0, "cron": 1, "change": 1, "catchup": 2, "backfill": 3}
# Chosen: no wait between attempts is longer.
_LONGEST_WAIT = timedelta(days=1)
_ALONE = "nobody could start it in time"


def deadline(schedule: Schedule, at: datetime) -> datetime:
    """From when on a slot of the clock is too late to start."""
    if schedule.max_lateness is not None:
        return at + schedule.max_lateness
    times = schedule.times
    return min(at + LATE, times.next(at)) if times is not None else at + LATE


def came(schedule: Schedule, since: datetime, now: datetime, opened: Sequence[Slot]) -> list[Decided]:
    """What becomes of the slots after `since` up to `now`, and of open ones that have waited too long.

    `opened`: the schedule's open slots.
    """
    found = list(schedule.times.between(since, now)) if schedule.times is not None else []
    first = next((i for i in range(len(found), 0, -1) if now >= deadline(schedule, found[i - 1])), 0)
    late, in_time = found[:first], found[first:]
    line = [s for s in opened if s.in_line]
    waited = [s for s in line if s.waits_unstarted and s.origin == "cron" and now >= deadline(schedule, s.at)]
    if any(s.state == "running" for s in line):
        gone = [_too_long(schedule, s) for s in waited]
    else:
        gone, late = [], sorted([*late, *(s.at for s in waited)])
    caught = [*gone, *_caught_up(schedule, late, in_time, line)]
    return [*caught, *_lined_up(schedule, in_time, _left(line, caught))]


def _too_long(schedule: Schedule, slot: Slot) -> Decided:
    late = span_text(deadline(schedule, slot.at) - slot.at)
    return Decided(slot.at, "missed", "cron", f"waited longer than {late} behind a slot that ran")


def _caught_up(
    schedule: Schedule, late: Sequence[datetime], in_time: Sequence[datetime], line: Sequence[Slot]
) -> list[Decided]:
    """Slots that are too late: all of them, the newest or none get their turn after all."""
    if schedule.catchup == "all":
        return [Decided(at, "queued", "catchup", f"{_ALONE}; catchup: all") for at in late]
    if schedule.catchup == "none":
        return [Decided(at, "missed", "cron", f"{_ALONE}; catchup: none") for at in late]
    newest = [*late, *in_time][-1:]
    # What is caught up and hasn't begun gives way to what is newer.
    overtaken = [s.at for s in line if newest and s.waits_unstarted and s.origin == "catchup"]
    why = f"{_ALONE}; the slot of {in_zone(newest[0], schedule.tz)} stands for it" if newest else ""
    return [
        Decided(at, "queued", "catchup", f"{_ALONE}; catchup: latest")
        if at in newest
        else Decided(at, "missed", "cron", why)
        for at in [*overtaken, *late]
    ]


def _left(line: Sequence[Slot], decided: Iterable[Decided]) -> list[Slot]:
    """The open slots of the line after what was decided."""
    said = {d.at: d for d in decided}
    kept = [replace(s, state=said[s.at].state, origin=said[s.at].origin) if s.at in said else s for s in line]
    new = [Slot("", d.at, d.state, d.origin) for d in said.values() if d.at not in {s.at for s in line}]
    return [s for s in (*kept, *new) if s.is_open]


def _lined_up(schedule: Schedule, in_time: Sequence[datetime], line: list[Slot]) -> list[Decided]:
    """Slots that are in time: they start, wait, or are skipped."""
    decided = []
    for at in in_time:
        one = _in_line(schedule, at, line)
        decided.append(one)
        if one.state == "queued":
            line.append(Slot("", at, "queued", one.origin))
    return decided


def _in_line(schedule: Schedule, at: datetime, line: Sequence[Slot]) -> Decided:
    if not line:
        return Decided(at, "queued", "cron")
    if schedule.catchup == "all" and any(s.origin == "catchup" and s.state == "queued" for s in line):
        return Decided(at, "queued", "catchup", "behind slots that are caught up")
    ahead = min(line, key=lambda s: (s.state != "running", s.at))
    what = f"the slot of {in_zone(ahead.at, schedule.tz)} {_doing(ahead)}"
    if schedule.overlap == "skip":
        return Decided(at, "skipped", "cron", f"{what}; overlap: skip")
    if any(s.waits_unstarted and s.origin == "cron" for s in line):
        return Decided(at, "skipped", "cron", f"{what}, and another one waits; overlap: queue")
    return Decided(at, "queued", "cron", f"waits: {what}")


def _doing(slot: Slot) -> str:
    if slot.state == "running":
        return "still ran"
    return "was to be tried again" if slot.attempts else "still waited"


def in_pause(schedule: Schedule, since: datetime, now: datetime) -> list[Decided]:
    """The slots of a schedule that was paused all the time since."""
    found = schedule.times.between(since, now) if schedule.times is not None else ()
    return [Decided(at, "paused", "cron", "the schedule was paused") for at in found]


def startable(opened: Iterable[Slot], now: datetime, paused: bool) -> Slot | None:
    """Of a schedule's open slots the one that starts next, if one may: one at a time, and one backfill beside it."""
    opened = list(opened)
    for line in ([s for s in opened if s.in_line], [s for s in opened if not s.in_line]):
        if any(s.state == "running" for s in line):
            continue
        waiting = sorted(line, key=lambda s: (_FIRST[s.origin], s.at))
        # One that is to be tried again keeps its place, unless a person asks for another.
        tried = [s for s in waiting if s.attempts and s.origin != "manual"]
        head = next(iter([s for s in waiting if s.origin == "manual"] or tried or waiting), None)
        if head is not None and (not paused or head.origin == "manual") and now >= (head.not_before or now):
            return head
    return None


def after(schedule: Schedule, slot: Slot, result: Result, now: datetime, over: Over | None) -> Slot:
    """The slot after an attempt. `over`: what happened to the schedule meanwhile, so that nothing is tried again."""
    base = replace(slot, run=result.run or slot.run, gate=result.gate, reason=result.reason, ended=now, not_before=None)
    if result.kind == "never":
        base = replace(base, attempts=slot.attempts - 1, started=None, ended=None)
    if result.kind in ("never", "stopped"):
        waits = replace(base, state="queued")
        return given_up(waits, over) if over else waits
    if result.kind in ("completed", "unchanged"):
        state: State = "ran" if result.kind == "completed" else "skipped"
        return replace(base, state=state)
    failed = replace(base, state="failed", failures=slot.failures + 1)
    if not result.may_pass or failed.failures > schedule.retries or over:
        return failed
    wait = min(schedule.backoff * 2 ** (failed.failures - 1), _LONGEST_WAIT)
    return replace(failed, state="queued", not_before=now + wait)


def given_up(slot: Slot, over: Over) -> Slot:
    """A slot that waited when its schedule was paused or removed."""
    why = f"the schedule was {over} while it waited"
    if slot.failures:
        return replace(slot, state="failed", reason=f"{slot.reason}; not tried again: {why}", not_before=None)
    return replace(slot, state="paused" if over == "paused" else "skipped", reason=why, not_before=None)


def next_look(schedule: Schedule, accounted: datetime, opened: Iterable[Slot], now: datetime) -> datetime | None:
    """When something is next to be done for a schedule by the clock, if nothing else happens; None: nothing is."""
    moments = [s.not_before for s in opened if s.state == "queued" and s.not_before is not None and s.not_before > now]
    moments += [deadline(schedule, s.at) for s in opened if s.waits_unstarted and s.origin == "cron"]
    if schedule.times is not None:
        moments.append(schedule.times.next(max(accounted, now)))
    return min((m for m in moments if m > now), default=None)
