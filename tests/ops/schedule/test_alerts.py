"""Alerts: what is told, once, by which way; servers are real ones of this machine."""

import asyncio
import email
import email.policy
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from support.clockwork import BROKEN, Desk, at

from ops.schedule import alerts, moves, outbox
from ops.schedule.schedule import ByMail, ByWebhook, channel_of
from ops.schedule.slots import Result
from steps.contracts.errors import ConfigError

SINK = f"command:{sys.executable} -c \"import sys; open('told', 'a').write(sys.stdin.read())\""


def desk_with(tmp_path, *channels, **given):
    return Desk(tmp_path, alerts=[channel_of(c) for c in channels], **given)


def deliver(desk, tmp_path, now, **environment):
    alerts.keep_due(desk.table, at(now))
    return alerts.deliver(desk.table, tmp_path, {"PATH": "/usr/bin:/bin", **environment}, lambda: at(now))


def told(tmp_path):
    file = tmp_path / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def test_a_failure_is_told_once_when_no_attempt_is_left(tmp_path):
    desk = desk_with(tmp_path, SINK, retries=1, backoff="1m")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    deliver(desk, tmp_path, "01:01")
    assert told(tmp_path) == []
    desk.end(desk.look("01:05"), "01:06", Result("failed", "the server doesn't answer", "run-7"))
    for minute in ("01:06", "01:07"):
        assert deliver(desk, tmp_path, minute) == []
    (one,) = told(tmp_path)
    assert one["kind"] == "failure" and one["slot"] == "2026-03-01T01:00+00:00" and one["run"] == "run-7"
    assert one["text"] == "the slot of 2026-03-01T01:00+00:00 failed after 2 attempts: the server doesn't answer"


def test_a_rejected_model_is_told(tmp_path):
    desk = desk_with(tmp_path, SINK)
    desk.end(desk.look("01:00"), "01:01", Result("completed", "", "run-1", "rejected"))
    desk.end(desk.look("02:00"), "02:01", Result("completed", "", "run-2", "promoted"))
    deliver(desk, tmp_path, "02:02")
    assert [(t["kind"], t["run"]) for t in told(tmp_path)] == [("gate", "run-1")]


def test_production_that_is_not_what_it_was_is_told(tmp_path):
    desk = desk_with(tmp_path, SINK)
    for hour, verdict in (("01", "steady"), ("02", "drifted"), ("03", "degraded"), ("04", "too_few")):
        desk.end(desk.look(f"{hour}:00"), f"{hour}:01", Result("completed", "", f"run-{hour}", verdict))
    for _ in range(2):
        deliver(desk, tmp_path, "04:02")
    assert [(t["kind"], t["run"]) for t in told(tmp_path)] == [("drift", "run-02"), ("drift", "run-03")]
    assert told(tmp_path)[0]["text"] == (
        "production is drifted, as the slot of 2026-03-01T02:00+00:00 found; assay report run-02 shows in what"
    )


def test_that_nothing_happened_is_told_without_a_scheduler(tmp_path):
    desk = desk_with(tmp_path, SINK)
    deliver(desk, tmp_path, "01:59")
    assert told(tmp_path) == [], "it could still be started in time"
    deliver(desk, tmp_path, "03:30")
    deliver(desk, tmp_path, "03:31")
    (one,) = told(tmp_path)
    assert one["kind"] == "missed" and one["slot"] == "2026-03-01T02:00+00:00"
    assert "for the slot of 2026-03-01T02:00+00:00 (and 1 before it); no scheduler ever looked" in one["text"]
    # The scheduler comes back and sees the same: nobody is told again.
    desk.account("03:40")
    assert desk.states() == {"01:00": "missed", "02:00": "missed", "03:00": "queued"}
    deliver(desk, tmp_path, "03:41")
    assert len(told(tmp_path)) == 1


def test_slots_of_a_pause_are_nobodys_news(tmp_path):
    desk = desk_with(tmp_path, SINK, fresh_within="2h")
    moves.pause(desk.table, "s", at("00:30"))
    deliver(desk, tmp_path, "09:00")
    assert told(tmp_path) == []


def test_stale_is_told_once_until_it_is_fresh_again(tmp_path):
    desk = desk_with(tmp_path, SINK, cron="0 0 1 1 *", fresh_within="26h")
    deliver(desk, tmp_path, "2026-03-02T01:59")
    assert told(tmp_path) == []
    for minute in ("02:01", "02:02"):
        deliver(desk, tmp_path, f"2026-03-02T{minute}")
    slot = moves.run_now(desk.table, "s", at("2026-03-02T03:00"))
    desk.end(desk.start("2026-03-02T03:00"), "2026-03-02T03:10", Result("unchanged", "nothing new"))
    deliver(desk, tmp_path, "2026-03-03T05:09")
    for minute in ("05:11", "05:12"):
        deliver(desk, tmp_path, f"2026-03-03T{minute}")
    first, second = told(tmp_path)
    assert first["text"] == "stale: there is no result yet, it should be no older than 1d2h"
    assert "the newest result is of 2026-03-02T03:10+00:00" in second["text"]
    assert second["slot"] == slot.at.isoformat(timespec="minutes")


def test_only_what_is_asked_for_and_nothing_from_before(tmp_path):
    desk = Desk(tmp_path)
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    moves.edit(desk.table, "s", {"alerts": [channel_of(SINK)], "alert_on": ("failure",)}, at("01:30"))
    deliver(desk, tmp_path, "01:31")
    desk.account("04:30")
    deliver(desk, tmp_path, "04:31")
    assert told(tmp_path) == [], "the failure is older, and missed slots aren't asked for"


def test_a_receiver_that_fails_is_asked_again_and_a_kill_loses_nothing(tmp_path):
    desk = desk_with(tmp_path, "command:/bin/false")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    assert deliver(desk, tmp_path, "01:01") == ["alert to command:/bin/false: the program ended with status 1"]
    assert deliver(desk, tmp_path, "01:01") == [], "not before a minute has passed"
    assert len(deliver(desk, tmp_path, "01:03")) == 1
    with desk.table.look() as t:
        assert outbox.undelivered(t) == [("s", "command:/bin/false", "the program ended with status 1")]
    # What nobody got goes by the new channel.
    moves.edit(desk.table, "s", {"alerts": [channel_of(SINK)]}, at("01:10"))
    deliver(desk, tmp_path, "01:10")
    assert [t["slot"][11:16] for t in told(tmp_path)] == ["01:00"]
    # Taken, then killed: after the lease it is sent.
    desk.end(desk.look("02:00"), "02:01", BROKEN)
    alerts.keep_due(desk.table, at("02:01"))
    assert alerts._take(desk.table, at("02:01")) is not None
    deliver(desk, tmp_path, "02:02")
    assert len(told(tmp_path)) == 1
    deliver(desk, tmp_path, "02:07")
    assert [t["slot"][11:16] for t in told(tmp_path)] == ["01:00", "02:00"]


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def web_server(answer=200):
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    server.got, server.answer = [], answer
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, f"http://127.0.0.1:{server.server_port}/hook/s3cret"
    server.shutdown()
    server.server_close()


def test_webhook_and_slack(tmp_path):
    desk = desk_with(tmp_path, "webhook:HOOK", "slack:SLACK_URL")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    with web_server() as (server, url):
        assert deliver(desk, tmp_path, "01:01", HOOK=url, SLACK_URL=url) == []
    (path, one), (_, slack) = server.got
    assert path == "/hook/s3cret" and one["kind"] == "failure" and one["schedule"] == "s" and len(one["id"]) >= 16
    assert slack == {"text": f"assay schedule s: {one['text']}"}


def test_what_is_said_of_a_receiver_that_fails_holds_no_secret(tmp_path):
    desk = desk_with(tmp_path, "webhook:HOOK", "webhook:GONE", "webhook:UNSET", "webhook:ODD")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    with web_server(answer=403) as (_, url):
        said = deliver(desk, tmp_path, "01:01", HOOK=url, GONE="http://127.0.0.1:9/s3cret", ODD="file:///etc/s3cret")
    assert said == [
        "alert to webhook:HOOK: it answers with status 403",
        "alert to webhook:GONE: it can't be reached: ConnectionRefusedError",
        "alert to webhook:UNSET: the environment variable UNSET isn't set where alerts are sent",
        "alert to webhook:ODD: ODD holds no http or https URL",
    ]
    assert b"s3cret" not in (tmp_path / "table.db").read_bytes()


class _Mailbox:
    def __init__(self):
        self.letters = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 (aiosmtpd's name)
        self.letters.append(envelope)
        return "250 kept"


@contextmanager
def mail_server(**options):
    box = _Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=0, **options)
    # Port 0 is the system's choice: known once it listens.
    loop_ready = threading.Event()

    async def serve():
        server = await asyncio.get_running_loop().create_server(controller.factory, "127.0.0.1", 0)
        box.port = server.sockets[0].getsockname()[1]
        loop_ready.set()
        await server.serve_forever()

    loop = asyncio.new_event_loop()
    controller.loop = loop
    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: _run_until_cancelled(loop, task), daemon=True)
    thread.start()
    assert loop_ready.wait(10)
    yield box
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)


def _run_until_cancelled(loop, task):
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        pass
    finally:
        loop.close()


def test_mail(tmp_path):
    desk = desk_with(tmp_path, "email:ops@example.org")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    with mail_server() as box:
        assert deliver(desk, tmp_path, "01:01", ASSAY_SMTP=f"smtp://127.0.0.1:{box.port}?from=assay@example.org") == []
    (letter,) = box.letters
    text = email.message_from_bytes(letter.content, policy=email.policy.default)
    assert letter.rcpt_tos == ["ops@example.org"] and letter.mail_from == "assay@example.org"
    assert text["Subject"] == "assay: s: failure (2026-03-01T01:00+00:00)"
    assert "the slot of 2026-03-01T01:00+00:00 failed: the server doesn't answer" in text.get_content()
    with desk.table.look() as t:
        made = t.rows("SELECT * FROM alerts")[0]
    assert text["Message-ID"] == f"<{outbox.Alert('s', at('01:00'), 'failure', '').id}@assay>" and made["sent"]


def test_mail_with_a_password(tmp_path):
    desk = desk_with(tmp_path, "email:ops@example.org:MAIL")
    seen = []

    def check(_server, _session, _envelope, _mechanism, data):
        seen.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss", handled=False)

    desk.end(desk.look("01:00"), "01:01", BROKEN)
    with mail_server(authenticator=check, auth_required=True, auth_require_tls=False) as box:
        wrong = deliver(desk, tmp_path, "01:01", MAIL=f"smtp://me:wrong@127.0.0.1:{box.port}")
        assert deliver(desk, tmp_path, "01:03", MAIL=f"smtp://me:p%40ss@127.0.0.1:{box.port}") == []
    assert wrong == ["alert to email:ops@example.org: the mail server refuses it: 535"]
    assert len(box.letters) == 1 and seen[-1] == (b"me", b"p@ss")


@pytest.mark.parametrize(
    ("server", "why"),
    [("smtp://me:pw@mail.example.org", "a password needs smtp+starttls or smtps"),
     ("http://mail.example.org", "holds no smtp"), ("smtp://127.0.0.1:9", "can't be reached: ConnectionRefusedError")],
)  # fmt: skip
def test_mail_servers_that_wont_do(tmp_path, server, why):
    desk = desk_with(tmp_path, "email:ops@example.org")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    (said,) = deliver(desk, tmp_path, "01:01", ASSAY_SMTP=server)
    assert why in said and "pw" not in said.replace("a password", "")


def test_channels_of_the_command_line():
    assert channel_of("email:a@b.org") == ByMail(to="a@b.org", server_env="ASSAY_SMTP")
    assert channel_of("slack:MY_HOOK") == ByWebhook(kind="slack", url_env="MY_HOOK")
    for wrong in (
        "webhook:https://a.example.org/s3cret",
        "email:nobody",
        "email:a@b.org:smtp://x",
        "pager:1",
        "command:",
    ):
        with pytest.raises(ConfigError) as refused:
            channel_of(wrong)
        assert "s3cret" not in str(refused.value)
