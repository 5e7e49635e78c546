"""The slot that a run stands for: the moment at which a schedule wanted it, whenever it really starts.

A source's path may hold it, so that every slot reads its own day: `data/{slot:%Y-%m-%d}.jsonl`, or the day before:
`{slot-1d:%Y-%m-%d}`. The slot decides no number by itself and is in no cache key; what a filled-in path names is read
by content as any other.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.config import RunConfig
from pipelines.cron import cron_of, zone_of
from pipelines.load import Written
from steps.contracts.errors import ConfigError
from steps.engines.yaml_lines.parse import KeyPath

# Instead of a time: this moment.
NOW = "now"
# What a path says for the slot: an offset in days, hours or minutes if any, then a form.
_WANTED = re.compile(r"\{slot(?:([+-]\d{1,4})([dhm]))?(?::([^{}]*))?\}")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
# Numbers alone: names of months and days would depend on the machine's language.
_FORMS = frozenset("YmdHMSjVGyu%")
_HINT = "a time with its offset, such as 2026-03-29T02:30+01:00 or 2026-03-29T01:30Z, or now"
# The name of a Job that a CronJob of Kubernetes made, which ends with the minutes from 1970 to its time; and a zone.
_JOB = re.compile(r"job:.*-(\d{7,10})@(.+)")


def slot_of(text: str) -> datetime:
    """A slot as it is written down, with its offset from UTC.

    Raises:
        ConfigError: it is no time, or doesn't say its offset.
    """
    if text == NOW:
        return datetime.now().astimezone().replace(microsecond=0)
    if text.startswith("job:"):
        return _of_job(text)
    try:
        slot = datetime.fromisoformat(text)
    except ValueError as e:
        raise ConfigError(f"{text[:60]!r} is no time", where="--slot", hint=_HINT) from e
    if slot.tzinfo is None:
        raise ConfigError(f"{text!r} doesn't say its offset from UTC", where="--slot", hint=_HINT)
    return slot


def slot_by_clock(cron: str, zone: str, started: datetime) -> datetime:
    """The slot of a run that a service's clock started, which tells nothing of it: the newest one before.

    Raises:
        ConfigError: there was none.
    """
    found = cron_of(cron, zone).newest(started)
    if found is None:
        raise ConfigError(f"{cron!r} had no slot in years", where="slot")
    return found.astimezone(zone_of(zone))


def slot_text(slot: datetime) -> str:
    """A slot as records and commands have it."""
    return slot.isoformat(timespec="minutes" if slot.second == 0 else "seconds")


def slotted(config: RunConfig, slot: datetime | None) -> RunConfig:
    """The config with the slot filled in where paths of its sources hold it.

    Raises:
        ConfigError: a path holds one in another form, or there is none.
    """
    values = config.model_dump()
    try:
        for _, source in _sources(values):
            source["path"] = filled(source["path"], slot)
    except ValueError as e:
        raise ConfigError(str(e), where="ingest.sources") from e
    return RunConfig.model_validate(values)


def paths_of(config: RunConfig) -> dict[str, str]:
    """Paths of sources by the sources' names."""
    return {s.name: s.path for s in config.ingest.sources if s.path} if config.ingest is not None else {}


def _of_job(text: str) -> datetime:
    """The slot of a Job of Kubernetes: job:NAME@ZONE."""
    found = _JOB.fullmatch(text)
    try:
        if found is not None:
            return datetime.fromtimestamp(int(found[1]) * 60, ZoneInfo(found[2]))
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError) as e:
        raise ConfigError(f"{text[:80]!r} names no time zone", where="--slot", hint="job:NAME@Europe/Berlin") from e
    what = f"{text[:80]!r} isn't of a Job that a CronJob made: those end with the minute of their slot"
    raise ConfigError(what, where="--slot", hint="assay schedule run-now NAME starts one; or --slot with a time")


def with_slot(written: Written, slot: datetime | None) -> tuple[Written, dict[KeyPath, list[str]]]:
    """The config with the slot filled in where paths of its sources hold it; and what is wrong with them, by place."""
    values: dict[str, Any] = deepcopy(written.values)
    told: dict[KeyPath, list[str]] = {}
    for place, source in _sources(values):
        try:
            source["path"] = filled(source["path"], slot)
        except ValueError as e:
            told[place] = [str(e)]
    return replace(written, values=values), told


def filled(path: str, slot: datetime | None) -> str:
    """A source's path with the slot in it.

    Raises:
        ValueError: it holds a slot and there is none, or a form that isn't made of numbers.
    """
    if slot is None and _WANTED.search(path):
        raise ValueError("this path holds the slot of the run, and none is given: `--slot now`, or --slot with a time")
    return _WANTED.sub(lambda found: _said(found, slot), path) if slot is not None else path


def _said(found: re.Match[str], slot: datetime) -> str:
    count, unit, form = found.groups()
    if not form:
        raise ValueError(f"{found[0]} doesn't say how the slot is written: such as {{slot:%Y-%m-%d}}")
    if wrong := [f for f in re.findall(r"%(.?)", form) if f not in _FORMS]:
        raise ValueError(
            f"%{wrong[0]} isn't known in {found[0]}: there are {', '.join(f'%{f}' for f in sorted(_FORMS))}"
        )
    return (slot + timedelta(**{_UNITS[unit]: int(count)}) if unit else slot).strftime(form)


def _sources(values: Mapping[str, Any]) -> list[tuple[KeyPath, dict[str, Any]]]:
    """Sources with a path, by the place of that path; what has another form is left to the check of the config."""
    ingest = values.get("ingest")
    sources = ingest.get("sources") if isinstance(ingest, dict) else None
    return [
        (("ingest", "sources", i, "path"), source)
        for i, source in enumerate(sources if isinstance(sources, list | tuple) else ())
        if isinstance(source, dict) and isinstance(source.get("path"), str)
    ]
