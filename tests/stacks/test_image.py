"""The image, built and run: who it is, what it holds, and that it does what the checkout does."""

import json
from pathlib import Path

import pytest
from support.outcomes import assay
from support.servers.podman import image, podman

from steps.contracts.runs import RunRecord

pytestmark = pytest.mark.stacks

CONFIG = {
    "name": "daily", "pipeline": "curate", "scrub": {"demo_key": True},
    "ingest": {"sources": [{"name": "mails", "path": "{DATA}/{slot:%Y-%m-%d}.jsonl"}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("podman")


@pytest.fixture(scope="module")
def built(folder: Path) -> str:
    return image(folder)


def test_it_is_nobody_special_and_holds_no_secret(folder: Path, built: str) -> None:
    look = "whoami; id -u; id -g; python -c 'import sys; print(sys.version_info[:2])'; touch /opt/assay/x /opt/venv/x"
    said = podman(
        folder, "run", "--rm", built, "sh", "-c", f"{look}; env; find / -xdev -name '*.key' -o -name .git; true"
    )
    assert said.splitlines()[:4] == ["assay", "10001", "0", "(3, 11)"]
    # Code and libraries are read only: `touch` failed, or a file would be found.
    listed = podman(folder, "run", "--rm", built, "ls", "/opt/assay", "/opt/venv").split()
    assert "x" not in listed and not {"tests", "benchmarks", "docs", "state"} & set(listed)
    assert "secrets.key" not in said and "/.git" not in said and "PIP_INDEX" not in said
    # What a step's process spares itself.
    loaded = "import gc, sys; print('assay_light_start' in sys.modules, gc.get_threshold()[0])"
    assert podman(folder, "run", "--rm", built, "python", "-c", loaded).split() == ["True", "700"]
    step = podman(folder, "run", "--rm", built, "python", "-c", loaded, "zenml.entrypoints.entrypoint")
    assert step.split() == ["True", "20000"]
    history = podman(folder, "history", "--no-trunc", built) + podman(folder, "inspect", built)
    assert "index-url" not in history and "://" not in history.replace("unix://", "")
    labels = json.loads(podman(folder, "inspect", "--format", "{{json .Labels}}", built))
    assert labels["org.opencontainers.image.revision"][:40].isalnum() and labels["org.opencontainers.image.version"]


def test_it_runs_a_slot_as_the_checkout_does_and_compiles_nothing(folder: Path, built: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"prompt": f"Where is parcel {i * 37}?", "completion": f"On shelf {i}, to the left."} for i in range(60)]
    (data / "2026-11-27.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "daily.yaml").write_text(json.dumps(CONFIG).replace("{DATA}", str(data)))
    # The container's user is another one.
    for place in (tmp_path, data, *data.iterdir()):
        place.chmod(0o755)
    slot = ("run", str(data / "daily.yaml"), "--slot", "2026-11-27T02:00Z")
    here = assay(tmp_path / "state", *slot)
    assert here.returncode == 0, here.stderr
    # Any user number, as clusters give them.
    kernels = "find $NUMBA_CACHE_DIR /tmp -name '*.nbc' | sort"
    script = (
        f"{kernels} > /tmp/before; assay {' '.join(slot)} >&2 && {kernels} | diff /tmp/before - && wc -l < /tmp/before"
    )
    mounts = ["--volume", f"{data}:{data}:ro", "--volume", f"{tmp_path}/there:/var/lib/assay"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o777)
    said = podman(folder, "run", "--rm", "--user", "4711", *mounts, built, "sh", "-c", script)
    assert int(said) > 40
    (one,), (other,) = _records(tmp_path / "state"), _records(tmp_path / "there")
    assert _digests(one) == _digests(other) and one.executed_steps == other.executed_steps
    assert other.slot == one.slot == "2026-11-27T02:00+00:00" and other.commit
    assert other.cpu_seconds is not None and other.cpu_seconds < 30


def _records(state: Path) -> list[RunRecord]:
    return [RunRecord.model_validate_json(p.read_bytes()) for p in (state / "runs").glob("*/run.json")]


def _digests(record: RunRecord) -> set[tuple[str, str | None]]:
    return {(a.name, a.digest) for a in record.artifacts if a.type in ("dataset", "ledger")}
