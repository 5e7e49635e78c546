"""How what `on_change` names looks: a mark that is another one when it has changed, without reading it."""

from pathlib import Path
from typing import Any

from ops.run_index import known_runs
from steps.contracts.digests import value_digest
from steps.zenml_runtime.urls import is_url

ABSENT = "absent"
# Before the name of a config of pipeline: monitor.
MONITOR = "monitor:"
# What stores say of a file that changes with it.
_TELLING = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "updated", "mtime", "md5Hash", "size")


def mark_of(root: Path, name: str) -> str | None:
    """The mark of a file, a folder (of all files in it), a URL, or of what a config's runs found in production; None
    where a store doesn't answer.
    """
    if name.startswith(MONITOR):
        return _of_monitor(root, name.removeprefix(MONITOR))
    if is_url(name):
        return _of_url(name)
    path = root / name
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.is_file())
        return value_digest([[f.relative_to(path).as_posix(), *_of_file(f)] for f in files])
    return value_digest(_of_file(path)) if path.is_file() else ABSENT


def _of_monitor(root: Path, config: str) -> str:
    """The newest run of a config that asked for a new model: another one when another run asks for it."""
    asking = (
        r.run_id for r in known_runs(root)
        if r.config_name == config and r.status == "completed" and r.monitored is not None and r.monitored.retrain
    )  # fmt: skip
    return next(asking, ABSENT)


def _of_file(path: Path) -> list[int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _of_url(url: str) -> str | None:
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
        store.invalidate_cache()
        info: dict[str, Any] = store.info(path)
        if info.get("type") == "directory":
            return value_digest(sorted([p, _telling(i)] for p, i in store.find(path, detail=True).items()))
        return value_digest(_telling(info))
    except FileNotFoundError as e:
        # The library says so of a server that doesn't answer, too.
        down = isinstance(e.__cause__, OSError) and not isinstance(e.__cause__, FileNotFoundError)
        return None if down else ABSENT
    except Exception:  # noqa: BLE001 - a store that is down has changed nothing; each library has errors of its own
        return None


def _telling(info: dict[str, Any]) -> list[str]:
    return [f"{key}={info[key]}" for key in _TELLING if info.get(key) is not None]
