"""What a schedule is: which config, when, and what it promises for slots that come at a bad moment."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from pipelines.cron import Cron, cron_of
from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen

_SPAN = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
# A slot may start so late where its schedule says nothing, and the next one is further away: chosen.
LATE = timedelta(hours=1)
# What fires a schedule where nothing else is named.
SCHEDULER = "scheduler"


def span_of(text: Any) -> Any:
    """A length of time as people write it: 90s, 15m, 26h, 2d, 1w, or several of them; other values as they are.

    Raises:
        ValueError: a text of another form.
    """
    if not isinstance(text, str):
        return text
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip():
        raise ValueError(f"{text[:40]!r} is no length of time: such as 90s, 15m, 26h, 2d or 1d12h")
    return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())


def span_text(span: timedelta) -> str:
    """The same as text: '1d2h'."""
    seconds, said = round(span.total_seconds()), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        said += f"{count}{unit}" if count else ""
    return said or "0s"


Span: TypeAlias = Annotated[timedelta, BeforeValidator(span_of), PlainSerializer(span_text)]


# What may go wrong with a slot: its last attempt failed, its model was rejected, production isn't what it was, nothing
# was started in time; or with a schedule: its newest result is too old.
AlertKind: TypeAlias = Literal["failure", "gate", "drift", "missed", "stale"]
ALERT_KINDS: tuple[AlertKind, ...] = ("failure", "gate", "drift", "missed", "stale")


class ByCommand(Frozen):
    """A program that is told of an alert: its JSON on standard input, its parts as ASSAY_ALERT_... variables."""

    kind: Literal["command"] = "command"
    command: str = Field(min_length=1, description="program and arguments, split as a shell would; no shell runs them")

    @property
    def label(self) -> str:
        """The channel in one line, as the command line has it."""
        return f"{self.kind}:{self.command}"

    @property
    def variable(self) -> str:
        """The environment variable that it needs; ""."""
        return ""


class ByWebhook(Frozen):
    """A URL that an alert is posted to. It may hold a secret, so that only the variable that holds it is known here."""

    kind: Literal["webhook", "slack"]
    url_env: str = Field(pattern=_VARIABLE, description="environment variable of the scheduler that holds the URL")

    @property
    def label(self) -> str:
        """The channel in one line, as the command line has it."""
        return f"{self.kind}:{self.url_env}"

    @property
    def variable(self) -> str:
        """The environment variable that it needs."""
        return self.url_env


class ByMail(Frozen):
    """A mailbox that an alert is sent to, by the SMTP server that a variable names."""

    kind: Literal["email"] = "email"
    to: str = Field(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$", description="mailbox")
    server_env: str = Field(
        "ASSAY_SMTP",
        pattern=_VARIABLE,
        description="environment variable with the server: smtp+starttls://user:password@host:587, smtps://..., or"
        " smtp://host:25 without encryption",
    )

    @property
    def label(self) -> str:
        """The channel in one line, as the command line has it."""
        return f"{self.kind}:{self.to}"

    @property
    def variable(self) -> str:
        """The environment variable that it needs."""
        return self.server_env


class ByStack(Frozen):
    """The alerter of the schedule's stack."""

    kind: Literal["stack"] = "stack"

    @property
    def label(self) -> str:
        """The channel in one line, as the command line has it."""
        return self.kind

    @property
    def variable(self) -> str:
        """The environment variable that it needs; ""."""
        return ""


AnyChannel: TypeAlias = ByCommand | ByWebhook | ByMail | ByStack
Channel: TypeAlias = Annotated[AnyChannel, Field(discriminator="kind")]


def channel_of(text: str) -> AnyChannel:
    """A channel as the command line says it: command:PROGRAM, webhook:VARIABLE, slack:VARIABLE, email:MAILBOX[:VAR],
    stack.

    Raises:
        ConfigError: it is none of these.
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "command":
            return ByCommand(command=value)
        if kind in ("webhook", "slack"):
            return ByWebhook.model_validate({"kind": kind, "url_env": value})
        if text == "stack":
            return ByStack()
        if kind == "email":
            to, _, server = value.partition(":")
            return ByMail(to=to, **({"server_env": server} if server else {}))
    except ValueError as e:
        hint = "a URL or a password is never given here: name the environment variable that holds it"
        raise ConfigError(
            f"{kind}:... names no {'mailbox' if kind == 'email' else 'variable'}", where="--alert", hint=hint
        ) from e
    hint = "command:PROGRAM, webhook:VARIABLE, slack:VARIABLE, email:MAILBOX[:VARIABLE] or stack"
    raise ConfigError(f"no channel {kind[:20]!r}", where="--alert", hint=hint)


class Schedule(Frozen):
    """A config, when it is to run, and its policy. Whether it is paused is the table's to know."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="lower-case letters, digits, - and _")
    config: str = Field(min_length=1, description="run config; relative to the checkout, or absolute")
    cron: str | None = Field(None, description="when, as pipelines/cron.py states it; None: by on_change alone")
    tz: str = Field("UTC", description="time zone that cron is meant in, by its IANA name")
    infra: str | None = Field(None, description="as --infra of `assay run`")
    stack: str | None = Field(None, description="as --stack of `assay run`")
    overrides: tuple[str, ...] = Field((), description="as --set of `assay run`")
    on: str = Field(
        SCHEDULER,
        description="what fires it: assay's own scheduler, or by its name a stack whose orchestrator has a clock",
    )
    catchup: Literal["none", "latest", "all"] = Field(
        "latest",
        description="what becomes of slots that nobody could start in time: none of them run, the newest, or all, one"
        " after the other; default chosen: data that grows wants one run, which sees all of it",
    )
    overlap: Literal["skip", "queue", "allow"] = Field(
        "skip",
        description="what becomes of a slot that is due while another one runs; one waits at most; allow: it runs"
        " beside it, on services that can't do otherwise",
    )
    max_lateness: Span | None = Field(
        None,
        gt=timedelta(),
        description="so long after its time a slot may still start; None: an hour (chosen), or until the next slot"
        " where that is sooner",
    )
    if_changed: bool = Field(False, description="as --if-changed of `assay run`")
    on_change: tuple[str, ...] = Field(
        (),
        description="files, folders, URLs and monitor:CONFIG: a slot also comes when one changes, or when a run of"
        " that config asks for a new model",
    )
    fresh_within: Span | None = Field(
        None, gt=timedelta(), description="so old may the newest result be before somebody is told; None: any age"
    )
    timeout: Span | None = Field(None, gt=timedelta(), description="so long may an attempt take; None: any time")
    retries: int = Field(
        0, ge=0, le=20, description="further attempts after one that failed for a reason that may pass"
    )
    backoff: Span = Field(
        timedelta(minutes=1),
        gt=timedelta(),
        description="wait before the first of them, then twice as long each",
    )
    alerts: tuple[Channel, ...] = Field((), description="who is told when a slot goes wrong")
    alert_on: tuple[AlertKind, ...] = Field(ALERT_KINDS, description="what they are told of")

    @model_validator(mode="after")
    def _comes(self) -> Self:
        if self.cron is None and not self.on_change:
            raise ValueError("a schedule needs `cron`, or `on_change`")
        if self.cron is not None:
            cron_of(self.cron, self.tz)
        if self.overlap == "allow" and not self.is_native:
            raise ValueError("assay's scheduler runs one slot of a schedule at a time: overlap is skip or queue")
        return self

    @property
    def is_native(self) -> bool:
        """Whether a service's clock fires it."""
        return self.on != SCHEDULER

    @property
    def times(self) -> Cron | None:
        """When it is due by the clock."""
        return cron_of(self.cron, self.tz) if self.cron is not None else None
