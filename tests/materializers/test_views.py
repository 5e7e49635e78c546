import re
from html.parser import HTMLParser

import pytest

from materializers import charts, views
from materializers.visible import visible
from steps.contracts.dataset import Manifest
from steps.contracts.evaluation import Compared, Comparison, Decision, Difference, Estimate, Reason, Registration
from steps.contracts.ledger import LedgerWriter
from steps.contracts.monitoring import MonitorCheck, Monitored
from steps.contracts.reports import Example, Histogram, Series, StageReport, Table

HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\x1b[31m\ud800"


class _Parsed(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.said += data


def hostile_values(tmp_path):
    estimate = Estimate(value=1.0, low=0.5, high=1.5, n=3)
    with LedgerWriter(tmp_path / "ledger.parquet", "stage") as writer:
        writer.add("r", "dropped", HOSTILE.replace("\ud800", ""))
        ledger = writer.close()
    report = StageReport(
        stage=HOSTILE, rows_in=2, kept=1, dropped=1, dropped_by={HOSTILE: 1}, counts={HOSTILE: {HOSTILE: 1}},
        histograms=(Histogram(title=HOSTILE, unit=HOSTILE, edges=(0, 1, 2), counts=(1, 0)),),
        series=(Series(title=HOSTILE, x_label=HOSTILE, y_label="y", x=(1, 2), y=(1, 2)),),
        tables=(Table(title=HOSTILE, columns=(HOSTILE,), rows=((HOSTILE,),)),), notes=(HOSTILE,), warnings=(HOSTILE,),
        examples=(Example(record_id=HOSTILE, reason=HOSTILE, text=HOSTILE, evidence={HOSTILE: HOSTILE}),),
        config_digest="c", seconds=1, cpu_seconds=1,
    )  # fmt: skip
    return [
        report,
        ledger,
        report.tables[0],
        Decision(promote=False, reasons=(Reason(check=HOSTILE, passed=False, required=HOSTILE, found=HOSTILE),),
                 config_digest="c"),
        Registration(name=HOSTILE, version="1", status="rejected", aliases=(HOSTILE,), model_uri=HOSTILE,
                     tracking_uri=HOSTILE, run_id=HOSTILE, tags={HOSTILE: HOSTILE}),
        Comparison(reference=Compared(name=HOSTILE, digest="a"), candidates=(Compared(name=HOSTILE, digest="b"),),
                   dataset_digest="c",
                   differences=(Difference(task=HOSTILE, metric=HOSTILE, subject=HOSTILE, reference=estimate,
                                           candidate=estimate, change=estimate),)),
        Manifest(stage=HOSTILE, parent=None, digest="d", rows=1, splits={HOSTILE: 1}, kinds={HOSTILE: 1}, shards=(),
                 selection=None),
    ]  # fmt: skip


def test_hostile_text_stays_text_in_every_view(tmp_path):
    seen = set()
    for value in hostile_values(tmp_path):
        html = views.as_html(value)
        html.encode()
        parsed = _Parsed(html)
        assert not {"script", "img", "iframe"} & set(parsed.tags), type(value)
        assert not [name for name, _ in parsed.attributes if name.startswith("on")], type(value)
        assert "<script>alert(1)</script>" in parsed.said, f"{type(value)} doesn't show the text at all"
        assert "\u202e" not in html and "\x1b" not in html
        seen.add(type(value).__name__)
    assert len(seen) == 7


def test_views_fetch_nothing(tmp_path):
    for value in hostile_values(tmp_path):
        html = views.as_html(value)
        assert "default-src 'none'" in html
        assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", html)
        assert "@import" not in html and "url(" not in html


def test_visible_keeps_what_people_write():
    for text in ("plain", "Grüße, 你好, नमस्ते", "a\n\tb", "👩\u200d💻", "می\u200cخواهم"):
        assert visible(text) == text
    assert visible("a\u202eb\x07\x9b\u200b") == "a�b���"


def test_no_view_is_said():
    with pytest.raises(TypeError, match="no view of int"):
        views.fragment(3)


@pytest.mark.parametrize(
    ("change", "ratio", "up_is_good", "word"),
    [
        ((0.1, 0.05, 0.2), False, True, "better"),
        ((-0.1, -0.2, -0.05), False, True, "worse"),
        ((0.1, -0.05, 0.2), False, True, "no clear change"),
        ((0.1, 0.05, 0.2), False, False, "worse"),
        ((0.5, 0.4, 0.6), True, None, "better"),
        ((1.5, 1.4, 1.6), True, None, "worse"),
        ((1.0, 0.9, 1.1), True, None, "no clear change"),
        ((0.1, 0.05, 0.2), False, None, "higher"),
        ((0.1, 0.0, 0.2), False, True, "no clear change"),
    ],
)
def test_a_change_is_judged_by_its_interval(change, ratio, up_is_good, word):
    value, low, high = change
    estimate = Estimate(value=value, low=low, high=high, n=9)
    difference = Difference(
        task="t", metric="m", subject="tuned", reference=estimate, candidate=estimate, change=estimate, is_ratio=ratio
    )
    directions = {} if up_is_good is None else {("t", "m"): up_is_good}
    assert word in views.judged(difference, directions)


def test_metrics_that_no_row_changed_are_one_sentence():
    zero, half = Estimate(value=0.0, low=0.0, high=0.0, n=9), Estimate(value=0.5, low=0.4, high=0.6, n=9)
    unchanged = Difference(task="t", metric="never_moved", subject="tuned", reference=half, candidate=half, change=zero)
    moved = Difference(task="t", metric="moved", subject="tuned", reference=zero, candidate=half, change=half)
    both = Compared(name="base", digest="a"), Compared(name="tuned", digest="b")
    html = str(views.fragment(Comparison(reference=both[0], candidates=both[1:], dataset_digest="c",
                                         differences=(unchanged, moved))))  # fmt: skip
    assert html.count("<svg") == 2  # a line and its axis
    assert "1 metrics are alike in both" in html and "never moved 0.5 (t, n = 9)." in html


def test_a_forest_plot_has_an_axis_a_unit_and_a_line_of_no_change_for_each_unit():
    def difference(metric, low, value, high, ratio=False):
        change = Estimate(value=value, low=low, high=high, n=9)
        side = Estimate(value=0.5, low=0.4, high=0.6, n=9)
        both = {"reference": side, "candidate": side}
        return Difference(task="held_out", metric=metric, subject="tuned", change=change, is_ratio=ratio, **both)

    found = views.forests(
        [difference("exact_match", 0.1, 0.2, 0.3), difference("json_valid", -0.1, 0.05, 0.2),
         difference("loss", -2.5, -2.0, -1.5), difference("perplexity", 0.1, 0.15, 0.2, ratio=True)],
        ("base", "tuned"),
    )  # fmt: skip
    assert [(len(f.differences), f.label) for f in found] == [
        (2, "change from base to tuned (1 = all rows)"),
        (1, "change from base to tuned, nats per token"),
        (1, "tuned / base, 1 = no change"),
    ]
    for forest, none in zip(found, (0, 0, 1), strict=True):
        assert forest.scale.none == none and forest.scale.low < none < forest.scale.high
        axis = str(charts.forest_axis(forest.scale, forest.label))
        assert forest.label in axis
        ticks = [float(t.replace("+", "")) for t in re.findall(r">([+-]?[\d.]+)</text>", axis)]
        assert none in ticks and ticks == sorted(ticks) and len(ticks) > 2
        for d in forest.differences:
            drawn = str(charts.forest_row(d.change, forest.scale, "good"))
            places = re.search(r'class="span good" x1="([\d.]+)" y1="11.00" x2="([\d.]+)".*cx="([\d.]+)"', drawn)
            left, right, dot = map(float, places.groups())
            assert left < dot < right
            line = float(re.search(r'class="none" x1="([\d.]+)"', drawn)[1])
            assert (line < left) == (d.change.low > none) and (line > right) == (d.change.high < none)


def test_histogram_draws_every_bin_in_proportion():
    svg = str(charts.histogram(Histogram(title="t", unit="u", edges=(0, 1, 2, 3, 4), counts=(10, 5, 0, 1))))
    heights = [float(h) for h in re.findall(r'class="bar"[^>]*height="([\d.]+)"', svg)]
    assert len(heights) == 4
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.01)
    assert heights[2] == 0 and heights[3] > 0
    assert "1 to 2 u: 5" in svg


def test_empty_and_flat_charts_are_drawn():
    assert charts.histogram(Histogram(title="t", unit="u", edges=(), counts=())) == ""
    assert charts.lines([Series(title="t", x_label="x", y_label="y", x=(), y=())]) == ""
    assert "circle" in charts.lines([Series(title="t", x_label="x", y_label="y", x=(3,), y=(0,))])
    flat = Estimate(value=0.0, low=0.0, high=0.0, n=1)
    scale = charts.scale_of([flat], 0.0)
    assert "nan" not in charts.forest_row(flat, scale, "unclear") + charts.forest_axis(scale, "share")
    assert "nan" not in charts.lines([Series(title="t", x_label="x", y_label="y", x=(1, 2), y=(5, 5))])
    assert "nan" not in charts.histogram(Histogram(title="t", unit="u", edges=(0, 1), counts=(0,)))


def test_a_long_line_ends_at_its_last_point():
    n = 10_001
    line = Series(title="t", x_label="x", y_label="y", x=tuple(range(n)), y=tuple([1.0] * (n - 1) + [2.0]))
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", str(charts.lines([line])))
    assert len(points) <= charts.CHART_WIDTH + 1
    assert float(points[-1][1]) < float(points[-2][1]), "the last value is higher, so it is drawn higher up"


def test_a_lost_row_is_visible_in_the_funnel():
    svg = str(charts.shares([("kept", 99_999), ("dropped", 1)], 100_000))
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"', svg)]
    assert widths[1] >= 0.5


def monitored(verdict: str = "drifted", text: str = "topics") -> Monitored:
    share = Estimate(value=0.355, low=0.31, high=0.403, n=400)
    sure = {"effect": 1.3, "floor": 0.1, "p": 0.0005, "adjusted": 0.00001, "alarm": True}
    checks = (
        MonitorCheck(name=text, kind="drift", measure="PSI", **sure),
        MonitorCheck(name="errors", kind="limit", measure="limit", window=share, floor=0.02, alarm=True),
        MonitorCheck(name="latency, median", kind="limit", measure="limit", window=share, unit="s"),
    )
    return Monitored(
        verdict=verdict,
        retrain=True,
        requests=400,
        began="2026-11-01T00:00:00+00:00",
        ended="2026-11-01T06:39:00+00:00",
        dataset_digest="d",
        alpha=0.01,
        tests=1,
        checks=checks,
        notes=("Lengths are in tokens.",),
        config_digest="c",
    )


def test_a_look_at_production_says_its_verdict_and_every_check() -> None:
    html = views.as_html(monitored())
    told = ("drifted", "a new model is asked for", "&lt; 0.0001", "35.5 %", "31.0 % to 40.3 %", "over the limit")
    for said in (*told, "told only", "1 tests, corrected together by Holm", "1.0 % at most", "Lengths are in tokens."):
        assert said in html, said
    assert "<script>" not in views.as_html(monitored(text="<script>alert(1)</script>"))
    assert 'class="verdict good">steady' in views.as_html(monitored("steady"))
