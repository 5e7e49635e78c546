"""The server as OpenAI's own client sees it, and as those see it who mean no good; over real HTTP."""

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import openai
import pytest
import uvicorn
from safetensors.torch import load_file, save_file
from support.tuned_models import adapted

from ops.serving.app import Rules, make_app
from ops.serving.desk import Desk
from ops.serving.loading import describe
from ops.serving.request_log import RequestLog
from steps.contracts.models import ModelFolder
from steps.contracts.records import make_row, message
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.folder import model_folder
from steps.engines.subjects.local_model import Inference, local_model

INFERENCE = Inference(batch_size=4, num_threads=1, device="cpu")
QUESTIONS = [f"What is {n}? The sky?" + " and" * (3 * n % 7) for n in range(9)]
ROOM = 14
Models = dict[str, tuple[ModelFolder, ModelFolder | None]]


@dataclass(frozen=True)
class Server:
    port: int
    desk: Desk
    client: openai.OpenAI


@contextmanager
def running(models, inference: Inference = INFERENCE, log: RequestLog | None = None, **rules) -> Iterator[Server]:
    hosts = frozenset({"127.0.0.1", "localhost"})
    with Desk(models, inference) as desk:
        app = make_app(desk, Rules(describe(models), most=ROOM, hosts=hosts, **rules), log)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Server(port, desk, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="-", max_retries=0))
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def adapter(tiny_model: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return adapted(tiny_model, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def other(adapter: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The adapter turned round."""
    folder = shutil.copytree(adapter.path, tmp_path_factory.mktemp("other") / "files")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({n: -w if "lora_A" in n else w for n, w in weights.items()}, folder / "adapter_model.safetensors")
    info = adapter.info
    return model_folder(folder, kind="adapter", base=info.base, parameters=info.parameters, trainable=1)


@pytest.fixture(scope="module")
def models(tiny_model: ModelFolder, adapter: ModelFolder, other: ModelFolder) -> Models:
    return {"base": (tiny_model, None), "shop": (tiny_model, adapter), "other": (tiny_model, other)}


@pytest.fixture(scope="module")
def server(models) -> Iterator[Server]:
    with running(models) as one:
        yield one


def evaluated(
    base: ModelFolder, tuned: ModelFolder | None, room: int = ROOM, inference: Inference = INFERENCE
) -> list[str]:
    """What an evaluation hears."""
    rows = [
        make_row(kind="conversation", source="s", locator=f"line:{n}", raw=q.encode(),
                 messages=[message("user", q), message("assistant", "blue")])
        for n, q in enumerate(QUESTIONS)
    ]  # fmt: skip
    with local_model("any", base, tuned, inference) as subject:
        said = subject.answer([p for p in subject.prompts(rows).prompts if p], room).texts
    assert tuned is None or len(set(said)) > 5
    return [text or "" for text in said]


def ask(server: Server, model: str, question: str, **options):
    return server.client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], **options
    )


def test_answers_are_the_evaluated_ones_of_each_model_one_by_one_and_together(server, models) -> None:
    expected = {name: evaluated(*model) for name, model in models.items()}
    assert all(a != b for a, b in zip(expected["other"], expected["shop"], strict=True))
    asked = [(model, n) for n in range(len(QUESTIONS)) for model in models]
    with ThreadPoolExecutor(len(asked)) as clients:
        found = list(clients.map(lambda a: ask(server, a[0], QUESTIONS[a[1]]).choices[0].message.content, asked))
    assert found == [expected[model][n] for model, n in asked]
    one_by_one = [ask(server, "shop", q).choices[0].message.content for q in QUESTIONS[:3]]
    assert one_by_one == expected["shop"][:3]
    assert [m.id for m in server.client.models.list()] == list(models)
    assert server.client.models.retrieve("shop").id == "shop"


def test_a_stream_says_the_same_piece_by_piece_and_counts(server) -> None:
    for question in QUESTIONS[:4]:
        whole = ask(server, "shop", question)
        pieces = list(ask(server, "shop", question, stream=True, stream_options={"include_usage": True}))
        said = [p.choices[0].delta.content for p in pieces if p.choices and p.choices[0].delta.content]
        assert "".join(said) == whole.choices[0].message.content
        assert pieces[-1].usage == whole.usage and pieces[-1].choices == []
        assert [p.choices[0].finish_reason for p in pieces[:-1]][-1] == whole.choices[0].finish_reason
    assert whole.usage.completion_tokens == ROOM and whole.choices[0].finish_reason == "length"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + ROOM


def test_room_stops_and_chance_are_as_asked(server) -> None:
    whole = ask(server, "shop", QUESTIONS[1]).choices[0].message.content
    short = ask(server, "shop", QUESTIONS[1], max_tokens=3)
    assert short.usage.completion_tokens == 3 and short.choices[0].finish_reason == "length"
    assert whole.startswith(short.choices[0].message.content)
    stop = whole[4:6]
    assert whole.find(stop) > 0
    for options in ({"stop": stop}, {"stop": ["never said", stop]}):
        ended = ask(server, "shop", QUESTIONS[1], **options)
        assert ended.choices[0].message.content == whole[: whole.find(stop)]
        assert ended.choices[0].finish_reason == "stop" and ended.usage.completion_tokens < ROOM
        streamed = ask(server, "shop", QUESTIONS[1], stream=True, **options)
        assert "".join(p.choices[0].delta.content or "" for p in streamed) == ended.choices[0].message.content
    drawn = [ask(server, "shop", QUESTIONS[1], temperature=1.5, seed=s).choices[0].message.content for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    # Beside others, whose chance is their own.
    with ThreadPoolExecutor(4) as clients:
        seeds = list(clients.map(lambda s: ask(server, "shop", QUESTIONS[1], temperature=1.5, seed=s), (1, 2, 3, 1)))
    assert [seeds[i].choices[0].message.content for i in (0, 1, 3)] == [drawn[0], drawn[2], drawn[0]]
    assert ask(server, "shop", QUESTIONS[1], temperature=0).choices[0].message.content == whole


def post(server: Server, body: bytes, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]
    finally:
        connection.close()


def body(**changes) -> bytes:
    wanted = {"model": "shop", "messages": [{"role": "user", "content": "Hello"}], **changes}
    return json.dumps({k: v for k, v in wanted.items() if v is not ...}).encode()


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("sent", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"null", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"model": "shop", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, None),
        (body()[:-1] + b', "temperature": NaN}', 400, None),
        (body(seed=10**400), 400, "seed"),
        (body(model=...), 400, "model"),
        (body(model=7), 400, "model"),
        (body(model="nobody"), 404, "model"),
        (body(messages=[]), 400, "messages"),
        (body(messages="Hello"), 400, "messages"),
        (body(messages=[7]), 400, "messages.0"),
        (body(messages=[{"role": "narrator", "content": "x"}, USER]), 400, "messages"),
        (body(messages=[{"role": "user"}]), 400, "messages"),
        (body(messages=[{"role": "user", "content": 7.5}]), 400, "messages"),
        (body(messages=[{"role": ["user"], "content": "x"}, USER]), 400, "messages"),
        (body(messages=[USER, {"role": "assistant", "content": "x"}]), 400, "messages"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]), 400,
         "messages"),
        (body(messages=[{"role": "user", "content": "word " * 4_000}]), 400, "messages"),
        (body(temperature=-1), 400, "temperature"),
        (body(temperature="hot"), 400, "temperature"),
        (body(max_tokens=0), 400, "max_tokens"),
        (body(max_tokens=True), 400, "max_tokens"),
        (body(top_p=0), 400, "top_p"),
        (body(stop=["a"] * 5), 400, "stop"),
        (body(stop=""), 400, "stop"),
        (body(n=2), 400, "n"),
        (body(logprobs=True), 400, "logprobs"),
        (body(response_format={"type": "json_object"}), 400, "response_format.type"),
        (body(tools=[7]), 400, "tools.0"),
        (body(best_of=3), 400, "best_of"),
        (body(messages=[USER] * 2_001), 400, "messages"),
        (b'{"model": "shop", "messages": "' + b"x" * 4_200_000 + b'"}', 413, None),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_server_lives_on(server, sent, status, param) -> None:
    found, error = post(server, sent)
    assert (found, error["type"]) == (status, "invalid_request_error")
    assert error["message"] and set(error) == {"message", "type", "param", "code"}
    assert (error["param"] or "").startswith(param or "") and bool(error["param"]) == bool(param)


def test_after_all_that_it_answers(server) -> None:
    assert ask(server, "shop", "Hello").choices[0].message.role == "assistant"


def test_pages_of_others_paths_that_are_not_there_and_keys_that_are_wrong_are_refused(server, models) -> None:
    assert post(server, body(), {"Host": "evil.example"})[0] == 421
    assert post(server, body(), {"Content-Type": "text/plain"})[0] == 415
    assert post(server, body(), path="/v1/completions")[0] == 404
    assert post(server, body(), path="/v1/models")[0] == 405
    with running({"shop": models["shop"]}, key="secret") as guarded:
        assert post(guarded, body())[1]["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            ask(guarded, "shop", "Hello")
        known = guarded.client.with_options(api_key="secret")
        assert known.models.list().data
        assert health(guarded)["status"] == "ok"


@pytest.mark.parametrize("host", ["[", "[::1", "a:b:c", "", "127.0.0.1@evil", "localhost.evil.example:80", "\xe9"])
def test_names_that_are_none_are_refused(server, host) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        said = b"".join(iter(lambda: raw.recv(4_096), b""))
    assert said.split(b" ")[1] in (b"421", b"400")


def test_a_body_that_does_not_come_is_not_waited_for(server, monkeypatch) -> None:
    monkeypatch.setattr("ops.serving.app._SLOWEST", 0.2)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(head + b"Content-Length: 50\r\n\r\n{")
        assert raw.recv(4_096).split(b" ")[1] == b"408"


def health(server: Server) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/health")
    return json.loads(connection.getresponse().read())


def test_health_answers_while_others_wait_and_who_hangs_up_is_let_go(server, monkeypatch) -> None:
    free = threading.Event()
    heard = type(server.desk)._answer

    def held(desk, jobs):
        free.wait(20)
        heard(desk, jobs)

    monkeypatch.setattr(type(server.desk), "_answer", held)
    before = server.desk.answered
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(ask, server, "base", "One")
        until(lambda: health(server)["answering"] == 1)
        gone = http.client.HTTPConnection("127.0.0.1", server.port)
        gone.request("POST", "/v1/chat/completions", body(max_tokens=400), {"Content-Type": "application/json"})
        until(lambda: health(server)["waiting"] == 1)
        gone.close()
        until(lambda: any(job.gone.is_set() for job in server.desk._waiting))
        free.set()
        assert first.result().choices[0].message.role == "assistant"
    until(lambda: health(server)["waiting"] == 0)
    assert ask(server, "base", "Two").usage.prompt_tokens > 0
    assert server.desk.answered == before + 2


@pytest.mark.slow
def test_who_asks_meanwhile_is_answered_beside_who_asked_before(server, models, monkeypatch) -> None:
    expected, few = evaluated(*models["shop"]), evaluated(*models["shop"], 3)
    step = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: (time.sleep(0.1), step(self)))
    pieces = iter(ask(server, "shop", QUESTIONS[0], stream=True))
    said = [next(pieces), next(pieces)]
    short = ask(server, "shop", QUESTIONS[1], max_tokens=3).choices[0]
    assert server.desk.answering == 1 and short.finish_reason == "length"
    said += pieces
    assert "".join(p.choices[0].delta.content or "" for p in said if p.choices) == expected[0]
    assert short.message.content == few[1]


def until(holds) -> None:
    for _ in range(1_000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def test_a_batch_that_fails_is_an_error_of_its_own_and_full_queues_are_said(server, monkeypatch) -> None:
    monkeypatch.setattr(server.desk, "_use", lambda name: 1 / 0)
    with pytest.raises(openai.InternalServerError, match="ZeroDivisionError"):
        ask(server, "shop", "Hello")
    (event,) = [e for e in stream_of(server, body(stream=True)) if "error" in e]
    assert event["error"]["type"] == "server_error"
    monkeypatch.undo()
    monkeypatch.setattr("ops.serving.desk.MOST_WAITING", 0)
    with pytest.raises(openai.RateLimitError):
        ask(server, "shop", "Hello")
    monkeypatch.undo()
    assert ask(server, "shop", "Hello").choices


def stream_of(server: Server, sent: bytes) -> list[dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/chat/completions", sent, {"Content-Type": "application/json"})
    lines = connection.getresponse().read().decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_weights_come_back_to_the_bit(server) -> None:
    desk = server.desk
    weights = desk._served["base"]._loaded.model.state_dict()
    desk._use("base")
    there = {n: t.clone() for n, t in weights.items()}
    for name in ("shop", "other", "shop"):
        desk._use(name)
        assert any(not t.equal(there[n]) for n, t in weights.items())
    desk._use("base")
    assert all(t.equal(there[n]) for n, t in weights.items())


@pytest.mark.slow
def test_in_16_bits_each_model_answers_as_it_is_evaluated_too(models) -> None:
    in_16_bits = replace(INFERENCE, dtype="bfloat16")
    some = {name: models[name] for name in ("shop", "other")}
    with running(some, in_16_bits) as one:
        found = {m: [ask(one, m, q).choices[0].message.content for q in QUESTIONS] for _ in range(2) for m in some}
    assert found == {
        name: evaluated(*model, inference=replace(in_16_bits, batch_size=1)) for name, model in some.items()
    }


@pytest.mark.slow
def test_every_request_is_logged_with_what_became_of_it_before_its_answer_is_whole(models, tmp_path) -> None:
    path = tmp_path / "serve.jsonl"

    def logged() -> list[dict]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    with RequestLog(path) as log, running(models, log=log) as one:
        whole = ask(one, "shop", QUESTIONS[0], user="jane.roe@example.org", seed=3)
        assert len(logged()) == 1
        streamed = list(ask(one, "base", QUESTIONS[1], stream=True))
        assert len(logged()) == 2
        with pytest.raises(openai.BadRequestError):
            ask(one, "shop", "word " * 5_000)
        with pytest.raises(openai.NotFoundError):
            ask(one, "nobody", "hello")
        said = iter(ask(one, "shop", QUESTIONS[2], stream=True))
        next(said)
        said.close()
        deadline = time.monotonic() + 20
        while len(logged()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        health = http.client.HTTPConnection("127.0.0.1", one.port)
        health.request("GET", "/health")
        assert json.loads(health.getresponse().read())["unlogged"] == 0
    first, second, refused, gone = logged()
    assert first["id"] == whole.id and first["response"]["choices"][0]["message"]["content"] == (
        whole.choices[0].message.content
    )
    assert first["request"] == {
        "model": "shop", "messages": [{"role": "user", "content": QUESTIONS[0]}], "seed": 3
    }, "who asks isn't logged"  # fmt: skip
    assert first["model_digest"] == models["shop"][1].info.digest and first["response"]["usage"]["total_tokens"] > 0
    assert 0 < first["latency"] < 60 and abs(first["created"] - time.time()) < 600
    text = "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)
    assert second["response"]["choices"][0]["message"]["content"] == text and second["id"] == streamed[0].id
    assert (refused["status"], refused["error"]["code"]) == (400, "context_length_exceeded")
    # It may have been whole before its sender was seen to be gone.
    assert gone.get("error", {"code": "client_gone"})["code"] == "client_gone"
