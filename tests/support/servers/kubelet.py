"""What controllers and kubelets do with Jobs, as far as a test can: each pod's command becomes a process.

A pod has an empty home, a folder of its own and the environment of its manifest, secrets filled in; what an image
would hold besides are the libraries of this environment. Its code comes from where its command gets it.
"""

import base64
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from support.pods import APP
from support.servers.kube import Cluster
from support.servers.process import ROOT

# A pod's host has its name, and Kubernetes' library finds the API by files that a kubelet mounts; here by a kubeconfig.
_START = (
    "import os, runpy, socket, sys; socket.gethostname = lambda: os.environ['HOSTNAME']; import kubernetes.config as c;"
    " c.load_incluster_config = lambda *a, **k: c.load_kube_config(os.environ['KUBECONFIG']);"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


@contextmanager
def kubelet(cluster: Cluster, image: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Runs the Jobs that come, for as long as the test wants it; yields what pods printed, by Job. `image`: variables
    of the image.
    """
    printed: dict[str, str] = {}
    threads: list[threading.Thread] = []
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(0.3):
            for job in _jobs(cluster, printed):
                name = job["metadata"]["name"]
                if name not in printed and not job.get("spec", {}).get("suspend"):
                    printed[name] = ""
                    thread = threading.Thread(target=_run, args=(cluster, job, image, printed), daemon=True)
                    threads.append(thread)
                    thread.start()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield printed
    finally:
        ending.set()
        watcher.join(10)
        for thread in threads:
            thread.join(120)


def _jobs(cluster: Cluster, printed: dict[str, str]) -> list[dict[str, Any]]:
    try:
        return cluster.objects("Job")
    except OSError as e:
        printed["watching"] = repr(e)
        return []


def _run(cluster: Cluster, job: dict[str, Any], image: Mapping[str, str], printed: dict[str, str]) -> None:
    name = job["metadata"]["name"]
    tries = int(job["spec"].get("backoffLimit", 6)) + 1
    well = False
    try:
        for number in range(tries):
            done = _pod(cluster, job, image, cluster.add_pod(job, f"{name}-{number}"))
            printed[name] += done.stdout + done.stderr
            well = done.returncode == 0
            if well:
                break
    except Exception as e:  # noqa: BLE001 - a thread of a test must tell
        printed[name] += f"no pod of {name} could be started: {e!r}"
    counted = {"succeeded": 1} if well else {"failed": tries}
    conditions = [{"type": "Complete" if well else "Failed", "status": "True"}]
    cluster.patch_job(job, status={**counted, "conditions": conditions})


def _pod(
    cluster: Cluster, job: dict[str, Any], image: Mapping[str, str], name: str
) -> "subprocess.CompletedProcess[str]":
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = [*container["command"], *container.get("args", [])]
    assert command[:2] == ["python", "-m"], command
    # A step unpacks its code into one folder of the machine; the pod that starts the others has the image's code.
    unpacks = "orchestrator_entrypoint" not in command[2]
    libraries = [p for p in sys.path if p.endswith("site-packages")]
    with _alone(unpacks), tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [sys.executable, "-S", "-c", _START, *command[2:]],
            env={
                "PATH": "/usr/bin:/bin", "HOME": home, "OMP_NUM_THREADS": "1", "ZENML_CONFIG_PATH": f"{home}/zenml",
                "HOSTNAME": name,
                "PYTHONPATH": os.pathsep.join([*([] if unpacks else [str(ROOT)]), *libraries]),
                **cluster.environment, **image, **_environment(cluster, job, container),
            },
            cwd=home, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip


def _environment(cluster: Cluster, job: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    """The manifest's variables, secrets and labels filled in."""
    secrets = {s["metadata"]["name"]: s for s in cluster.objects("Secret")}
    labels = {"job-name": job["metadata"]["name"], **job["spec"]["template"].get("metadata", {}).get("labels", {})}
    found = {}
    for one in container.get("env", []):
        source = one.get("valueFrom", {})
        if "secretKeyRef" in source:
            kept = secrets[source["secretKeyRef"]["name"]]
            found[one["name"]] = base64.b64decode(kept["data"][source["secretKeyRef"]["key"]]).decode()
        elif "fieldRef" in source:
            found[one["name"]] = labels[source["fieldRef"]["fieldPath"].partition("['")[2].rstrip("']")]
        else:
            found[one["name"]] = one.get("value", "")
    return found


@contextmanager
def _alone(unpacks: bool) -> Iterator[None]:
    """One pod at a time that unpacks code: ZenML's entrypoint has one folder for it."""
    if not unpacks:
        yield
        return
    APP.mkdir(exist_ok=True)
    with (APP / ".lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        shutil.rmtree(APP / "code", ignore_errors=True)
        yield
