"""Which URL a saved page was saved from, by a sitemap or a list of URLs."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from steps.contracts.errors import InputError

_LOCATION = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.DOTALL | re.IGNORECASE)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
# Names of files that stand for their folder, and suffixes that servers leave out.
_INDEX, _SUFFIX = re.compile(r"(?:^|/)index$"), re.compile(r"\.(?:html?|md|markdown|txt|pdf|docx)$", re.IGNORECASE)
# Chosen: a sitemap may have 50 MB (sitemaps.org), and no more is read.
_MOST_BYTES = 50_000_000


class Urls:
    """URLs by the paths under which pages may have been saved: `guide/install.html` and `guide/install/index.html`,
    also behind folders, are https://HOST/guide/install.
    """

    def __init__(self, urls: Sequence[str] = ()) -> None:
        self._by_path: dict[str, list[str]] = defaultdict(list)
        for url in dict.fromkeys(urls):
            parts = urlsplit(url)
            self._by_path[_plain(f"{parts.hostname or ''}/{unquote(parts.path)}")].append(url)
            if path := _plain(unquote(parts.path)):
                self._by_path[path].append(url)

    def of(self, source: str) -> str | None:
        """The URL of a document by its name in `source`; None: none fits, or several do."""
        parts = _plain(source.partition("/")[2] or source).split("/")
        for start in range(len(parts)):
            found = self._by_path.get("/".join(parts[start:]))
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _plain(path: str) -> str:
    """A path without what a server may add or leave out."""
    return _INDEX.sub("", _SUFFIX.sub("", path.strip("/"))).strip("/").casefold()


def read_urls(names: Sequence[str], root: Path) -> Urls:
    """The URLs of sitemaps and lists.

    Raises:
        InputError: one can't be read, or has no URL.
    """
    return Urls([url for name in names for url in _urls_in(root / name, name)])


def _urls_in(path: Path, name: str) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig", "replace")
    except OSError as e:
        raise InputError(f"can't be read: {e.strerror}", where=f"synthesize.urls: {name}") from e
    lines = _LOCATION.findall(text) if "<loc" in text else [line.strip() for line in text.splitlines()]
    found = [url for line in lines if (url := _unescaped(line)).startswith(("http://", "https://"))]
    if not found:
        hint = "a sitemap has <loc>https://…</loc>, a list one URL on each line"
        raise InputError("no URL in it", where=f"synthesize.urls: {name}", hint=hint)
    return found


def _unescaped(url: str) -> str:
    return re.sub("&(?:amp|lt|gt|quot|apos);", lambda m: _ENTITIES[m[0]], url)
