"""The head of a model's chain, in the tags of its registered version: SHA-256 and place of the record of its run."""

from collections.abc import Callable, Mapping

from steps.contracts.evaluation import Registration
from steps.engines.signing.keys import Signature
from steps.engines.tracking.service import WORK, environment, service
from steps.register.registered import with_secret

# Tags of a version: the head, by which key it is signed, where the record lies.
HEAD, SIGNATURE, KEY, RECORD = "chain", "chain_signature", "chain_key", "record_uri"
# What a signature of a head says that it is of.
PURPOSE = "chain"


def head_tags(head: str, record_uri: str, signed: Signature | None) -> dict[str, str]:
    """The tags. `signed`: None where there is no key to sign with."""
    said = {HEAD: head, RECORD: record_uri}
    return said if signed is None else said | {SIGNATURE: signed.signature, KEY: signed.key}


def signature_of(tags: Mapping[str, str]) -> Signature | None:
    """The signature that a version's tags hold; None: its head isn't signed."""
    return Signature(signature=tags[SIGNATURE], key=tags[KEY]) if {SIGNATURE, KEY} <= tags.keys() else None


def write_head(registration: Registration, tags: Mapping[str, str], is_whole: Callable[[str, str], bool]) -> None:
    """Tag the registered version, unless it has a head whose record is whole: another run with the same weights, rows
    and decision registered it first. `is_whole`: whether a record's URI and SHA-256 agree.

    Raises:
        ServiceError: the registry can't be reached, or refuses.
    """
    from mlflow import MlflowClient

    uri = with_secret(registration.tracking_uri)
    with service(uri), environment(WORK):
        client = MlflowClient(uri, registry_uri=uri)
        there = client.get_model_version(registration.name, registration.version).tags
        if HEAD in there and RECORD in there and is_whole(there[RECORD], there[HEAD]):
            return
        for name, value in tags.items():
            client.set_model_version_tag(registration.name, registration.version, name, value)
