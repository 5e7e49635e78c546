import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from support import sample_run

from pipelines.report.page import RunPage, render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.opened, self.events, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)
        self.events += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_every_section_is_there():
    html = render_page(sample_run.page())
    for anchor in ("rows", "cost", "results", "answers", "section-1", "stages", "lineage", "config"):
        assert f'id="{anchor}"' in html and f'href="#{anchor}"' in html
    for said in ("3,764", "champion", "0.956", "CREDIT_CARD", "loss", "greedy", "threshold: 0.8"):
        assert said in html, said


def test_costs_say_why_and_what_came_from_the_cache():
    page = sample_run.page()
    record = page.record.model_copy(update={"cached_steps": ("dedup_step",), "cpu_seconds": 75.2, "peak_mb": 970.0})
    text = _Tags(render_page(dataclasses.replace(page, record=record))).text
    assert "dropped: exact 310, near 153" in text and "quarantined: self_harm 19; flagged: role_marker 5" in text
    assert text.count("from cache") == 2  # the count in the head, and dedup
    assert "1 min 15 s of CPU time, peak memory 970 MB" in text


def test_hostile_rows_stay_text():
    tags = _Tags(render_page(sample_run.page(sample_run.HOSTILE)))
    assert not {"script", "img"} & set(tags.opened)
    assert not tags.events
    assert tags.opened.count("style") == 1
    assert '<script>document.title="owned"</script>' in tags.text
    assert "\u202e" not in tags.text and "\x1b" not in tags.text


def test_nothing_is_fetched():
    html = render_page(sample_run.page())
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", html)


def test_an_empty_and_a_failed_run_have_a_page():
    record = sample_run.record().model_copy(
        update={"status": "failed", "error": "judge: no answer <b>", "ended": None, "registration": None}
    )
    html = render_page(RunPage(record=record))
    assert "The run stopped" in html and "judge: no answer &lt;b&gt;" in html
    assert 'id="results"' not in html


def test_numbers_of_the_funnel_are_the_reports():
    page = sample_run.page()
    html = render_page(page)
    cells = re.findall(r'data-label="(\w+)">([\d,]+)<', html)
    kept = [int(v.replace(",", "")) for label, v in cells if label == "kept"]
    assert kept == [r.kept for r in page.reports]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("text", ["Hello", "W" * 600, sample_run.HOSTILE])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scrolling(tmp_path, text, width):
    # The page may run no script, so a frame around it measures: its width is given, and it says if it overflows.
    html = render_page(sample_run.page(text)).replace(
        "default-src 'none'; style-src 'unsafe-inline'", "default-src 'self' 'unsafe-inline' data:"
    )
    inner = html.replace("&", "&amp;").replace('"', "&quot;")
    page = tmp_path / "frame.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><body><iframe id="f" style="width:{width}px;height:900px;border:0"'
        f' srcdoc="{inner}"></iframe><script>onload=()=>{{const d=document.getElementById("f").contentDocument;'
        "document.body.dataset.widths=d.documentElement.scrollWidth+' '+d.documentElement.clientWidth+' '"
        "+(d.title==='owned')}</script>"
    )
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}/profile",
         "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    found = re.search(r'data-widths="(\d+) (\d+) (\w+)"', done.stdout)
    assert found, done.stderr[-500:]
    content, window, owned = int(found[1]), int(found[2]), found[3]
    assert content <= window == pytest.approx(width, abs=20)
    assert owned == "false"
