"""`assay deploy`: the old server is asked until the new one has passed, whatever happens meanwhile."""

import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from itertools import pairwise

import pytest

from ops.deploy import processes, state
from tests.ops.deploy.conftest import invoke, living, told

BASE, TUNED = "run:shop/base", "run:shop"


def says(url, padding=0):
    """Who answers there."""
    body = json.dumps({"model": "default", "messages": [], "padding": "x" * padding}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        said = json.loads(reply.read())
    assert said["length"] == len(body)
    return said["choices"][0]["message"]["content"].rpartition("/")[2]


@pytest.mark.slow
def test_deployed_exchanged_and_back(place, how):
    first = told("deploy", BASE)
    assert (says(first["url"]), first["running"]) == ("base", {"server": True, "address": True})
    assert (first["current"]["tested"], first["previous"]) == (3, None)
    assert first["current"]["against"] == ["no gate judged the models of run shop-2026"]
    nothing = invoke("deploy", "--previous")
    assert nothing.exit_code == 3 and "nothing was deployed before" in nothing.stderr

    second = told("deploy", TUNED)
    assert second["url"] == first["url"] and says(second["url"]) == "tuned"
    assert second["previous"]["digest"] == first["current"]["digest"] != second["current"]["digest"]
    assert says(second["url"], 3 << 20) == "tuned" and living(place) == (1, 1)
    # The same again is no other model to go back to.
    assert told("deploy", TUNED)["previous"]["digest"] == first["current"]["digest"]
    for name in ("base", "tuned"):
        back = told("deploy", "--previous")
        assert (back["url"], says(back["url"])) == (first["url"], name) and living(place) == (1, 1)

    shown = invoke("deploy", "--show")
    assert shown.exit_code == 0 and "runs" in shown.stdout and first["url"] in shown.stdout
    ended = invoke("undeploy")
    assert ended.exit_code == 0 and "2 processes or objects ended" in ended.stdout
    folder = place / "state/deployments/default"
    assert [f.name for f in folder.iterdir()] == ["lock"] and not processes.running(folder)
    again = invoke("undeploy")
    assert again.exit_code == 3 and "nothing is deployed" in again.stderr
    assert "nothing is deployed" in invoke("deploy", "--show").stdout


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("other", 7, "the new server has the weights 000000000000"),
        *(
            pytest.param(kind, 5, f"the new server {said}", marks=pytest.mark.slow)
            for kind, said in (
                ("dies", "ended before it answered; it said: no such model, it says"),
                ("hangs", "didn't answer within 1 s"),
                ("broken", "answered with 500"),
                ("random", "says something else each time"),
            )
        ),
    ],
)
def test_one_that_fails_is_never_asked(place, how, kind, status, said):
    url = told("deploy", BASE)["url"]
    how(kind)
    failed = invoke("deploy", TUNED, "--timeout", "1" if kind == "hangs" else "60")
    assert failed.exit_code == status and said in failed.stderr, failed.stderr
    assert "run:shop/base is still asked" in failed.stderr
    assert says(url) == "base" and living(place) == (1, 1)


def test_the_first_that_fails_leaves_nothing(place, how):
    how("dies")
    failed = invoke("deploy", TUNED)
    assert failed.exit_code == 5 and "nothing was deployed" in failed.stderr and living(place) == (0, 0)
    assert "nothing is deployed" in invoke("deploy", "--show").stdout


@pytest.mark.slow
def test_nobody_who_asks_notices_the_exchange(place, how):
    url = told("deploy", BASE)["url"]
    heard, ended = [], threading.Event()

    def ask():
        while not ended.is_set():
            heard.append(says(url))

    asking = threading.Thread(target=ask)
    asking.start()
    how("late")
    told("deploy", TUNED)
    time.sleep(0.3)
    ended.set()
    asking.join()
    changes = sum(a != b for a, b in pairwise(heard))
    assert (heard[0], heard[-1], changes) == ("base", "tuned", 1) and len(heard) > 100


@pytest.mark.slow
def test_what_was_killed_is_started_again_at_the_same_address(place, how):
    folder = place / "state/deployments/default"
    url = told("deploy", TUNED)["url"]
    there = state.read(folder)
    for id_ in (there.current.id, there.front):
        for process in processes.running(folder, id_):
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert not processes.running(folder)
    shown = invoke("deploy", "--show")
    assert shown.exit_code == 5 and "default is down: assay deploy --again --as default" in shown.stdout
    back = told("deploy", "--again")
    assert (back["url"], says(url), living(place)) == (url, "tuned", (1, 1)) and back["previous"] is None
    server = processes.running(folder, back["current"]["id"])[0]
    server.kill()
    server.wait()
    with pytest.raises(urllib.error.HTTPError) as e:
        says(url)
    assert e.value.code == 503 and json.loads(e.value.read())["error"]["message"] == "no server behind this address"
    told("deploy", "--again")
    kept = told("deploy", "--again")["current"]["id"]
    assert says(url) == "tuned" and kept == state.read(folder).current.id


@pytest.mark.slow
def test_ports(place, how):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = invoke("deploy", TUNED, "--port", taken.getsockname()[1])
        assert refused.exit_code == 2 and "is taken" in refused.stderr and living(place) == (0, 0)
        free = taken.getsockname()[1]
    url = told("deploy", TUNED, "--port", free)["url"]
    assert url == f"http://127.0.0.1:{free}" and says(url) == "tuned"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        moved = other.getsockname()[1]
    assert told("deploy", BASE, "--port", moved)["url"] == f"http://127.0.0.1:{moved}"
    assert says(f"http://127.0.0.1:{moved}") == "base" and living(place) == (1, 1)
    with pytest.raises(OSError):
        says(url)


@pytest.mark.slow
def test_deployments_have_names(place, how):
    one, two = (told("deploy", TUNED, "--as", name) for name in ("one", "two"))
    assert one["url"] != two["url"] and one["current"]["name"] == "one"
    assert invoke("undeploy", "--as", "one").exit_code == 0
    assert says(two["url"]) == "tuned" and living(place, "two") == (1, 1)
    for name in ("../one", "a/b", "", "-x", ".", "x" * 64, "a\nb"):
        refused = invoke("undeploy", f"--as={name}")
        assert refused.exit_code == 3 and "not a usable name" in refused.stderr, name


@pytest.mark.slow
def test_a_damaged_state_is_told_and_can_be_undeployed(place, how):
    told("deploy", TUNED)
    (place / "state/deployments/default/state.json").write_text("{")
    for arguments in (["deploy", TUNED], ["deploy", "--previous"], ["deploy", "--show"]):
        refused = invoke(*arguments)
        assert refused.exit_code == 7 and "not the state of a deployment" in refused.stderr
    assert invoke("undeploy").exit_code == 0
    assert not processes.running(place / "state/deployments/default")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "one of MODEL, --previous, --again and --show"),
        ([TUNED, "--previous"], 2, "one of MODEL"),
        ([TUNED, "--to", "mars"], 2, "nothing is deployed to 'mars'"),
        ([TUNED, "--to", "mlflow"], 2, "these weights aren't registered in MLflow"),
        ([TUNED, "--to", "mlflow", "--set", "device=cpu"], 2, "MLflow's server takes no settings"),
        (["run:none"], 3, "no run 'none'"),
        (["--again"], 3, "nothing is deployed as default"),
        ([TUNED, "--prompts", "gone.jsonl"], 3, "gone.jsonl: no such file"),
    ],
)
def test_mistakes(place, how, arguments, status, said):
    done = invoke("deploy", *arguments)
    assert done.exit_code == status and said in done.stderr, done.stderr
    assert living(place) == (0, 0)
