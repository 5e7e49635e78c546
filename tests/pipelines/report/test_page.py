import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from support import sample_run

from materializers.wording import turns
from pipelines.report.page import RunPage, render_page
from steps.contracts.evaluation import Reason, WinRates
from steps.contracts.reports import Example, Table

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


def _words(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_every_section_is_there():
    html = render_page(sample_run.page())
    for anchor in ("rows", "cost", "results", "answers", "section-1", "stages", "lineage", "config"):
        assert f'id="{anchor}"' in html and f'href="#{anchor}"' in html
    for said in ("3,764", "champion", "0.956", "CREDIT_CARD", "loss", "max_new_tokens", "threshold: 0.8"):
        assert said in html, said


def test_costs_say_why_and_what_came_from_the_cache():
    page = sample_run.page()
    record = page.record.model_copy(update={"cached_steps": ("dedup_step",), "cpu_seconds": 75.2, "peak_mb": 970.0})
    text = _Tags(render_page(dataclasses.replace(page, record=record))).text
    assert "dropped: exact 310, near 153" in text and "quarantined: self_harm 19; flagged: role_marker 5" in text
    assert text.count("from cache") == 2  # the count in the head, and dedup
    assert "1 min 15 s of CPU time, peak memory 970 MB" in text


def test_files_of_one_source_are_one_source_in_the_head():
    page = sample_run.page()
    files = dataclasses.replace(page, sources={"docs/a.md": 1, "docs/b.md": 1, "chats/c.jsonl": 9})
    assert "3,764 rows from 2 sources" in _words(render_page(files))
    ingest = page.reports[0].model_copy(update={"counts": {"rows read per source": dict.fromkeys("abc", 1)}})
    assert ingest.stage == "ingest"
    read = dataclasses.replace(files, reports=[ingest, *page.reports[1:]])
    assert "3,764 rows from 3 sources" in _words(render_page(read))


def test_the_head_says_what_went_in_what_came_out_what_was_decided_and_what_is_to_do():
    text = _words(render_page(sample_run.page()))
    assert "What went in 3,764 rows from 2 sources" in text
    assert "What came out 3,100 rows 645 dropped, 19 set aside, 412 changed, 5 flagged" in text
    assert "Decision promoted: support version 3 all 2 checks passed @champion" in text
    assert "decide on 19 rows that were set aside assay review quickstart-2026-11-21-01-17-00" in text
    assert "look at 7 rows that nobody decided on (judge)" in text


def test_a_refusal_is_told_by_its_checks_in_words():
    page = sample_run.page()
    checks = [
        Reason(check=c, passed=False, required="r", found="f") for c in ("gain in exact_match", "a", "b", "c", "d")
    ]
    refused = page.decision.model_copy(update={"promote": False, "reasons": tuple(checks)})
    text = _words(render_page(dataclasses.replace(page, decision=refused)))
    assert "not promoted: support version 3 failed: gain in exactly right; a; b and 2 more" in text
    assert "read the checks that failed before this model is used" in text


def test_a_prompt_is_shown_as_turns_without_the_templates_tokens():
    page = sample_run.page()
    prompts = (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi there [/INST]",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>assistant",
        "<bos><start_of_turn>user\nHi there<end_of_turn>\n<start_of_turn>model\n",
    )
    for prompt in prompts:
        shown = dataclasses.replace(page.answers[0], prompt=prompt)
        text = _Tags(render_page(dataclasses.replace(page, answers=(shown,)))).text
        assert "Hi there" in text
        assert not re.search(r"im_start|INST|SYS>|_id\||_of_turn|<s>|<bos>", text), prompt
    assert turns(prompts[0]) == [("system", "Be kind."), ("user", "Hi there")]
    assert turns(prompts[2]) == [("user", "Hi there")]
    assert turns("a < b and user\nno token") == [("", "a < b and user\nno token")]


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
    assert not re.search(r"""src\s*=""", html)
    # But for where the run is seen in this machine's own dashboards, which is fetched by who follows the link.
    own = r"#|http://127\.0\.0\.1:8237/projects/default/runs/|http://127\.0\.0\.1:8238/#/runs/"
    assert not re.search(rf"""href\s*=\s*["'](?!{own})""", html)


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


def test_a_model_that_judges_has_a_chapter_of_its_own():
    page = sample_run.page()
    assert 'id="judge"' not in render_page(page)
    (place,) = (i for i, r in enumerate(page.reports) if r.stage == "judge")
    parts = [("scores", "Use"), ("agreement", "Asked again"), ("biases", "Drift"), ("spend", "Tokens")]
    tables = [Table(title=f"{t} <b>x</b>", columns=("a",), rows=(("<script>",),), chapter=c) for c, t in parts]
    shown = [Example(record_id="r1", reason="score 5", text="<img src=x onerror=y>", chapter="scores")]
    judged = page.reports[place].model_copy(update={"tables": tuple(tables[::-1]), "examples": tuple(shown)})
    both = Table(title="Both orders of pairs", columns=("a",), rows=((1,),), chapter="biases")
    pairs = judged.model_copy(update={"stage": "prefer", "tables": (both,)})
    reports = (*page.reports[:place], judged, *page.reports[place + 1 :], pairs)
    html = render_page(dataclasses.replace(page, reports=reports))
    assert not _Tags(html).events and "script" not in _Tags(html).opened
    chapter = _words(html.split('id="judge"')[1].split("</section>")[0])
    places = [chapter.index(title) for title in ("Scores", "Agreement", "Habits of the judge", "Spend")]
    assert places == sorted(places) and "Both orders of pairs" in chapter and "score 5" in chapter
    duels = WinRates(judge="j", prompt_digest="", duels=(), position=both.model_copy(update={"title": "Flips"}))
    evaluated = render_page(dataclasses.replace(page, win_rates=duels))
    assert "Flips" in evaluated.split('id="judge"')[1].split("</section>")[0] and evaluated.count("Flips") == 1
    # Each of them stands there once.
    assert html.count("Both orders of pairs") == 1 == html.count("Asked again") and html.count('href="#judge"') == 3
