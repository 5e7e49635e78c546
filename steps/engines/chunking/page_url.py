"""Where a saved page of HTML stands on the web, as it says itself."""

import re
from html import unescape

# Chosen: all of these stand in a page's head; what is behind is text.
_HEAD_CHARS = 100_000
_MOST_CHARS = 2_000
# What browsers write into a page that they save.
_SAVED = re.compile(r"<!--\s*saved from url=\(\d+\)(\S+)\s*-->", re.IGNORECASE)
_TAG = re.compile(r"<(?:link|meta)\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-z:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)


def page_url(html: str) -> str | None:
    """Its canonical address, else that of Open Graph, else the one that it was saved from; None: it says none."""
    head = html[:_HEAD_CHARS]
    found: dict[str, str] = {}
    for tag in _TAG.findall(head):
        said = {name.lower(): unescape(a or b or c).strip() for name, a, b, c in _ATTRIBUTE.findall(tag)}
        if said.get("rel", "").lower() == "canonical":
            found.setdefault("canonical", said.get("href", ""))
        if "og:url" in (said.get("property"), said.get("name")):
            found.setdefault("og", said.get("content", ""))
    if saved := _SAVED.search(head):
        found["saved"] = unescape(saved[1])
    return next((u for k in ("canonical", "og", "saved") if _is_address(u := found.get(k, ""))), None)


def _is_address(url: str) -> bool:
    """Whether it may be shown and answered with: a whole http(s) address without blanks or a password."""
    plain = url.isprintable() and not any(c in url for c in " <>@") and len(url) <= _MOST_CHARS
    return plain and re.match(r"https?://[^/]", url, re.IGNORECASE) is not None
