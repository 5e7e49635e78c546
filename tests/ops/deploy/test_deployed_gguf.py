"""`assay deploy` of GGUF exports, answered by llama.cpp; what becomes of servers also where llama.cpp isn't."""

import json
import os
import signal
import threading
import time
import urllib.request

import openai
import psutil
import pytest
from support.llama_cpp import converter

from ops.deploy import processes, wanted
from tests.ops.deploy.conftest import invoke, living, told
from tests.ops.deploy.test_deploy import TUNED, says

ROOM = 12


@pytest.fixture
def file(place, how, monkeypatch):
    """A file that quick servers tell the digest of."""
    monkeypatch.setattr(wanted, "require_server", lambda: None)
    made = place / "one.gguf"
    made.write_bytes(b"GGUF one")
    return made


def test_a_file_is_deployed_by_what_is_in_it(place, file):
    done = told("deploy", file)
    server = done["current"]
    assert (done["by"], server["model"], server["tested"]) == ("llama.cpp", str(file), 3)
    assert server["digest"] == server["file"] and says(done["url"]) == "one.gguf"
    assert server["against"] == ["no run is known that made it, so that no gate has judged it"]
    told("deploy", TUNED)
    file.write_bytes(b"GGUF two")
    refused = invoke("deploy", "--previous")
    assert refused.exit_code == 7, refused.stderr
    assert f"the new server has the file 4a84a2917e99 instead of {server['file'][:12]}" in refused.stderr
    assert "run:shop is still asked" in refused.stderr and says(done["url"]) == "tuned"
    assert living(place) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--to", "mlflow"], 2, "a GGUF file is answered by llama.cpp, on this machine"),
        (["--to", "kubernetes"], 2, "a GGUF file is answered by llama.cpp, on this machine"),
        (["--over", "run:shop/base"], 2, "llama.cpp serves one GGUF file, whose weights are merged"),
    ],
)
def test_mistakes(place, file, arguments, status, said):
    refused = invoke("deploy", file, *arguments)
    assert refused.exit_code == status and said in refused.stderr and living(place) == (0, 0)
    gone = invoke("deploy", file.with_name("gone.gguf"))
    assert gone.exit_code == 3 and "no such file" in gone.stderr


@pytest.fixture
def export(place):
    """The adapter's export, as the command writes it."""

    llama_cpp = ["--llama-cpp", converter()]
    done = invoke("export", TUNED, "--to", "gguf", "--dtype", "f32", "--out", place / "export", *llama_cpp)
    assert done.exit_code == 0, done.stderr
    return place / "export"


def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0)


def asked(url, **more):
    messages = [{"role": "user", "content": "What colour is the sky?"}]
    request = {"model": "m", "messages": messages, "max_tokens": ROOM, **more}
    return client(url).chat.completions.create(**request)


def engine_of(place, id_):
    """llama.cpp's process, the child of the deployment's server."""
    (server,) = processes.running(place / "state/deployments/m", id_)
    (child,) = server.children()
    return child


@pytest.mark.slow
def test_llama_cpp_takes_over_and_gives_back(place, export):
    by_torch = told("deploy", TUNED, "--as", "m", "--set", "device=cpu")
    url, expected = by_torch["url"], asked(by_torch["url"]).choices[0].message.content
    done = told("deploy", export, "--as", "m", "--set", "batch_size=2")
    server = done["current"]
    assert (done["url"], done["by"], server["tested"]) == (url, "llama.cpp", 3)
    assert server["digest"] == by_torch["current"]["digest"] and server["model"].endswith("export/model-f32.gguf")
    assert server["against"] == by_torch["current"]["against"] == ["no gate judged the models of run shop-2026"]
    (listed,) = client(url).models.list()
    assert (listed.engine, listed.digest, listed.file) == ("llama.cpp", server["digest"], server["file"])
    assert asked(url).choices[0].message.content == expected

    # One process is the deployment's: its engine isn't told to end before what has begun is answered.
    engine = engine_of(place, server["id"])
    assert processes.MARK not in engine.environ() and living(place, "m") == (1, 1)
    long = asked(url, stream=True, max_tokens=400)
    pieces = [next(long), next(long)]
    reader = threading.Thread(target=lambda: pieces.extend(long))
    reader.start()
    back = told("deploy", "--previous", "--as", "m")
    reader.join(60)
    assert pieces[-1].choices[0].finish_reason == "length"
    assert (back["by"], back["previous"]["file"]) == ("serve", server["file"])
    psutil.wait_procs([engine], timeout=20)
    assert not engine.is_running() and living(place, "m") == (1, 1)
    # Named as a file it is the same: its manifest lies beside it.
    again = told("deploy", server["model"], "--as", "m")["current"]
    assert [again[key] for key in ("model", "digest", "file")] == [server[key] for key in ("model", "digest", "file")]
    assert "llama.cpp" in invoke("deploy", "--show").stdout


@pytest.mark.slow
def test_deaths_and_files_that_are_others_by_now(place, export):
    done = told("deploy", export, "--as", "m")
    expected = asked(done["url"]).choices[0].message.content
    first = engine_of(place, done["current"]["id"])
    first.kill()
    for _ in range(100):
        try:
            again = asked(done["url"]).choices[0].message.content
            break
        except openai.InternalServerError:
            time.sleep(0.1)
    assert again == expected
    second = engine_of(place, done["current"]["id"])
    assert second.pid != first.pid
    for process in processes.running(place / "state/deployments/m"):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    psutil.wait_procs([second], timeout=20)
    assert not second.is_running()
    told("deploy", "--again", "--as", "m")
    assert asked(done["url"]).choices[0].message.content == expected

    told("deploy", TUNED, "--as", "m", "--set", "device=cpu")
    (weights,) = export.glob("*.gguf")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    damaged = invoke("deploy", "--previous", "--as", "m")
    assert damaged.exit_code == 5 and "changed, missing or new files: model-f32.gguf" in damaged.stderr
    with urllib.request.urlopen(f"{done['url']}/v1/models") as reply:
        assert json.loads(reply.read())["data"][0]["digest"] == done["current"]["digest"]
    assert living(place, "m") == (1, 1)
    assert invoke("undeploy", "--as", "m").exit_code == 0 and living(place, "m") == (0, 0)
