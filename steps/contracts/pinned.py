"""Files that are named by URL together with their SHA-256: `https://host/file#sha256=<64 hex digits>`.

The form is that of pip's and of the simple repository index (PEP 503).
"""

import re

_PIN = "#sha256="
SHA256 = re.compile(r"[0-9a-f]{64}")


def is_url(name: str) -> bool:
    """Whether a file is named by URL."""
    return "://" in name


def pinned(url: str, sha256: str) -> str:
    """The name of what a URL must give."""
    return f"{url}{_PIN}{sha256}"


def unpinned(name: str) -> tuple[str, str | None]:
    """The address in a name, and the SHA-256 that its bytes must have; None: any.

    Raises:
        ValueError: what follows the mark is no SHA-256.
    """
    address, mark, sha256 = name.partition(_PIN)
    if not mark:
        return name, None
    if SHA256.fullmatch(sha256) is None:
        raise ValueError(f"what follows {_PIN} is no SHA-256: 64 hexadecimal digits in lower case")
    return address, sha256
