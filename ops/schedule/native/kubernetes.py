"""Kubernetes' clock: a CronJob whose Jobs run assay's launcher in the image."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ops.kubernetes_answers import message_of, there_or_none
from ops.schedule.native.clocks import Clock
from ops.schedule.native.launcher import launcher_of
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.policy import deadline
from ops.schedule.schedule import Schedule
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError, ServiceError

# Kubernetes names a CronJob's Jobs after it and the minute of their slot, and bounds the name so (KEP 19).
_LONGEST = 52
# The pod learns its Job's name, and so its slot, from a label that the Job's controller gives it.
_JOB = "ASSAY_JOB"
# A secret of the namespace with what the launcher needs besides, such as ZENML_STORE_API_KEY; there may be none.
_SECRET = "assay-launcher"
OWNER = "assay/owner"
# Chosen: seconds that a launcher has to end its run's submission when it is told to.
_GRACE = 60
# Chosen: the shortest of so many distances between slots is the shortest of all.
_LOOKED_AT = 400
# The library's types of Kubernetes 1.25 refuse what newer servers answer.
_RAW = {"_preload_content": False}
_KEEPS = Keeps(
    # github.com/robfig/cron, which the controller uses: it counts minutes that pass, and looks at the wall's hour.
    clock=Clock(left_out="skips", repeated="twice"),
    catchup=("latest", "none"),
    overlap=("queue",),
    options=("max_lateness", "if_changed", "timeout", "retries"),
)


@dataclass(frozen=True)
class Kubernetes(Service):
    """CronJobs of a namespace."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"a CronJob in namespace {self._namespace}"

    @property
    def _namespace(self) -> str:
        return str(self.configuration.get("kubernetes_namespace") or "zenml")

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The CronJob."""
        times = schedule.times
        assert times is not None
        name = native_name(schedule, _LONGEST)
        labels = {"app.kubernetes.io/managed-by": "assay", "assay/schedule": schedule.name}
        return {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": labels,
                "annotations": {OWNER: self.owner},
            },
            "spec": {
                "schedule": times.numbers,
                "timeZone": schedule.tz,
                # A slot that comes while another one runs starts when that ends, if it isn't too late by then.
                "concurrencyPolicy": "Forbid",
                **({"startingDeadlineSeconds": _lateness(schedule)} if schedule.catchup == "none" else {}),
                "suspend": paused,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {"metadata": {"labels": labels}, "spec": self._job(schedule, labels)},
            },
        }

    def _job(self, schedule: Schedule, labels: Mapping[str, str]) -> Spec:
        from ops.schedule.attempts import STAYS

        launcher = launcher_of(self.root, schedule, f"job:$({_JOB})@{schedule.tz}")
        told = {"name": _JOB, "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}}
        plain = [{"name": n, "value": v} for n, v in sorted({**launcher.environment, **_in_cluster()}.items())]
        container = {
            "name": "launcher",
            "image": launcher.image,
            "command": list(launcher.command[:1]),
            "args": list(launcher.command[1:]),
            "env": [told, *plain],
            "envFrom": [{"secretRef": {"name": _SECRET, "optional": True}}],
        }
        account = self.configuration.get("service_account_name")
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE,
            **({"serviceAccountName": account} if account else {}),
            **({"activeDeadlineSeconds": round(schedule.timeout.total_seconds())} if schedule.timeout else {}),
            "containers": [container],
        }
        # What another attempt can't mend ends the Job.
        codes = {"containerName": "launcher", "operator": "In", "values": sorted(STAYS)}
        return {
            "backoffLimit": schedule.retries,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": codes}]},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        }

    def put(self, spec: Spec) -> Spec:
        """Make the CronJob, or bring it to this.

        Raises:
            ConfigError: another state folder's has its name.
        """
        name = spec["metadata"]["name"]
        there = self.found(spec)
        with self._api() as api:
            if there is None:
                api.create_namespaced_cron_job(self._namespace, spec, **_RAW)
                return spec
            owner = there["metadata"].get("annotations", {}).get(OWNER)
            if owner != self.owner:
                what = f"there is a CronJob {name} in namespace {self._namespace} that isn't of this state folder"
                raise ConfigError(what, where="--on", hint="give the schedule another name")
            # Replaced whole, so that what was taken out goes; not over what somebody changed since it was read.
            version = there["metadata"].get("resourceVersion")
            metadata = {**spec["metadata"], **({"resourceVersion": version} if version else {})}
            api.replace_namespaced_cron_job(name, self._namespace, {**spec, "metadata": metadata}, **_RAW)
        return spec

    def found(self, spec: Spec) -> Spec | None:
        """The CronJob as the cluster has it."""
        with self._api() as api:
            return there_or_none(lambda: api.read_namespaced_cron_job(
                spec["metadata"]["name"], spec["metadata"]["namespace"], **_RAW
            ))  # fmt: skip

    def remove(self, spec: Spec) -> bool:
        """Take the CronJob away; a Job of it that runs goes on."""
        name, namespace = spec["metadata"]["name"], spec["metadata"]["namespace"]
        with self._api() as api:
            return there_or_none(lambda: api.delete_namespaced_cron_job(
                name, namespace, propagation_policy="Orphan", **_RAW
            )) is not None  # fmt: skip

    def fire(self, spec: Spec, at: datetime) -> str:
        """A Job of the CronJob's template, named as its controller would name that of this minute."""
        name = f"{spec['metadata']['name']}-{int(at.timestamp()) // 60}"
        template = spec["spec"]["jobTemplate"]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {**template["metadata"], "name": name, "namespace": self._namespace},
            "spec": template["spec"],
        }
        with self._api() as api:
            api.create_namespaced_job(self._namespace, job, **_RAW)
        return f"Job {name}"

    @contextmanager
    def _api(self) -> Iterator[Any]:
        try:
            from kubernetes import client, config
            from urllib3.exceptions import HTTPError
        except ImportError as e:
            raise MissingDependencyError(
                "Kubernetes' library isn't installed",
                where="--on",
                hint="pip install -c constraints.txt '.[kubernetes]'",
            ) from e
        try:
            made = _client(config, self.configuration)
            # One answer is enough: what isn't there now is told, not waited for.
            made.configuration.retries = 1
            yield client.BatchV1Api(made)
        except AssayError:
            raise
        except client.ApiException as e:
            raise ServiceError(f"Kubernetes refused it: {message_of(e)}", where=self.label, hint=_HINT) from e
        except (config.ConfigException, HTTPError, OSError) as e:
            raise ServiceError(f"Kubernetes can't be asked: {str(e)[:300]}", where=self.label, hint=_HINT) from e


_HINT = "`assay stack doctor kubernetes` looks for what is missing; nothing was changed here"


def _lateness(schedule: Schedule) -> int:
    """Seconds after which no slot of the schedule may start: where the next one ends that, the nearest next one."""
    times = schedule.times
    assert times is not None
    some = islice(times.after(datetime(2020, 1, 1, tzinfo=UTC)), _LOOKED_AT)
    return min(round((deadline(schedule, at) - at).total_seconds()) for at in some)


def _client(config: Any, configuration: Mapping[str, Any]) -> Any:
    if configuration.get("incluster") in (True, "true"):
        from kubernetes import client

        config.load_incluster_config()
        return client.ApiClient()
    return config.new_client_from_config(context=configuration.get("kubernetes_context") or None)


def _in_cluster() -> dict[str, str]:
    """A launcher in the cluster has no kubeconfig, and needs none."""
    named = {"ASSAY_KUBERNETES_INCLUSTER": "true"}
    return {**named, **({"ASSAY_KUBERNETES_CONTEXT": ""} if "ASSAY_KUBERNETES_CONTEXT" in os.environ else {})}
