"""Old versions of objects: a bucket of S3 that keeps versions keeps what was removed from it or written over.

They are named as their objects are, with `?versionId=ID` behind.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.asyn import sync

from materializers.artifacts import reachable

_MARK = "?versionId="
_S3 = ("s3://", "s3a://")


def is_version(name: str) -> bool:
    """Whether a name is one of an old version."""
    return _MARK in name


def old_versions(uri: str) -> tuple[list[str], str]:
    """Names below `uri` of all versions of objects but the current ones; and why they can't be known ("": can).

    Raises:
        ServiceError: the store can't be reached.
    """
    if not uri.startswith(_S3):
        return [], ""
    with reachable(uri):
        try:
            return [f"{name}{_MARK}{v}" for name, v, current in _versions(uri, "/") if not current], ""
        except PermissionError as e:
            return [], f"old versions of objects in {uri}: they may not be listed ({e})"


def fetch_version(uri: str, name: str, path: Path) -> None:
    """Copy an old version to this machine.

    Raises:
        InputNotFoundError: it is gone. ServiceError: the store can't be reached.
    """
    key, _, version = name.partition(_MARK)
    with reachable(f"{uri}/{name}"):
        fs, root = fsspec.url_to_fs(uri)
        bucket, _, prefix = root.partition("/")
        # Not by `cat_file`, which asks first for the current version.
        body = fs.call_s3("get_object", Bucket=bucket, Key=f"{prefix}/{key}", VersionId=version)["Body"]
        path.write_bytes(sync(fs.loop, body.read))


def remove_versions(uri: str, name: str) -> None:
    """Remove all versions of an object, and the marks that say that it was removed; or the one that is named.

    Raises:
        ServiceError: the store can't be reached, or refuses.
    """
    key, _, wanted = name.partition(_MARK)
    if not uri.startswith(_S3):
        return
    with reachable(f"{uri}/{name}"):
        fs, root = fsspec.url_to_fs(uri)
        bucket, _, prefix = root.partition("/")
        try:
            found = [v for n, v, _ in _versions(uri, f"/{key}", marks=True) if n == key]
        except PermissionError:  # told beforehand
            found = []
        for version in found:
            if wanted in ("", version):
                fs.call_s3("delete_object", Bucket=bucket, Key=f"{prefix}/{key}", VersionId=version)


def _versions(uri: str, below: str, marks: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Name below `uri`, version and whether it is the current one, of all objects whose name begins so."""
    fs, root = fsspec.url_to_fs(uri)
    bucket, _, prefix = root.partition("/")
    kinds = ("Versions", "DeleteMarkers") if marks else ("Versions",)
    after: dict[str, Any] = {}
    while True:
        said = fs.call_s3("list_object_versions", Bucket=bucket, Prefix=f"{prefix}{below}".lstrip("/"), **after)
        for found in (one for kind in kinds for one in said.get(kind, ())):
            yield found["Key"].removeprefix(f"{prefix}/"), found["VersionId"], bool(found["IsLatest"])
        if not said.get("IsTruncated"):
            return
        after = {"KeyMarker": said["NextKeyMarker"], "VersionIdMarker": said["NextVersionIdMarker"]}
