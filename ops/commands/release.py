"""`assay release`: a model with everything that is told of it, as a signed folder."""

from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.export.model import ModelExport
from ops.release.manifest import ReleaseManifest
from steps.contracts.errors import ConfigError
from steps.contracts.humanize import size


def release_model(
    root: Path, text: str, asked: ModelExport, out: Path, although: str | None, json_output: bool
) -> None:
    """Write the release, and say what it holds.

    Raises: as `release`; ConfigError: an unknown format.
    """
    from ops.release.release import release
    from steps.engines.exports.formats import FORMATS

    if asked.to not in FORMATS:
        raise ConfigError(f"unknown format {asked.to!r}", where="--to", hint="one of " + ", ".join(FORMATS))
    made = release(root, text, asked, out, although)
    place = out.expanduser().absolute()
    if json_output:
        emit({"out": place, **made.model_dump(mode="json")})
        return
    _tell(made, place, although)


def _tell(made: ReleaseManifest, out: Path, although: str | None) -> None:
    heading(f"{made.name} as {made.format}, {made.number_format}: {'promoted' if made.promoted else 'NOT promoted'}")
    show_table(["file", "size", "sha256"], [[n, size(f.bytes), f.sha256[:12]] for n, f in made.files.items()])
    if made.although:
        say(f"released although something speaks against it: {made.although}")
    elif although is not None:
        say("note: nothing speaks against it, so that --although isn't recorded")
    say(f"signed by {made.signed_by}")
    say(f"  elsewhere: assay verify {out.name} --key PUBLIC")
    say(str(out))
