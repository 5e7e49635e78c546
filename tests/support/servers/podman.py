"""Podman with an image of this checkout: built on a root made by debootstrap, so that no registry is asked."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.servers.process import ROOT, needs, serving

BASE = "localhost/assay-base:bookworm"
IMAGE = "localhost/assay-test"
_HOW = "apt-get install podman runc debootstrap"
# As root in a container, more than these limits allow may not be asked for, and crun wants cgroups of version 2.
_CONF = """[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
"""
# What the image is made of (.dockerignore).
_CONTEXT = (
    ".dockerignore", ".zenml/stacks", "Dockerfile", "LICENSE", "README.md", "configs", "constraints.txt", "examples",
    "materializers", "ops", "pipelines", "pyproject.toml", "steps",
)  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """What podman needs besides; skips where it isn't installed."""
    for program in ("podman", "runc", "debootstrap"):
        needs(program, _HOW)
    conf = folder / "containers.conf"
    conf.write_text(_CONF)
    return {"CONTAINERS_CONF": str(conf)}


def podman(folder: Path, *arguments: str) -> str:
    """What it prints; its errors are the test's."""
    done = subprocess.run(
        ["podman", *arguments], env={**os.environ, **environment(folder)}, capture_output=True, text=True, timeout=1800,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"podman {' '.join(arguments)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def image(folder: Path) -> str:
    """Name of the image of what the checkout holds: built, unless one of the same is there. It stays for the next time:
    `podman image prune --all` removes it.
    """
    name = f"{IMAGE}:{_digest()}"
    if name not in podman(folder, "images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if BASE not in podman(folder, "images", "--format", "{{.Repository}}:{{.Tag}}").split():
            _make_base(folder)
        _build(folder, name)
    return name


def _digest() -> str:
    """Of what the image is made of, as it lies in the checkout."""
    listed = subprocess.run(["git", "ls-files", "--", *_CONTEXT], cwd=ROOT, capture_output=True, text=True, check=True)
    found = hashlib.sha256()
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            found.update(f"{name}\n".encode() + (ROOT / name).read_bytes())
    return found.hexdigest()[:12]


def _make_base(folder: Path) -> None:
    root = folder / "root"
    words = [
        "debootstrap",
        "--variant=minbase",
        "--include=python3,python3-venv,ca-certificates",
        "bookworm",
        str(root),
    ]
    subprocess.run(words, check=True, capture_output=True, timeout=1800)
    subprocess.run(["tar", "-C", str(root), "-cf", str(folder / "root.tar"), "."], check=True)
    podman(folder, "import", str(folder / "root.tar"), BASE)
    subprocess.run(["rm", "-rf", str(root), str(folder / "root.tar")], check=True)


def _build(folder: Path, name: str) -> None:
    """By `make image`, with this machine's own settings of pip, and the folders that they name."""
    conf, folders = _pip_settings()
    (folder / "pip.conf").write_text(conf)
    mounts = [f"--volume {f}:{f}:ro" for f in folders]
    arguments = ["--network host", f"--build-arg BASE_IMAGE={BASE}", *mounts]
    done = subprocess.run(
        ["make", "image", "BUILDER=podman", f"IMAGE={name}", f"PIP_CONF={folder / 'pip.conf'}",
         f"IMAGE_ARGS={' '.join(arguments)}"],
        cwd=ROOT, env={**os.environ, **environment(folder)}, capture_output=True, text=True, timeout=3000,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def _pip_settings() -> tuple[str, list[str]]:
    """What pip is told on this machine about where packages are, and folders of this machine among it."""
    listed = subprocess.run(
        [str(ROOT / ".venv/bin/python"), "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rsplit(".", 1)[-1]
        if name in ("index-url", "extra-index-url", "find-links", "cert", "trusted-host"):
            settings[name] = value.strip("'")
    places = [w.removeprefix("file://") for value in settings.values() for w in value.split()]
    # Of an index of this machine, whose links lead to its neighbours, the whole; of a file its folder.
    found = {Path(p).parent if Path(p).is_file() or p.endswith("/simple") else Path(p) for p in places if p[0] == "/"}
    return "[global]\n" + "".join(f"{n} = {v}\n" for n, v in settings.items()), [str(p) for p in sorted(found)]


@contextmanager
def docker_socket(folder: Path) -> Iterator[dict[str, str]]:
    """Podman as Docker's daemon: what leads to it."""
    socket = folder / "podman.sock"
    own = environment(folder)
    command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with serving(command, folder, socket.exists, own):
        yield {**own, "DOCKER_HOST": f"unix://{socket}"}
