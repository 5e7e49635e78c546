"""`assay doctor`: what this machine has, what it lacks, and how to get it. Changes nothing, asks only named servers."""

import ctypes
import importlib.util
import os
import platform
import re
import runpy
import shutil
import socket
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ops.console import emit, show_table
from steps.contracts.errors import IntegrityError, MissingDependencyError
from steps.zenml_runtime.state import state_location

# Chosen: a small adapter run with its caches and checkpoints fits.
_ENOUGH_DISK_BYTES = 5 << 30
_ZENML = "0.98.0"
_TIMEOUT_SECONDS = 3.0
# In a migration of MLflow's database: its name, and that of the one before.
_REVISIONS = [re.compile(rf"^{name} = ['\"](\w+)['\"]", re.MULTILINE) for name in ("revision", "down_revision")]
# Chosen: damage that can be read at a glance.
_NAMED = 8
_AUDIT = "assay audit MODEL --verify reads everything and says what doesn't hold"


@dataclass(frozen=True)
class Check:
    """One thing looked at. "missing" stops runs that need it; "optional" is missing but most runs don't need it;
    "damaged" is what an audit will not find as it was recorded.
    """

    name: str
    status: Literal["ok", "missing", "optional", "damaged"]
    found: str
    fix: str = ""


def examine(root: Path, config: Path | None, json_output: bool) -> int:
    """Print all checks. Returns the exit status: 0, or that of a missing dependency, or of damage."""
    checks = [*_machine(root), *_packages(), *_stores(root), *_language_models(config), *_services(config)]
    checks += [*_schedules(root), *evidence(root)]
    if json_output:
        emit({"checks": [asdict(c) for c in checks]})
    else:
        show_table(["", "status", "found", "how to get it"], [[c.name, c.status, c.found, c.fix] for c in checks])
    found = {c.status for c in checks}
    if "missing" in found:
        return MissingDependencyError.exit_code
    return IntegrityError.exit_code if "damaged" in found else 0


def _machine(root: Path) -> Iterator[Check]:
    right = (3, 11) <= sys.version_info[:2] < (3, 12)
    yield Check(
        "Python", "ok" if right else "missing", platform.python_version(), "" if right else "install Python 3.11"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processor", "ok", f"{cores} cores, {platform.machine()}")
    free = shutil.disk_usage(_existing(state_location(root))).free
    enough = free >= _ENOUGH_DISK_BYTES
    yield Check(
        "disk",
        "ok" if enough else "missing",
        f"{free / (1 << 30):.1f} GiB free for {state_location(root)}",
        "" if enough else "free some, or set ASSAY_STATE to a folder on another disk",
    )


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _packages() -> Iterator[Check]:
    for name, need in (
        ("torch", ""),
        ("transformers", ""),
        ("trl", ""),
        ("peft", ""),
        ("zenml", _ZENML),
        ("mlflow", ""),
    ):
        found = _version(name)
        if found is None:
            yield Check(name, "missing", "not installed", "pip install -c constraints.txt -e .")
        elif need and found != need:
            yield Check(name, "missing", found, f"pip install {name}=={need}: other versions are untested")
        else:
            yield Check(name, "ok", found)
    yield _gpu()
    for name, what in (("s3fs", "S3 artifact stores"),):
        found = _version(name)
        yield Check(name, "ok" if found else "optional", found or f"not installed; for {what}",
                    "" if found else "pip install -c constraints.txt -e '.[s3]'")  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> Check:
    if _version("torch") is None:
        return Check("GPU", "optional", "torch is missing, so it can't be asked")
    # Importing torch takes seconds; where the driver isn't there it would find nothing.
    if _has_driver():
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            size = f"{free / (1 << 30):.0f} of {total / (1 << 30):.0f} GiB free"
            return Check("GPU", "ok", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {size}")
    cuda = _built_for()
    built = f"torch is built for CUDA {cuda}" if cuda else "torch is built for CPU only"
    return Check("GPU", "optional", f"none; {built}", "needed for models above some 100 million parameters only")


def _has_driver() -> bool:
    """Whether a driver of a GPU is installed: NVIDIA's, or AMD's."""
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
    except OSError:
        return False
    return True


def _built_for() -> str | None:
    """The CUDA version that torch was built for, as its own file says it; None for the CPU."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    said = runpy.run_path(str(file)) if file and file.is_file() else {}
    return said.get("cuda")


def _stores(root: Path) -> Iterator[Check]:
    database = next(iter(sorted((state_location(root) / "zenml").glob("**/zenml.db"))), None)
    if os.environ.get("ZENML_STORE_URL"):
        yield _server("ZenML server", os.environ["ZENML_STORE_URL"])
    elif database is None:
        yield Check("ZenML store", "ok", "none yet; the first run makes it")
    else:
        yield _database(database)
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if tracking.startswith(("http://", "https://")):
        yield from mlflow_checks(tracking)
    else:
        yield Check("MLflow tracking", "ok", tracking or "in the stack's own local store")


def _schedules(root: Path) -> Iterator[Check]:
    from ops.schedule.health import troubles
    from ops.schedule.table import Table

    table = Table(state_location(root) / "schedules" / "table.db")
    count, found = troubles(root, table, os.environ, datetime.now(UTC))
    yield Check("schedules", "ok", f"{count}" if count else "none")
    for trouble in found:
        yield Check("schedules", "optional", trouble.what, trouble.way_out)


def evidence(root: Path) -> Iterator[Check]:
    """Whether what audits stand on is there: the first of what isn't, by name."""
    if not state_location(root).is_dir():
        return
    from ops.evidence import look

    found = look(root)
    for error in found.silent:
        yield Check("artifact store", "missing", f"{error.where}: {error.what}", error.hint or "")
    for error in found.damage[:_NAMED]:
        yield Check("evidence", "damaged", f"{error.where}: {error.what}", error.hint or _AUDIT)
    if (more := len(found.damage) - _NAMED) > 0:
        yield Check("evidence", "damaged", f"{more:,} more", _AUDIT)
    if found.older:
        what = f"{len(found.older)} runs of an older version have no digests: {', '.join(found.older[:3])}"
        yield Check(
            "evidence", "optional", what, "run them again: nothing tells whether their files are what they were"
        )
    for name, uris in found.shared.items():
        what = f"{len(uris)} registries have a model {name!r}"
        yield Check("registries", "optional", what, "say which: " + " or ".join(f"{uri}#{name}" for uri in uris))
    yield from map(_registry, found.registries)
    if not found.damage and not found.silent:
        yield Check("evidence", "ok", f"{found.files:,} files of {found.runs} runs are there")


def _registry(uri: str) -> Check:
    """A registry that models were registered in, without MLflow, which takes seconds to load."""
    from steps.engines.tracking.database import database_file

    file = database_file(uri)
    if file is None:
        return _server("registry", uri)
    if not file.is_file() or not file.stat().st_size:
        return Check("registry", "damaged", f"{file} is gone", "restore it: the versions that it held can't be audited")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            versions = connection.execute("SELECT count(*) FROM model_versions").fetchone()[0]
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except sqlite3.Error as e:
        return Check("registry", "damaged", f"{file}: {e}", "restore it")
    if answer != "ok":
        return Check("registry", "damaged", f"{file}: {answer}", "restore it")
    if (newest := _newest_revision()) not in (None, revision):
        what = f"{file} is of an older or newer MLflow: revision {revision}, this one has {newest}"
        return Check("registry", "damaged", what, f"after a copy of it: mlflow db upgrade sqlite:///{file}")
    return Check("registry", "ok", f"{file}, {versions} versions")


def _newest_revision() -> str | None:
    """Of the databases of the MLflow that is installed, by the files of its migrations; None where these aren't there.

    Each names the one before it: the newest is before none.
    """
    found = importlib.util.find_spec("mlflow")
    folder = Path(found.origin).parent / "store" / "db_migrations" / "versions" if found and found.origin else None
    texts = [file.read_text("utf-8") for file in folder.glob("*.py")] if folder else []
    own, before = ({m[1] for t in texts for m in [name.search(t)] if m} for name in _REVISIONS)
    newest = own - before
    return newest.pop() if len(newest) == 1 else None


def mlflow_checks(uri: str, tracker: Any = None) -> Iterator[Check]:
    """Of a server of MLflow's; nothing of another place. `tracker`: the stack's component, where it is its."""
    if not uri.startswith(("http://", "https://")):
        return
    from ops.stacks.usable import tracker_trouble
    from steps.engines.tracking.secrets import without_secret

    why, place = tracker_trouble(uri, tracker), without_secret(uri)
    fix = "start it, correct the address, or renew its token or password" if why else ""
    yield Check("MLflow server", "missing" if why else "ok", f"{place}: {why}" if why else f"{place} answers us", fix)


def _database(path: Path) -> Check:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_TIMEOUT_SECONDS) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            runs = connection.execute("SELECT count(*) FROM pipeline_run").fetchone()[0]
    except sqlite3.Error as e:
        return Check("ZenML store", "missing", f"{path}: {e}", "move the file away; the run records stay readable")
    if answer != "ok":
        return Check("ZenML store", "missing", f"{path}: damaged: {answer}", "restore it, or move the file away")
    return Check("ZenML store", "ok", f"{path}, {runs} runs")


def _language_models(config: Path | None) -> Iterator[Check]:
    from steps.scrub.config import ScrubConfig
    from steps.scrub.coverage import HOW_TO_GET_A_MODEL, found_by, uncovered
    from steps.scrub.profiles import MODEL_ENTITIES

    models = sorted(e.name for e in entry_points(group="spacy_models"))
    yield Check("spaCy model", "ok" if models else "optional", ", ".join(models) or "none installed")
    settings = (_run_config(config).scrub if config else None) or ScrubConfig()
    missing = uncovered(settings)
    named = [entity for entity in MODEL_ENTITIES if entity not in missing]
    if named:
        yield Check(f"scrub: {', '.join(named)}", "ok", found_by(settings)[named[0]])
    if missing:
        yield Check(
            f"scrub: {', '.join(missing)}", "optional", "not covered: patterns can't find them", HOW_TO_GET_A_MODEL
        )


def _services(config: Path | None) -> Iterator[Check]:
    endpoint = _endpoint_of(config) if config else None
    if endpoint is None:
        yield Check("judge endpoint", "optional", "not asked" if config is None else "this config's judge needs none",
                    "--config CONFIG asks the one that a config names" if config is None else "")  # fmt: skip
        return
    if endpoint.key_env and not os.environ.get(endpoint.key_env):
        yield Check("judge key", "missing", f"{endpoint.key_env} is not set", f"export {endpoint.key_env}=...")
    yield _models_of(endpoint)


def _endpoint_of(config: Path) -> Any:
    return _run_config(config).judge.endpoint


def _run_config(config: Path) -> Any:
    from pipelines.config import RunConfig
    from pipelines.load import load_model

    return load_model(RunConfig, config)


def _models_of(endpoint: Any) -> Check:
    request = urllib.request.Request(f"{endpoint.base_url}/models")
    key = os.environ.get(endpoint.key_env or "", "")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as reply:
            served = endpoint.model.encode() in reply.read(1 << 20)
    except (urllib.error.URLError, OSError, ValueError) as e:
        return Check("judge endpoint", "missing", f"{endpoint.base_url}: {e}", "start the server, or correct base_url")
    if not served:
        return Check("judge endpoint", "ok", f"{endpoint.base_url} answers, but doesn't list {endpoint.model}")
    return Check("judge endpoint", "ok", f"{endpoint.base_url} serves {endpoint.model}")


def _server(name: str, url: str) -> Check:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), _TIMEOUT_SECONDS):
            return Check(name, "ok", f"{place} answers")
    except OSError as e:
        return Check(name, "missing", f"{place}: {e}", "start it, or correct the address")
