import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, error, free_port, reasoning_model, verdict

from steps.contracts.errors import ConfigError, ServiceError
from steps.engines.llm.caller import Failure
from steps.engines.llm.client import ChatClient, Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.gbnf import grammar_of

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
OK = completion('{"score": 3}')


def endpoint(url: str, **more: Any) -> Endpoint:
    quick = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "timeout_seconds": 5.0, "max_attempts": 3}
    return Endpoint(base_url=url, model="m", **{**quick, **more})


def ask(url: str, times: int = 1, **more: Any) -> tuple[list[Reply | Failure], ChatClient]:
    async def main() -> tuple[list[Reply | Failure], ChatClient]:
        async with ChatClient(endpoint(url, **more)) as client:
            messages = [{"role": "user", "content": "hello"}]
            return [await client.ask(messages, SCHEMA, "verdict") for _ in range(times)], client

    return asyncio.run(main())


def play(script: Callable[[int, dict[str, Any]], Act], times: int = 1, **more: Any) -> tuple[Any, ScriptedServer]:
    with ScriptedServer(script) as server:
        replies, _ = ask(server.url, times, **more)
    return (replies if times > 1 else replies[0]), server


def test_a_reply_carries_text_tokens_and_mode() -> None:
    reply, server = play(lambda n, body: OK)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason, reply.refused) == ('{"score": 3}', "stop", False)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.mode, reply.attempts) == (100, 10, "json_schema", 1)
    sent = server.bodies[0]
    assert sent["response_format"]["json_schema"] == {"name": "verdict", "schema": SCHEMA, "strict": True}
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0.0, 800)


def test_settings_reach_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    _, server = play(
        lambda n, body: OK, key_env="MY_KEY", temperature=None, seed=7, max_tokens=9,
        max_tokens_field="max_completion_tokens", extra_body={"top_k": 1}, response_format="text",
    )  # fmt: skip
    sent = server.bodies[0]
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    assert sent["seed"] == 7 and sent["max_completion_tokens"] == 9 and sent["top_k"] == 1
    assert not {"temperature", "max_tokens", "response_format"} & set(sent)


def test_another_services_key_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-someone-else")
    _, server = play(lambda n, body: OK)
    assert "sk-of-someone-else" not in json.dumps(server.headers)


def test_a_missing_key_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        ChatClient(endpoint("http://127.0.0.1:1/v1", key_env="MY_KEY"))


@pytest.mark.parametrize(
    "fault",
    [error(500), error(503), error(429), error(408), Act(drop=True), Act(body=OK.body, cut=True), Act(body="{}"),
     Act(body="<html>oops</html>"), Act(body='{"choices": []}'), Act(body="[1]"), Act(body='{"choices": 3}')],
    ids=["500", "503", "429", "408", "dropped", "half a reply", "empty object", "html", "no choices", "list", "number"],
)  # fmt: skip
def test_a_passing_fault_is_retried(fault: Act) -> None:
    reply, server = play(lambda n, body: fault if n < 2 else OK)
    assert isinstance(reply, Reply) and reply.attempts == 3
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(error(500), "server_error"), (error(429), "rate_limited"), (Act(drop=True), "connection"),
     (Act(body=OK.body, cut=True), "connection"),
     (Act(body="{"), "bad_response"), (Act(body='{"choices": []}'), "bad_response")],
)  # fmt: skip
def test_a_lasting_fault_becomes_a_reason(fault: Act, reason: str) -> None:
    failure, server = play(lambda n, body: fault)
    assert isinstance(failure, Failure) and failure.reason == reason
    assert len(server.bodies) == 3 == failure.attempts


def test_a_slow_reply_times_out() -> None:
    failure, server = play(lambda n, body: Act(body=OK.body, delay=1.0), timeout_seconds=0.15, max_attempts=2)
    assert isinstance(failure, Failure) and failure.reason == "timeout"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("headers", [{"Retry-After": "0.4"}, {"retry-after-ms": "400"}])
def test_retry_after_is_obeyed(headers: dict[str, str]) -> None:
    reply, server = play(lambda n, body: error(429, headers=headers) if n == 0 else OK)
    assert isinstance(reply, Reply)
    assert 0.4 <= server.times[1] - server.times[0] < 1.5


def test_a_retry_after_beyond_the_limit_ends_the_request_at_once() -> None:
    failure, server = play(lambda n, body: error(429, headers={"Retry-After": "3600"}))
    assert isinstance(failure, Failure) and failure.reason == "rate_limited"
    assert len(server.bodies) == 1


def wants(*taken: str) -> Callable[[int, dict[str, Any]], Act]:
    def script(n: int, body: dict[str, Any]) -> Act:
        form = body.get("response_format", {})
        kind = form.get("type", "text") + ("_schema" if "schema" in form else "")
        return OK if kind in taken else error(400, f"response_format {kind} is not supported")

    return script


@pytest.mark.parametrize(
    ("taken", "mode", "requests"),
    [
        (("json_schema", "text"), "json_schema", 3),
        (("json_object_schema", "json_object"), "json_object_schema", 4),
        (("json_object", "text"), "json_object", 5),
        (("text",), "text", 6),
    ],
)
def test_the_strictest_format_that_the_server_takes_is_found_once(
    taken: tuple[str, ...], mode: str, requests: int
) -> None:
    replies, server = play(wants(*taken), times=3)
    assert [r.mode for r in replies] == [mode] * 3
    assert len(server.bodies) == requests


def test_one_bad_request_does_not_lower_the_format_for_the_others() -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        return error(400, "context length exceeded") if n < 4 else OK

    replies, server = play(script, times=2)
    assert isinstance(replies[0], Failure) and replies[0].reason == "bad_request"
    assert isinstance(replies[1], Reply) and replies[1].mode == "json_schema"
    assert len(server.bodies) == 5


def test_each_dialect_says_the_schema_in_its_own_way() -> None:
    said = {}
    for form in ("json_schema", "json_object_schema", "json_object", "guided_json", "grammar", "text"):
        _, server = play(lambda n, body: OK, response_format=form)
        said[form] = {k: v for k, v in server.bodies[0].items() if k in ("response_format", "guided_json", "grammar")}
    grammar = said.pop("grammar").pop("grammar")
    assert said == {
        "json_schema": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True},
            }
        },
        "json_object_schema": {"response_format": {"type": "json_object", "schema": SCHEMA}},
        "json_object": {"response_format": {"type": "json_object"}},
        "guided_json": {"guided_json": SCHEMA},
        "text": {},
    }
    assert grammar == grammar_of(SCHEMA)


def test_a_grammar_is_the_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, "b"]}, "c": {"type": "array", "items": {"type": "string"}}},
    }
    rules = dict(line.split(" ::= ", 1) for line in grammar_of(schema).splitlines())
    assert rules["root"] == r'"{" " "? "\"a\":" " "? root-0 "," " "? "\"c\":" " "? root-1 " "? "}"'
    assert rules["root-0"] == r'( "1" | "\"b\"" )'
    assert rules["root-1"] == '( "[" " "? ( string ( "," " "? string )* )? " "? "]" )'
    with pytest.raises(ConfigError, match="no grammar is made of a schema of type None"):
        grammar_of({"anyOf": []})


def test_what_a_model_refuses_is_left_out_once() -> None:
    with ScriptedServer(reasoning_model(OK)) as server:
        replies, client = ask(server.url, times=4)
    assert [r.mode for r in replies if isinstance(r, Reply)] == ["json_schema"] * 4
    fields = [sorted({"max_tokens", "max_completion_tokens", "temperature"} & set(b)) for b in server.bodies]
    assert fields == [["max_tokens", "temperature"], ["max_completion_tokens", "temperature"],
                      *[["max_completion_tokens"]] * 4]  # fmt: skip
    assert server.bodies[-1]["max_completion_tokens"] == 800
    assert client.adapted.said == [
        "The server refuses max_tokens for this model: max_completion_tokens was sent.",
        "The server refuses temperature 0 for this model: its own was used.",
    ]


def test_requests_that_are_refused_at_the_same_time_all_find_the_way() -> None:
    async def main(url: str) -> tuple[list[Reply | Failure], ChatClient]:
        async with ChatClient(endpoint(url)) as client:
            messages = [{"role": "user", "content": "hello"}]
            return await asyncio.gather(*(client.ask(messages, SCHEMA, "verdict") for _ in range(6))), client

    with ScriptedServer(reasoning_model(OK)) as server:
        replies, client = asyncio.run(main(server.url))
    assert [isinstance(r, Reply) for r in replies] == [True] * 6 and len(client.adapted.said) == 2
    assert sum("temperature" not in b and "max_tokens" not in b for b in server.bodies) == 6, "one whole reply per row"


def test_a_server_that_names_the_field_in_words_only_is_understood() -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        return error(422, "unknown field max_completion_tokens") if "max_completion_tokens" in body else OK

    reply, server = play(script, max_tokens_field="max_completion_tokens")
    assert isinstance(reply, Reply) and [("max_tokens" in b) for b in server.bodies] == [False, True]


@pytest.mark.parametrize(
    "refusal",
    [error(400, "temperature must be above 0", param="temperature"),
     error(400, "max_tokens is too large: 800", param="max_tokens", code="invalid_value"),
     error(400, "Unsupported parameter", param="seed", code="unsupported_parameter")],
)  # fmt: skip
def test_another_fault_of_a_field_changes_nothing(refusal: Act) -> None:
    failure, server = play(lambda n, body: refusal)
    assert isinstance(failure, Failure) and failure.reason == "bad_request"
    assert len(server.bodies) == 1, "nor is it the response_format's"


def test_a_server_that_takes_neither_name_is_asked_twice() -> None:
    failure, server = play(
        lambda n, body: error(
            400, "no", code="unsupported_parameter",
            param="max_tokens" if "max_tokens" in body else "max_completion_tokens",
        )
    )  # fmt: skip
    assert isinstance(failure, Failure) and len(server.bodies) == 2


def test_a_failure_names_param_and_code_and_repeats_no_text() -> None:
    secret = "my name is Rosa"
    failure, _ = play(lambda n, body: error(400, secret, code="context_length_exceeded", param="messages[1].content"))
    assert isinstance(failure, Failure)
    assert failure.detail == "HTTP 400, param messages[1].content, code context_length_exceeded"
    failure, _ = play(lambda n, body: error(400, secret, code=secret, param=secret))
    assert isinstance(failure, Failure) and failure.detail == "HTTP 400"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_can_never_work_stops_at_once(status: int) -> None:
    with ScriptedServer(lambda n, body: error(status)) as server, pytest.raises(ServiceError, match=str(status)):
        ask(server.url)
    assert len(server.bodies) == 1


def test_spent_quota_stops_at_once() -> None:
    with (
        ScriptedServer(lambda n, body: error(429, code="insufficient_quota")) as server,
        pytest.raises(ServiceError, match="quota"),
    ):
        ask(server.url)
    assert len(server.bodies) == 1


def test_a_server_that_is_down_stops_the_run_early() -> None:
    with pytest.raises(ServiceError, match="4 requests in a row"):
        ask(f"http://127.0.0.1:{free_port()}/v1", times=100, give_up_after=4)


def test_failures_between_replies_do_not_stop_the_run() -> None:
    replies, _ = play(lambda n, body: error(500) if n % 2 else OK, times=12, max_attempts=1, give_up_after=2)
    assert [isinstance(r, Reply) for r in replies] == [True, False] * 6


def test_a_redirect_is_not_followed() -> None:
    with ScriptedServer(lambda n, body: OK) as elsewhere:
        failure, _ = play(lambda n, body: Act(307, "{}", {"location": elsewhere.url + "/chat/completions"}))
        assert elsewhere.bodies == []
    assert isinstance(failure, Failure)


def test_a_proxy_never_sees_a_local_servers_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda n, body: OK) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        reply, server = play(lambda n, body: OK)
        assert proxy.bodies == []
    assert isinstance(reply, Reply) and len(server.bodies) == 1


def test_the_server_marks_a_refusal() -> None:
    for act in (completion(None, refusal="no"), completion("", finish="content_filter")):
        reply, _ = play(lambda n, body, act=act: act)
        assert isinstance(reply, Reply) and reply.refused and reply.text == ""


def test_missing_usage_is_none_not_zero() -> None:
    reply, _ = play(lambda n, body: completion(verdict(5), usage=False))
    assert isinstance(reply, Reply) and reply.prompt_tokens is None and reply.completion_tokens is None


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:1/v1", True), ("http://127.9.9.9/v1", True), ("http://[::1]:80/v1", True),
     ("http://localhost:8000", True), ("http://LOCALHOST.:8000", True), ("http://a.localhost", True),
     ("https://api.openai.com/v1", False), ("http://0.0.0.0:1/v1", False), ("http://10.0.0.1/v1", False),
     ("http://127.0.0.1.evil.example/v1", False), ("http://localhost.evil.example", False)],
)  # fmt: skip
def test_loopback_is_told_from_everything_else(url: str, local: bool) -> None:
    assert Endpoint(base_url=url, model="m").on_this_machine is local


@pytest.mark.parametrize(
    "bad",
    [{"base_url": "ftp://x"}, {"base_url": "localhost:8000"}, {"base_url": "http://u:p@host/v1"},
     {"extra_body": {"model": "x"}}, {"extra_body": {"max_tokens": 3}}, {"initial_backoff_seconds": 60.0}],
)  # fmt: skip
def test_contradictory_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Endpoint(**{"base_url": "http://127.0.0.1/v1", "model": "m", **bad})
