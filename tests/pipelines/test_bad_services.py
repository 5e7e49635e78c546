"""A tracker that is down, a disk that is full, a step that fails in an unforeseen way."""

import json
import resource
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ops.run import run
from ops.run_index import find_run, known_runs
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, ServiceError

ROOT = Path(__file__).resolve().parents[2]


def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> int:
    """Of one server for all tests: ZenML reads a stack once in a process."""
    return closed_port()


@pytest.fixture
def elsewhere(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack whose MLflow server is down, and a run that reaches it in its train step."""
    monkeypatch.setenv("TRACKING_TOKEN", "none")
    (tmp_path / ".zenml" / "stacks").mkdir(parents=True)
    (tmp_path / "configs" / "infra").mkdir(parents=True)
    local = (ROOT / ".zenml" / "stacks" / "local.yaml").read_text()
    configuration = f'{{tracking_uri: "http://127.0.0.1:{port}", tracking_token: "${{secret:TRACKING_TOKEN}}"}}'
    down = local.replace("stack_name: local", "stack_name: down").split("  model_registry:")[0]
    down = down.replace(
        "name: mlflow, flavor: mlflow, configuration: {}", f"name: gone, flavor: mlflow, configuration: {configuration}"
    )
    (tmp_path / ".zenml" / "stacks" / "down.yaml").write_text(down)
    (tmp_path / "configs" / "infra" / "down.yaml").write_text(
        "stack: down\nsteps: {train_step: {experiment_tracker: gone}}\n"
    )
    rows = [
        {"prompt": f"What colour is thing number {i} in room {i * 7}?", "completion": f"Green{i}"} for i in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def config(folder: Path, model: str) -> Path:
    path = folder / "down.yaml"
    path.write_text(json.dumps({
        "name": "down",
        "ingest": {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl")}]},
        "skip": ["judge", "dedup"],
        "split": {"test": 0.3},
        "scrub": {"demo_key": True},
        "base": {"model": model},
        "train": {"max_steps": 2, "max_length": 256},
        "registry": {"name": "down"},
    }))  # fmt: skip
    return path


class _Once(BaseHTTPRequestHandler):
    """An MLflow that answers one search for experiments, as it is asked before a run."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def goes_down_after_one_request(port: int) -> None:
    server = HTTPServer(("127.0.0.1", port), _Once)

    def serve() -> None:
        with server:
            server.handle_request()

    threading.Thread(target=serve, daemon=True).start()


def test_tracker_that_is_down_stops_a_run_before_it_begins(elsewhere: Path) -> None:
    before = len(known_runs(elsewhere))
    with pytest.raises(ServiceError, match=r"tracker can't be used: .*refused") as caught:
        run(config(elsewhere, "examples.toy_base.build:build"), infra="down", root=elsewhere)
    assert "start it" in caught.value.hint
    assert len(known_runs(elsewhere)) == before


@pytest.mark.slow
def test_tracker_that_goes_down_is_named_and_finished_steps_are_kept(elsewhere: Path, port: int, tiny_model) -> None:
    path = config(elsewhere, str(tiny_model.path))
    goes_down_after_one_request(port)
    with pytest.raises(ServiceError, match="tracker") as caught:
        run(path, infra="down", root=elsewhere)
    assert "finished steps are reused" in str(caught.value)
    failed = find_run(elsewhere, None)
    assert failed.status == "failed"
    goes_down_after_one_request(port)
    with pytest.raises(ServiceError):
        run(path, infra="down", root=elsewhere)
    again = find_run(elsewhere, None)
    assert {"ingest_step", "split_step", "scrub_step", "screen_step", "leakcheck_step", "base_step"} <= set(
        again.cached_steps
    )


def test_unknown_infra_stack_step_and_variable_are_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(elsewhere, "examples.toy_base.build:build")
    with pytest.raises(InputNotFoundError, match=r"no infra file 'nowhere'"):
        run(path, infra="nowhere", root=elsewhere)
    with pytest.raises(InputNotFoundError, match="no stack 'nowhere'"):
        run(path, infra="down", stack="nowhere", root=elsewhere)
    (elsewhere / "configs" / "infra" / "typo.yaml").write_text("stack: down\nsteps: {trian_step: {}}\n")
    with pytest.raises(ConfigError, match="did you mean 'train_step'"):
        run(path, infra="typo", root=elsewhere)
    monkeypatch.delenv("ASSAY_S3_PATH", raising=False)
    with pytest.raises(ConfigError, match="ASSAY_S3_PATH"):
        run(path, infra="s3", root=ROOT)


@pytest.mark.slow
def test_rejected_rows_of_a_failed_run_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{broken\n')
    path = tmp_path / "run.yaml"
    source = {"name": "rows", "path": str(tmp_path / "rows.jsonl")}
    config = {"name": "rejects", "pipeline": "curate", "scrub": {"demo_key": True}, "ingest": {"sources": [source]}}
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="1 of 2 rows") as caught:
        run(path, root=ROOT)
    named = Path(str(caught.value).rsplit(" ", 1)[-1])
    assert [json.loads(line)["line"] for line in named.read_text().splitlines()] == [2]


@pytest.mark.slow
def test_full_disk_gives_one_clear_error_and_nothing_half_written(tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the system refuses the write in the same place."""
    rows = [{"prompt": f"{i} {i * 7919 % 104729}", "completion": str(i**3)} for i in range(40_000)]
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    source.write_text("\n".join(map(json.dumps, rows)))
    limit = 200_000
    done = subprocess.run(
        [sys.executable, "-m", "ops.main", "stage", "ingest", str(source), "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "no space left to write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "kept.parquet").exists()
