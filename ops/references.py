"""What a name on the command line means: `run:NAME`, `dataset:DIGEST`, `model:NAME`, or a name that says no kind."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from steps.contracts.errors import InputError

ReferenceKind: TypeAlias = Literal["run", "dataset", "model"]


@dataclass(frozen=True)
class Reference:
    """A name, and its kind where it says one."""

    kind: ReferenceKind | None
    name: str

    def may_be(self, kind: ReferenceKind) -> bool:
        """Whether it says this kind, or none."""
        return self.kind in (None, kind)


def reference(text: str, *kinds: ReferenceKind) -> Reference:
    """The reference that a text is; `kinds` are those that fit where it stands.

    Raises:
        InputError: it says another kind, or no name.
    """
    said, colon, name = text.partition(":")
    kind = next((k for k in get_args(ReferenceKind) if colon and k == said), None)
    if kind is None:
        return Reference(None, text)
    if kind not in kinds:
        raise InputError(f"{text!r} names a {kind}", hint=f"what is wanted here is a {' or a '.join(kinds)}")
    if not name:
        raise InputError(f"{text!r} names no {kind}", hint=f"write {kind}:NAME")
    return Reference(kind, name)


def is_id(query: str) -> bool:
    """Whether a query can be a record id or the beginning of one."""
    return 4 <= len(query) <= 32 and all(c in "0123456789abcdef" for c in query.lower())


def fits_several(name: str, kinds: tuple[ReferenceKind, ...]) -> InputError:
    """The error of a bare name that fits several kinds."""
    hint = "say which: " + " or ".join(f"{kind}:{name}" for kind in kinds)
    return InputError(f"{name!r} fits a {' and a '.join(kinds)}", hint=hint)
