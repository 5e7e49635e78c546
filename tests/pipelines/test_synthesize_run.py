"""A whole run from documents to a dataset version by `assay run`, with a scripted model over HTTP."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from engines.llm.scripted_server import ScriptedServer
from support.following_writer import following

from ops.commands.explain import explain_row
from ops.run import run
from ops.run_index import artifacts_of, find_run
from ops.suites.synthesized import suite_of_run
from steps.engines.retrieval.config import RetrievalConfig
from steps.engines.retrieval.gold import Gold, nowhere
from steps.engines.retrieval.passages import passages
from steps.zenml_runtime.state import state_folder

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("Oslo", "Lima", "Riga", "Kyiv", "Bern", "Cork", "Rome", "Nice")
THINGS = ("river", "tower", "bridge")


def site(folder: Path) -> Path:
    """Saved pages, each with an e-mail address in front of its facts, which scrub replaces."""
    docs = folder / "docs"
    docs.mkdir()
    for place in PLACES:
        parts = "".join(
            f"<h2>On the {t}</h2><p>Ask {t}@{place.lower()}.example.org. The {t} of {place} is {t}{place.lower()}."
            f" {' '.join(f'{place.lower()}{t}{i}' for i in range(14))}.</p>" for t in THINGS
        )  # fmt: skip
        head = f'<link rel="canonical" href="https://example.org/{place.lower()}">'
        (docs / f"{place}.html").write_text(f"<html><head>{head}</head><body><h1>{place}</h1>{parts}</body></html>")
    return docs


@pytest.mark.slow
def test_documents_become_a_dataset_version_in_which_each_pair_leads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(state_folder() / "synthesize", ignore_errors=True)
    with ScriptedServer(following(lambda what, _: what == "tower")) as server:
        overrides = [
            f"ingest.sources.0.path={site(tmp_path)}", f"synthesize.endpoint.base_url={server.url}",
            "synthesize.endpoint.model=m", "synthesize.chunk={max_tokens: 60, min_tokens: 8}", "split.test=0.3",
            "scrub={demo_key: true}", "skip=[judge, leakcheck]",
        ]  # fmt: skip
        assert run(ROOT / "configs/runs/synthesize.yaml", overrides=overrides, root=ROOT) == 0
        bodies = len(server.bodies)
        first = find_run(ROOT, None)
        assert run(ROOT / "configs/runs/synthesize.yaml", overrides=overrides, root=ROOT, no_cache=True) == 0
        assert len(server.bodies) == bodies
    assert not [b for b in server.bodies if "example.org." in json.dumps(b) and "@" in json.dumps(b)]
    store = artifacts_of(ROOT, first)
    (made,) = [a for a in first.of_type("dataset") if a.name == "synthesized"]
    rows = list(store.dataset(made).iter_rows())
    sides = Counter((r["source"], r["split"]) for r in rows)
    assert len({source for source, _ in sides}) == len(sides) == len(PLACES)
    assert {"train", "test"} <= {split for _, split in sides}
    pair = next(r for r in rows if json.loads(r["meta"])["synthesis"]["kind"] == "where")
    assert json.loads(pair["meta"])["synthesis"]["chunks"][0]["url"].startswith("https://example.org/")
    capsys.readouterr()
    explain_row(ROOT, pair["record_id"], first.name, False, 20, True)
    told = capsys.readouterr().out
    assert pair["parents"][0] in told and "prompt_digest" in told
    page = (state_folder() / "runs" / first.name / "report.html").read_text()
    assert "Yield per document" in page and "unsupported_claim" in page and "It was finished in 1931." in page
    out = tmp_path / "suite"
    told = suite_of_run(ROOT, first.name, out, "held-out", "CC0-1.0")
    held = {source for source, split in sides if split == "test"}
    asked = [json.loads(line) for f in sorted(out.glob("*.jsonl")) for line in f.read_text().splitlines()]
    assert set(told["held_out"]) == held
    wanted = [r for r in rows if r["split"] == "test" and "raft" not in json.loads(r["meta"])["synthesis"]]
    assert len(asked) == len(wanted)
    # Each question with an answer names the document that it is answered by, and the words there, as scrub left them.
    texts = {r["source"]: r["text"] for a in first.of_type("dataset") if a.name == "scrubbed"
             for r in store.dataset(a).iter_rows()}  # fmt: skip
    answered = [i for i in asked if "document" in i]
    assert answered and len(answered) == sum(not i["note"].startswith("unanswerable") for i in asked)
    assert all(i["document"] in held and i["passages"] for i in answered)
    assert all(p in texts[i["document"]] for i in answered for p in i["passages"])
    # A fact's paragraph, not all of its chunk, which begins with a heading.
    facts = [i for i in answered if i["note"].startswith("fact")]
    assert facts and all(len(i["passages"]) == 1 and "#" not in i["passages"][0] for i in facts)
    # Looked up in the pages themselves, which nobody scrubbed and which are cut otherwise, all of them can be found.
    looked_up = passages(RetrievalConfig(documents="docs"), store.dataset(made), tmp_path)
    golds = [Gold(tuple(i["passages"]), i["document"]) for i in answered]
    found = nowhere(golds, looked_up)
    assert [lost for lost, _ in found.values()] == [0, 0] and found["documents"][1] == len(held)
