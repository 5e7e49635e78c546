"""The page: harmless whatever names say, self-contained, and alive in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from support import many_runs

from ops.lineage.catalogue import load_catalogue
from ops.lineage.graph import Graph, graph_of
from ops.lineage.page import render_lineage


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_STATE", str(folder / "state"))
        many_runs.build(folder, folder / "store", 60)
        return graph_of(load_catalogue(folder))


def page(graph: Graph, *, whole: bool = True) -> str:
    return render_lineage(graph, many_runs.HOSTILE, 60, "2026-11-28 04:00 UTC", whole=whole)


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.lasttag == "script":
            self.scripts.append(data)


def test_hostile_names_are_text(graph):
    html = page(graph)
    elements = Elements(html)
    assert [a.get("type") for tag, a in elements.found if tag == "script"] == ["application/json", None]
    assert "<img" not in html and "\u202e" not in html and 'document.title="owned"' not in html
    assert html.count("&lt;/script&gt;&lt;script&gt;") >= 3, "in the title, the heading and the table"
    data = json.loads(elements.scripts[0])
    assert [n["name"] for n in data["nodes"] if "owned" in n["name"]] == [many_runs.HOSTILE.replace("\u202e", "�")]


def test_nothing_is_fetched_and_only_its_own_script_runs(graph):
    html = page(graph)
    elements = Elements(html)
    assert not [a for _, a in elements.found if {"src", "href", "action", "srcset"} & a.keys()]
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "url(" not in html and "@import" not in html and "innerHTML" not in script


def test_without_scripts_everything_is_in_a_table(graph):
    rows = re.findall(r"<tr><td>(\w+)</td><td>(.*?)</td>", page(graph))
    assert len(rows) == len(graph.nodes)
    assert {kind for kind, _ in rows} == {"source", "version", "model", "registered", "export"}


def test_the_whole_graph_is_embedded(graph):
    data = json.loads(Elements(page(graph, whole=False)).scripts[0])
    assert data["whole"] is False
    assert {n["id"] for n in data["nodes"]} == {i.replace("\u202e", "�") for i in graph.nodes}
    assert len(data["edges"]) == len(graph.edges)


def dom(html: Path, fragment: str = "") -> str:
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [shutil.which("chromium") or "", *words, f"{html.as_uri()}{fragment}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_in_a_browser(graph, tmp_path):
    file = tmp_path / "lineage.html"
    file.write_text(page(graph))
    shown = dom(file)
    assert "<title>owned" not in shown and 'id="view">' in shown and "scripted" in shown
    minor = sum(n.minor for n in graph.nodes.values())
    assert f"{len(graph.nodes) - minor} of {len(graph.nodes)} shown" in shown
    assert shown.count(">older<") == 0 and re.search(r"\d+ older</button>", shown), "older ones are folded"
    assert shown.count("<path") > 50
    # One that is chosen shows all that it was made of and all that was made of it, and nothing else.
    model = next(n for n in graph.nodes.values() if n.name == "support-model/1")
    way = [n for n in graph.around([model.id]).nodes.values() if not n.minor]
    chosen = dom(file, f"#{quote(model.id, safe='')}")
    assert f"{len(way)} of {len(graph.nodes)} shown" in chosen and "older</button>" not in chosen
    assert "<dd>champion, when it was registered</dd>" in chosen
