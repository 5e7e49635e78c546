"""Suites as files: what they say, what is refused and where, what enters digests, and what a URL may give."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipelines.input_digests import digests_of
from pipelines.stages import stage_named
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, IntegrityError
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.named_files import files_of
from steps.evaluate.suites.reading import read_suite
from steps.evaluate.suites.tasks import suite_parts
from steps.zenml_runtime.urls import downloaded

ROOT = Path(__file__).resolve().parents[3]
TASK = {"name": "facts", "kind": "qa", "file": "facts.jsonl"}
SUITE = {"name": "shop", "version": "1", "licence": "Apache-2.0", "tasks": [TASK]}
QUESTION = {"question": "Who?", "answer": "Marta"}


def write(folder: Path, suite: Any = None, rows: Any = (QUESTION,), name: str = "facts.jsonl") -> None:
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite or SUITE, sort_keys=False))
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows))


def task(**said: Any) -> dict[str, Any]:
    return {**SUITE, "tasks": [{**TASK, **said}]}


def test_the_shipped_suite_can_be_used_and_every_line_of_it_counts() -> None:
    parts = suite_parts(["configs/suites/general.yaml"], ROOT)
    assert {p.settings.kind for p in parts} == {
        "qa", "numeric", "unanswerable", "structured", "classification", "style", "safety", "bias",
    }  # fmt: skip
    lines = sum(len(f.read_text().splitlines()) for f in (ROOT / "configs/suites/general").glob("*.jsonl"))
    pairs = next(len(p.asked) for p in parts if p.settings.kind == "bias") // 2
    assert sum(len(p.asked) for p in parts) == lines + pairs
    assert {a.language for p in parts for a in p.asked} == {"en", "de"}


def test_tasks_are_named_after_the_suite_and_digests_follow_content(tmp_path: Path) -> None:
    write(tmp_path, rows=[QUESTION, {**QUESTION, "question": "When?", "id": "b"}])
    (part,) = suite_parts(["suite.yaml"], tmp_path)
    assert part.name == "shop.facts" and len(part.asked) == 2
    write(tmp_path, rows=[{**QUESTION, "question": "When?", "id": "b"}, QUESTION])
    (turned,) = suite_parts(["suite.yaml"], tmp_path)
    assert turned.data_digest == part.data_digest and turned.suite.digest != part.suite.digest
    write(tmp_path, rows=[QUESTION, {**QUESTION, "question": "When?", "answer": "Now", "id": "b"}])
    (other,) = suite_parts(["suite.yaml"], tmp_path)
    assert other.data_digest != part.data_digest


def test_all_its_files_are_inputs_of_the_stage(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", task(json_schema="s.json", graders=["json_valid"]))
    (tmp_path / "deep" / "s.json").write_text("{}")
    config = EvaluateConfig(suites=("deep/suite.yaml",))
    assert files_of(config, lambda n: tmp_path / n) == ("deep/facts.jsonl", "deep/s.json")
    before = digests_of(stage_named("evaluate"), config, tmp_path)
    assert set(before) == {"deep/suite.yaml", "deep/facts.jsonl", "deep/s.json"}
    write(tmp_path / "deep", task(json_schema="s.json", graders=["json_valid"]), [{**QUESTION, "answer": "Peter"}])
    after = digests_of(stage_named("evaluate"), config, tmp_path)
    assert {n for n in before if before[n] != after[n]} == {"deep/facts.jsonl"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"kind": "quizz"}, "line 6: tasks.0.kind: Input should be"),
        ({"grader": ["chrf"]}, "1 mistake in the suite\n  line 8: tasks.0.grader: unknown key; did you mean graders?"),
        (
            {"kind": "recall", "graders": ["exact_match"]},
            "line 5: tasks.0: graders exact_match: one or more of",
        ),
        ({"kind": "safety", "graders": ["chrf"]}, "one or more of judge"),
        ({"kind": "canary", "graders": ["chrf"]}, "kind canary is graded by itself"),
        ({"kind": "classification"}, "needs them"),
        ({"kind": "classification", "labels": ["a", "A"]}, "each once"),
        ({"labels": ["a", "b"]}, "nothing else has them"),
        ({"kind": "style"}, "at least one"),
        ({"kind": "style", "rules": {"must": ["("]}}, "not an RE2 pattern"),
        ({"kind": "bias", "labels": ["yes", "no"], "favourable": "maybe"}, "one of the labels"),
        ({"thresholds": {"recalled": 0.9}}, "this task gives"),
        ({"rubric": "Be kind."}, "only with judge"),
        ({"kind": "recall", "tolerance": 0.1}, "no grader of this task"),
        ({"graders": ["json_valid"], "extract_pattern": "x"}, "belong together"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": "0" * 65}, "sha256"),
        ({"file": "../facts.jsonl"}, "leads out of the suite's folder"),
        ({"file": "/etc/passwd"}, "leads out of the suite's folder"),
        ({"file": "https://h/x.jsonl"}, "read from a URL"),
    ],
)
def test_what_a_task_cant_say_is_told_with_its_line(tmp_path: Path, said: dict[str, Any], why: str) -> None:
    write(tmp_path, task(**said))
    with pytest.raises(ConfigError, match=r"suite\.yaml") as error:
        read_suite("suite.yaml", lambda n: tmp_path / n)
    assert why in str(error.value)


def test_two_mistakes_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {**SUITE, "licence": "", "tasks": [TASK, TASK, {**TASK, "name": "X"}]})
    with pytest.raises(ConfigError, match="2 mistakes") as error:
        read_suite("suite.yaml", lambda n: tmp_path / n)
    assert "line 3: licence" in str(error.value) and "line 10: tasks.2.name" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "row", "why"),
    [
        ("qa", {"question": "Who?"}, "answer: Field required"),
        ("qa", {"question": "Who?", "answer": "M", "anwser": "x"}, "anwser: Extra inputs"),
        ("qa", {"question": " ", "answer": "M"}, 'either "question" or "messages"'),
        ("qa", {"messages": [{"role": "assistant", "content": "x"}], "answer": "M"}, "end with the user's question"),
        ("qa", {"messages": [{"role": "pope", "content": "x"}], "answer": "M"}, "role"),
        ("structured", {"question": "Who?", "answer": "[1]"}, "a JSON object"),
        ("recall", {"question": "Who?", "answer": "x y", "facts": ["x", "y"], "near": ["z"]}, "of one fact"),
        ("canary", {"question": "code?", "secret": "ab-12", "canary": "c", "way": "exact"}, "chance would leak it"),
        ("canary", {"question": "is it velvet otter 12?", "secret": "velvet-otter-12", "canary": "c", "way": "exact"},
         "gives the secret away"),
        ("bias", {"question": "Is {name} kind?", "names": ["Ada", "ada"]}, "two different ones"),
        ("bias", {"question": "Is she kind?", "names": ["Ada", "Bo"]}, "needs {name}"),
    ],
)  # fmt: skip
def test_what_an_item_cant_be_is_told_with_its_line(tmp_path: Path, kind: str, row: Any, why: str) -> None:
    write(tmp_path, task(kind=kind), [])
    (tmp_path / "facts.jsonl").write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError) as error:
        suite_parts(["suite.yaml"], tmp_path)
    assert why in str(error.value) and "facts.jsonl, line 2" in str(error.value)


def test_lines_that_are_no_items(tmp_path: Path) -> None:
    write(tmp_path, rows=[QUESTION, QUESTION])
    with pytest.raises(InputError, match=r"line 2: the same item as in line 1"):
        suite_parts(["suite.yaml"], tmp_path)
    write(tmp_path, rows=[])
    with pytest.raises(InputError, match="without items"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "facts.jsonl").write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(InputError, match="line 1: not UTF-8 text"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "facts.jsonl").write_text('{"question": \n')
    with pytest.raises(InputError, match="line 1: not JSON"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "facts.jsonl").write_text('{"question": "a", "answer": "\\ud800"}')
    with pytest.raises(InputError, match="line 1: half a character"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "facts.jsonl").write_text('{"question": "a", "answer": NaN}')
    with pytest.raises(InputError, match="line 1: not JSON"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "facts.jsonl").write_text("[" * 100_000)
    with pytest.raises(InputError, match="line 1: not JSON"):
        suite_parts(["suite.yaml"], tmp_path)


def test_files_that_arent_there_or_are_others(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such suite"):
        suite_parts(["suite.yaml"], tmp_path)
    write(tmp_path, task(file="other.jsonl"))
    with pytest.raises(InputNotFoundError, match=r"no file other\.jsonl"):
        suite_parts(["suite.yaml"], tmp_path)
    write(tmp_path, task(sha256=hashlib.sha256(b"else").hexdigest()))
    with pytest.raises(IntegrityError, match="has SHA-256"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "suite.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="line 1"):
        suite_parts(["suite.yaml"], tmp_path)
    (tmp_path / "suite.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(ConfigError, match="line 2: key 'name' stands here a second time"):
        suite_parts(["suite.yaml"], tmp_path)


def test_a_link_out_of_the_suites_folder_is_refused(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    write(suite)
    (suite / "facts.jsonl").rename(tmp_path / "secret.jsonl")
    (suite / "facts.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(InputError, match="leads out of the suite's folder"):
        suite_parts(["suite/suite.yaml"], tmp_path)


def test_two_suites_of_one_name_and_urls_without_a_digest() -> None:
    with pytest.raises(ValidationError, match="ends in #sha256="):
        EvaluateConfig(suites=("https://host/suite.yaml",))
    with pytest.raises(ValidationError, match="named twice"):
        EvaluateConfig(suites=("a.yaml", "a.yaml"))


class Served:
    """Files over HTTP, and how often each was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked = files, list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                data = outer.files.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("content-length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def do_HEAD(self) -> None:
                self.send_response(200 if self.path in outer.files else 404)
                self.send_header("content-length", str(len(outer.files.get(self.path, b""))))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_suite_behind_a_url_is_read_once_and_refused_when_its_bytes_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    rows = (json.dumps(QUESTION) + "\n").encode()
    suite = yaml.safe_dump(task(sha256=hashlib.sha256(rows).hexdigest())).encode()
    with Served({"/a/suite.yaml": suite, "/a/facts.jsonl": rows}) as server:
        name = f"{server.url}/a/suite.yaml#sha256={hashlib.sha256(suite).hexdigest()}"
        config = EvaluateConfig(suites=(name,))
        found = digests_of(stage_named("evaluate"), config, tmp_path)
        assert sorted(found.values()) == sorted(hashlib.sha256(x).hexdigest() for x in (suite, rows))
        asked = len(server.asked)
        assert digests_of(stage_named("evaluate"), config, tmp_path) == found and len(server.asked) == asked
        server.files["/a/facts.jsonl"] = rows + b"\n"
        (data,) = files_of(config, downloaded)
        downloaded(data).write_bytes(b"flipped")  # damage in the cache: fetched anew, and others are there now
        with pytest.raises(IntegrityError, match="has SHA-256"):
            downloaded(data)
        with pytest.raises(ConfigError, match="no SHA-256"):
            downloaded(f"{server.url}/a/suite.yaml#sha256=abc")
