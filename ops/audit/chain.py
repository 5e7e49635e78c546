"""The chain behind a model: its head in the registry's tags, who signed it, and the records that it leads to."""

from collections.abc import Iterator

from materializers.layout import CHECKSUM, beside
from ops.audit.findings import Finding, held
from ops.audit.trail import Link, Trail
from steps.engines.signing.keys import holds
from steps.register.chain import HEAD, PURPOSE, signature_of

_HEAD = "the head of the chain in the registry is the stored record"
_SIGNED = "the head of the chain is signed"


def check_chain(trail: Trail, key: str | None) -> Iterator[Finding]:
    """`key`: the public key that must have signed; None: any is told."""
    yield from _check_head(trail)
    yield from _check_signature(trail, key)
    yield from map(check_link, trail.links)


def _check_head(trail: Trail) -> Iterator[Finding]:
    tags, stored = trail.target.tags, trail.target.stored
    if tags is None:
        trouble = trail.target.trouble
        yield Finding(_HEAD, "not reached", f"{trouble.where}: {trouble.what}" if trouble else "it wasn't asked")
    elif HEAD not in tags or stored is None:
        yield Finding(_HEAD, "unrecorded", "it was registered by an older version, or its run died before its end")
    elif stored.sha256 is None:
        yield Finding(_HEAD, "gone", stored.uri)
    else:
        same = stored.sha256 == tags[HEAD]
        yield held(_HEAD, same, tags[HEAD] if same else f"{stored.uri} has {stored.sha256}, the registry {tags[HEAD]}")
        note = beside(stored.uri, CHECKSUM)
        yield held("the note beside the record says its digest", stored.noted == stored.sha256, note)


def _check_signature(trail: Trail, key: str | None) -> Iterator[Finding]:
    tags = trail.target.tags
    if tags is None or HEAD not in tags:
        return
    signed = signature_of(tags)
    if signed is None:
        yield Finding(_SIGNED, "not checked" if key is None else "differs", "it isn't signed: there was no key")
    elif not holds(signed, PURPOSE, tags[HEAD]):
        yield Finding(_SIGNED, "differs", f"the signature isn't one of {signed.key} over this head")
    elif key is not None and signed.key != key:
        yield Finding(_SIGNED, "differs", f"by {signed.key}, which is not the key that was given")
    else:
        yield Finding(_SIGNED, "holds", f"by {signed.key}" + ("" if key else "; whose key that is, --key tells"))


def check_link(link: Link) -> Finding:
    """Whether the record of an earlier run is the one that was linked."""
    what = f"the record of the earlier run {link.to.name}"
    if link.stored is None:
        return Finding(what, "not checked", "it stored none: it ended before, or is of an older version")
    if link.stored.sha256 is None:
        return Finding(what, "gone", link.stored.uri)
    if link.whole and link.stored.noted != link.stored.sha256:
        return held(what, False, f"{beside(link.stored.uri, CHECKSUM)} was changed")
    return held(what, link.whole, link.to.sha256 or "" if link.whole else f"{link.stored.uri} was changed")
