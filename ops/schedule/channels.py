"""How an alert reaches somebody: a program, a webhook, a mailbox. What is secret stays in environment variables."""

import json
import shlex
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen

from ops.infra import load_infra
from ops.schedule.schedule import AlertKind, AnyChannel, ByCommand, ByMail, ByWebhook, Schedule
from steps.contracts.errors import AssayError, ServiceError

# Seconds; chosen.
_SERVER_TIMEOUT, _PROGRAM_TIMEOUT, _STACK_TIMEOUT = 20, 60, 180
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Message:
    """An alert as it is sent.

    Attributes:
        id: the same each time that it is sent.
        slot: its time in the schedule's zone.
    """

    id: str
    schedule: str
    at: datetime
    slot: str
    kind: AlertKind
    text: str
    run: str | None

    @property
    def line(self) -> str:
        """All in one line."""
        return f"assay schedule {self.schedule}: {self.text}"

    def as_json(self) -> dict[str, str | None]:
        """For programs."""
        return {
            "id": self.id, "schedule": self.schedule, "slot": self.slot, "kind": self.kind, "text": self.text,
            "run": self.run, "host": socket.gethostname(),
        }  # fmt: skip


def send(
    channel: AnyChannel, schedule: Schedule, message: Message, root: Path, environment: Mapping[str, str]
) -> str | None:
    """Send it; returns why it couldn't be sent, in words that hold no secret."""
    try:
        if isinstance(channel, ByCommand):
            _run(channel, message, root, environment)
        elif isinstance(channel, ByWebhook):
            _post(channel, message, environment)
        elif isinstance(channel, ByMail):
            _mail(channel, message, environment)
        else:
            _by_stack(schedule, message, root, environment)
    except AssayError as e:
        return e.what
    except HTTPError as e:
        return f"it answers with status {e.code}"
    except smtplib.SMTPResponseException as e:
        return f"the mail server refuses it: {e.smtp_code}"
    except (OSError, smtplib.SMTPException, subprocess.SubprocessError, ValueError) as e:
        # Messages of libraries may hold the URL.
        reason = getattr(e, "reason", e)
        return f"it can't be reached: {type(reason).__name__}"
    return None


def _run(channel: ByCommand, message: Message, root: Path, environment: Mapping[str, str]) -> None:
    told = {f"ASSAY_ALERT_{name.upper()}": value or "" for name, value in message.as_json().items()}
    done = subprocess.run(
        shlex.split(channel.command),
        input=json.dumps(message.as_json()) + "\n",
        text=True,
        cwd=root,
        env={**environment, **told},
        capture_output=True,
        timeout=_PROGRAM_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"the program ended with status {done.returncode}")


def _by_stack(schedule: Schedule, message: Message, root: Path, environment: Mapping[str, str]) -> None:
    stack = schedule.stack or load_infra(root, schedule.infra).stack
    done = subprocess.run(
        [sys.executable, "-m", "ops.schedule.stack_alerter"],
        input=json.dumps({"stack": stack, "text": message.line}),
        text=True,
        cwd=root,
        env=dict(environment),
        capture_output=True,
        timeout=_STACK_TIMEOUT,
        check=False,
    )
    if done.returncode:
        # Errors of ours hold no secret; what a library says may.
        ours = done.returncode > 1 and done.stderr.strip()
        raise ServiceError(done.stderr.splitlines()[-1] if ours else f"the alerter of the stack {stack} failed")


def _post(channel: ByWebhook, message: Message, environment: Mapping[str, str]) -> None:
    url = _set(environment, channel.url_env)
    if urlsplit(url).scheme not in ("http", "https"):
        raise ServiceError(f"{channel.url_env} holds no http or https URL")
    said = {"text": message.line} if channel.kind == "slack" else message.as_json()
    headers = {"Content-Type": "application/json", "User-Agent": "assay"}
    with urlopen(Request(url, json.dumps(said).encode(), headers), timeout=_SERVER_TIMEOUT):
        pass


def _mail(channel: ByMail, message: Message, environment: Mapping[str, str]) -> None:
    url = urlsplit(_set(environment, channel.server_env))
    if url.scheme not in ("smtp", "smtps", "smtp+starttls") or not url.hostname:
        raise ServiceError(f"{channel.server_env} holds no smtp, smtp+starttls or smtps URL")
    if url.password and url.scheme == "smtp" and url.hostname not in _LOOPBACK:
        raise ServiceError(f"{channel.server_env}: a password needs smtp+starttls or smtps")
    with _connected(url) as server:
        if url.scheme == "smtp+starttls":
            server.starttls(context=ssl.create_default_context())
        if url.username and url.password:
            server.login(unquote(url.username), unquote(url.password))
        server.send_message(_letter(channel, message, url))


def _connected(url: SplitResult) -> smtplib.SMTP:
    assert url.hostname
    # By itself the library asks a name server for this, which may not answer.
    host = socket.gethostname()
    if url.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(url.hostname, url.port or 465, host, timeout=_SERVER_TIMEOUT, context=context)
    return smtplib.SMTP(url.hostname, url.port or (587 if "+" in url.scheme else 25), host, timeout=_SERVER_TIMEOUT)


def _letter(channel: ByMail, message: Message, url: SplitResult) -> EmailMessage:
    user = unquote(url.username or "")
    letter = EmailMessage()
    letter["Subject"] = f"assay: {message.schedule}: {message.kind} ({message.slot})"
    letter["From"] = parse_qs(url.query).get("from", [user if "@" in user else f"assay@{socket.gethostname()}"])[0]
    letter["To"] = channel.to
    letter["Message-ID"] = f"<{message.id}@assay>"
    run = f"\nrun: {message.run}" if message.run else ""
    letter.set_content(f"{message.line}\n{run}\nassay schedule history {message.schedule}\n")
    return letter


def _set(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise ServiceError(f"the environment variable {name} isn't set where alerts are sent")
    return value
