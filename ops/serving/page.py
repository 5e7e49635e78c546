"""A page to talk to what is served: it asks its own server and nobody else, and what a model says stays text."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Page:
    """What stands in its fields at first: instructions, temperature."""

    system: str = ""
    temperature: float = 0.0


@cache
def chat_page(page: Page, most: int) -> tuple[str, Mapping[str, str]]:
    """The document, and the headers that go with it: no script runs and no style holds but its own, nothing is loaded
    but from its own server, and it stands in no other page. `most`: tokens of an answer.
    """
    script, style = ((_TEMPLATES / name).read_text("utf-8") for name in ("chat.js", "chat.css"))
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True)
    text = environment.get_template("chat.jinja").render(
        script=Markup(script), style=Markup(style), page=page, most=most
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, {
        "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    }  # fmt: skip


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
