"""A model as an endpoint of SageMaker: its files in S3, and the image, which answers with them (`container`).

SageMaker keeps the old machines until the new ones answer /ping. Whether they ever do nobody has seen here: nothing is
tested.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ops.deploy import container
from ops.deploy.container import Packed
from ops.deploy.state import Server
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError, ServiceError

# What must be set, as for the stack `aws`.
_SET: Mapping[str, str] = {
    "region": "ASSAY_AWS_REGION", "role": "ASSAY_SAGEMAKER_ROLE", "bucket": "ASSAY_SAGEMAKER_BUCKET",
    "image": "ASSAY_IMAGE", "machine": "ASSAY_SAGEMAKER_MACHINE",
}  # fmt: skip
_NAME = re.compile(r"[a-zA-Z0-9](-?[a-zA-Z0-9]){0,43}")
_TAGS = [{"Key": "managed-by", "Value": "assay"}]
_READY = "InService"
# SageMaker's bounds of how long a machine may take to fetch its files, and to answer then, in seconds.
_SLOWEST = (60, 3600)


def place_of(name: str) -> dict[str, str]:
    """Where a deployment goes, by the environment.

    Raises:
        ConfigError: something isn't set, or the name is none of SageMaker's.
    """
    if not _NAME.fullmatch(name):
        hint = "at most 44 letters, digits and single '-'"
        raise ConfigError(f"{name!r} is no name in SageMaker", where="--as", hint=hint)
    missing = [variable for variable in _SET.values() if not os.environ.get(variable)]
    if missing:
        hint = "the head of .zenml/stacks/aws.yaml; ASSAY_SAGEMAKER_MACHINE is such as ml.g5.xlarge"
        raise ConfigError(f"not set: {', '.join(missing)}", where="--to sagemaker", hint=hint)
    return {key: os.environ[variable] for key, variable in _SET.items()}


def endpoint_of(server: Server) -> str:
    """Its name."""
    return f"assay-{server.name}"


def apply(server: Server, packed: Packed, timeout: float, say: Callable[[str], None]) -> None:
    """Lay the files down, and make the endpoint, or bring it to this.

    Raises:
        ConfigError: there is one of this name that isn't assay's, or it is on its way to something else. ServiceError:
            Amazon refuses it, or can't be asked.
    """
    name, this = endpoint_of(server), f"{endpoint_of(server)}-{server.id}"
    with _clients(server) as (sagemaker, s3):
        there = _there(lambda: sagemaker.describe_endpoint(EndpointName=name))
        if there is not None:
            _check(sagemaker, there)
        # Those of commands that died, and of what was deployed before the one that answers now.
        _sweep(sagemaker, s3, server, _used(sagemaker, there))
        prefix = _put(s3, server, packed, say)
        sagemaker.create_model(**_model(server, this, prefix, packed))
        sagemaker.create_endpoint_config(**_config(server, this, timeout))
        if there is None:
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=this, Tags=_TAGS)
        else:
            sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=this)


def _check(sagemaker: Any, there: Mapping[str, Any]) -> None:
    name, status = there["EndpointName"], there["EndpointStatus"]
    if not _is_ours(sagemaker, there["EndpointArn"]):
        what = f"there is an endpoint {name} that isn't assay's"
        raise ConfigError(what, where="--to sagemaker", hint="--as another name")
    if status != _READY:
        hint = "assay undeploy, then anew" if status == "Failed" else "assay deploy --show tells when it is up"
        what = f"the endpoint {name} is {status}: it can't be changed now"
        raise ConfigError(what, where="--to sagemaker", hint=hint)


def _put(s3: Any, server: Server, packed: Packed, say: Callable[[str], None]) -> str:
    """The files under a prefix of what is in them, the list of them last; returns the prefix."""
    bucket, prefix = server.place["bucket"], f"{_files(server)}{packed.digest[:16]}/"
    if _there(lambda: s3.head_object(Bucket=bucket, Key=prefix + container.LIST)) is None:
        say(f"putting {len(packed.files)} files into s3://{bucket}/{prefix}")
        for path, file in packed.files.items():
            s3.upload_file(str(file), bucket, prefix + path)
        s3.put_object(Bucket=bucket, Key=prefix + container.LIST, Body=packed.text)
    return prefix


def _model(server: Server, this: str, prefix: str, packed: Packed) -> dict[str, Any]:
    source = {
        "S3Uri": f"s3://{server.place['bucket']}/{prefix}", "S3DataType": "S3Prefix", "CompressionType": "None",
    }  # fmt: skip
    return {
        "ModelName": this,
        "ExecutionRoleArn": server.place["role"],
        "PrimaryContainer": {
            "Image": server.place["image"],
            "ModelDataSource": {"S3DataSource": source},
            "Environment": {container.EXPECTED: packed.digest, "HF_HUB_OFFLINE": "1"},
        },
        # It needs nothing but its files.
        "EnableNetworkIsolation": True,
        "Tags": [*_TAGS, {"Key": "weights", "Value": server.digest}],
    }


def _config(server: Server, this: str, timeout: float) -> dict[str, Any]:
    seconds = min(max(round(timeout), _SLOWEST[0]), _SLOWEST[1])
    variant = {
        "VariantName": "all", "ModelName": this, "InstanceType": server.place["machine"], "InitialInstanceCount": 1,
        "ModelDataDownloadTimeoutInSeconds": seconds, "ContainerStartupHealthCheckTimeoutInSeconds": seconds,
    }  # fmt: skip
    return {"EndpointConfigName": this, "ProductionVariants": [variant], "Tags": _TAGS}


def remove(server: Server) -> int:
    """Take all of it away, and its files; returns how many of SageMaker's objects were there.

    Raises:
        ServiceError: as `apply`.
    """
    with _clients(server) as (sagemaker, s3):
        there = _there(lambda: sagemaker.describe_endpoint(EndpointName=endpoint_of(server)))
        if there is not None and _is_ours(sagemaker, there["EndpointArn"]):
            sagemaker.delete_endpoint(EndpointName=endpoint_of(server))
        else:
            there = None
        return _sweep(sagemaker, s3, server, set()) + (there is not None)


def applied(server: Server) -> tuple[bool, str]:
    """Whether it is up, and what SageMaker says of it: absent, another (server), or the endpoint's status.

    Raises:
        ServiceError: it can't be asked.
    """
    with _clients(server) as (sagemaker, _):
        found = _there(lambda: sagemaker.describe_endpoint(EndpointName=endpoint_of(server)))
    if found is None:
        return False, "absent"
    status = str(found["EndpointStatus"])
    if status != _READY:
        return False, f"{status}: {found['FailureReason'][:200]}" if found.get("FailureReason") else status
    # Of an update that failed SageMaker goes back to what was before.
    is_this = found["EndpointConfigName"] == f"{endpoint_of(server)}-{server.id}"
    return is_this, status if is_this else "another"


def _used(sagemaker: Any, there: Mapping[str, Any] | None) -> set[str]:
    """Names of the settings and models that an endpoint answers by."""
    if there is None:
        return set()
    config = there["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    return {config, *(v["ModelName"] for v in variants)}


def _sweep(sagemaker: Any, s3: Any, server: Server, kept: set[str]) -> int:
    """Remove the models and settings of this deployment that no endpoint is asked by, with their files; how many."""
    made = re.compile(rf"{re.escape(endpoint_of(server))}-[0-9a-f]{{12}}")
    found = [
        ("EndpointConfig", c["EndpointConfigName"], c["EndpointConfigArn"])
        for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint_of(server))
        for c in page["EndpointConfigs"]
    ]
    found += [
        ("Model", m["ModelName"], m["ModelArn"])
        for page in sagemaker.get_paginator("list_models").paginate(NameContains=endpoint_of(server))
        for m in page["Models"]
    ]
    gone, needed = 0, set()
    for kind, name, arn in found:
        if not made.fullmatch(name):
            continue
        if name in kept:
            needed |= {_prefix_of(sagemaker, name)} if kind == "Model" else set()
        elif _is_ours(sagemaker, arn):
            getattr(sagemaker, f"delete_{'model' if kind == 'Model' else 'endpoint_config'}")(**{f"{kind}Name": name})
            gone += 1
    _forget(s3, server, needed)
    return gone


def _prefix_of(sagemaker: Any, model: str) -> str:
    described = sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["Environment"]
    return str(described[container.EXPECTED])[:16]


def _forget(s3: Any, server: Server, needed: set[str]) -> None:
    """Remove the files under all other prefixes of this deployment."""
    bucket, below = server.place["bucket"], _files(server)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below):
        keys = [o["Key"] for o in page.get("Contents", [])]
        idle = [{"Key": k} for k in keys if k.removeprefix(below).partition("/")[0] not in needed]
        if idle:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": idle, "Quiet": True})


def _files(server: Server) -> str:
    return f"assay-deployed/{server.name}/"


def _is_ours(sagemaker: Any, arn: str) -> bool:
    return _TAGS[0] in sagemaker.list_tags(ResourceArn=arn)["Tags"]


def _there(call: Callable[[], Any]) -> Any | None:
    """What it answers; None: there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as e:
        if e.response["Error"]["Code"] == "404" or "Could not find" in e.response["Error"].get("Message", ""):
            return None
        raise


@contextmanager
def _clients(server: Server) -> Iterator[tuple[Any, Any]]:
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as e:
        hint = "pip install -c constraints.txt boto3"
        raise MissingDependencyError("boto3 isn't installed", where="--to sagemaker", hint=hint) from e
    region = server.place["region"]
    try:
        yield boto3.client("sagemaker", region_name=region), boto3.client("s3", region_name=region)
    except AssayError:
        raise
    except (Boto3Error, BotoCoreError, ClientError) as e:
        raise ServiceError(f"Amazon refused it: {str(e)[:300]}", where=f"SageMaker in {region}") from e
