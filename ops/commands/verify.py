"""`assay verify`: whether a released folder is what was signed, on any machine."""

from pathlib import Path

from ops.audit.findings import exit_status
from ops.console import emit, heading, say, show_table
from ops.release.verify import Verified, verify_release
from steps.engines.signing.keys import read_public_key

# Chosen: as many damaged files as can be read at a glance.
_NAMED = 20


def verify_folder(folder: Path, key: str | None, json_output: bool) -> int:
    """Say what a released folder is worth. Returns the exit status: 0, or 7 where anything isn't as it was signed.

    Raises:
        InputNotFoundError: no such folder, no release in it, or no such key.
    """
    public = read_public_key(key) if key is not None else None
    found = verify_release(folder.expanduser(), public)
    if json_output:
        _emit(found)
    else:
        _show(found)
    return exit_status(found.findings)


def _emit(found: Verified) -> None:
    emit(
        {
            "ok": not any(f.broken for f in found.findings),
            "release": found.manifest.model_dump(mode="json", exclude={"files"}) if found.manifest else None,
            "signer": found.signer,
            "findings": [{"what": f.what, "state": f.state, "detail": f.detail} for f in found.findings],
            "unknown": list(found.unknown),
        }
    )


def _show(found: Verified) -> None:
    made = found.manifest
    broken = [f for f in found.findings if f.broken]
    if made is not None:
        heading(f"{made.name} as {made.format}, {made.number_format}, released {made.created}")
        say(f"  gate: {'promoted' if made.promoted else 'NOT promoted'}")
        if made.although:
            say(f"  released although something speaks against it: {made.although}")
    if broken:
        show_table(["what doesn't hold", "", "detail"], [[f.what, f.state.upper(), f.detail] for f in broken[:_NAMED]])
        if len(broken) > _NAMED:
            say(f"and {len(broken) - _NAMED:,} more (--json)")
        say(f"NOT VERIFIED: {len(broken)} of {len(found.findings)} don't hold")
        return
    assert made is not None
    say(f"verified: {len(made.files):,} files, signed by {found.signer}")
    for line in found.unknown:
        say(f"  not known: {line}")
