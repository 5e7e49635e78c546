"""The graph of many runs: what was made of what, each once."""

import json
from collections import Counter
from pathlib import Path

import pytest
from support import many_runs, stored_run

from ops.commands.lineage import show_lineage
from ops.lineage.catalogue import load_catalogue
from ops.lineage.graph import Graph, graph_of, versions_of
from ops.run_index import save_run
from steps.contracts.errors import InputNotFoundError

RUNS = 70


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path / "root"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_STATE", str(folder / "state"))
        many_runs.build(folder, folder / "store", RUNS)
        return graph_of(load_catalogue(folder))


def before(graph: Graph, node: str) -> list[str]:
    return sorted(graph.nodes[a].name for a, b in graph.edges if b == node)


def test_everything_is_there_once(graph):
    assert graph.gaps == []
    kinds = Counter(n.kind for n in graph.nodes.values())
    # Ten runs of seven configs; the tenth reads what the ninth did, every ninth of all fails, smoke trains nothing.
    models = {r: 0 for r in range(RUNS) if r % 9 != 8 and many_runs.CONFIGS[r % 7] != "smoke"}
    days = {(r % 7, r // 7 - (r // 7 % 10 == 9)) for r in models}
    assert kinds["model"] == len(days) + 1, "and the base, which all share"
    assert kinds["registered"] == len(days) and kinds["source"] == 9
    assert kinds["export"] == len([r for r in models if r % 23 == 0])
    shown = [n for n in graph.nodes.values() if n.kind == "version" and not n.minor]
    done = {(r % 7, r // 7 - (r // 7 % 10 == 9)) for r in range(RUNS) if r % 9 != 8}
    assert len(shown) == len(done) and {n.name for n in shown} == {"curated"}


def test_from_sources_to_an_export(graph):
    export = f"e:https://hub.internal/datasets/{many_runs.CONFIGS[0]}/0"
    (version,) = [a for a, b in graph.edges if b == export]
    node = graph.nodes[version]
    assert (node.kind, node.group, node.minor) == ("version", "support", False)
    told = dict(node.facts)
    assert told["dedup"] == "3,000 in, 2,789 kept, 211 dropped" and node.rows == 2658
    assert told["scrub"] == "2,789 in, 2,789 kept, 309 changed"
    assert [what for what, _ in node.facts][-8:] == [*many_runs.STAGES, "in runs"]
    whole = graph.around([version])
    chain = [n.name for n in whole.nodes.values() if n.kind == "version"]
    assert chain == [*many_runs.STAGES.values()]
    assert before(whole, next(i for i, n in whole.nodes.items() if n.name == "ingested")) == ["support", "tickets"]
    (model,) = [i for i, n in whole.nodes.items() if n.kind == "model"]
    (registered,) = [n for n in whole.nodes.values() if n.kind == "registered"]
    assert before(graph, model) == ["Qwen/Qwen2.5-7B-Instruct", "curated"]
    assert registered.name == "support-model/1" and registered.badge == "champion"


def test_runs_from_the_cache_share_what_they_have(graph):
    shared = [n for n in graph.nodes.values() if n.kind == "registered" and len(n.runs) > 1]
    assert shared and all(n.facts[-1] == ("in runs", ", ".join(reversed(n.runs))) for n in shared)


def test_versions_that_a_reference_means(graph):
    uri = many_runs.TRACKER
    assert [*versions_of(graph, uri, "support-model", "1", None)] == [f"r:{uri}#support-model/1"]
    assert len([*versions_of(graph, uri, "support-model", None, None)]) > 5
    champions = [*versions_of(graph, uri, "support-model", None, "champion")]
    assert champions and all(graph.nodes[i].badge == "champion" for i in champions)
    assert [*versions_of(graph, "http://other", "support-model", None, None)] == []


def test_a_real_run_and_what_of_it_cant_be_read(root, tmp_path):
    run = stored_run.build(root, tmp_path)
    assert run.record is not None
    graph = graph_of(load_catalogue(root))
    # The base that it names isn't among its artifacts, and its config names no sources.
    assert Counter(n.kind for n in graph.nodes.values()) == {"version": 4, "model": 1, "registered": 1}
    (model,) = [i for i, n in graph.nodes.items() if n.kind == "model"]
    assert before(graph, model) == ["screened"]
    (tuned,) = run.record.of_type("model")
    (Path(tuned.uri) / "model.json").write_text("{}")
    graph = graph_of(load_catalogue(root))
    assert [g.where for g in graph.gaps] == [f"{tuned.uri}/model.json"]
    assert not [n for n in graph.nodes.values() if n.kind == "model"]


def test_the_command(root, tmp_path, capsys):
    many_runs.build(root, root / "store", 8)
    page = tmp_path / "out" / "lineage.html"
    assert show_lineage(root, None, page, json_output=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(page) and said["counts"]["registered"] == 7 and page.is_file()
    assert show_lineage(root, "gsm8k-model/1", None, json_output=False) == 0
    assert capsys.readouterr().out == ("gsm8k-model/1: 2 sources, 7 dataset versions, 2 models, 1 registered version\n")
    with pytest.raises(InputNotFoundError, match="no run registered gsm8k-model/9"):
        show_lineage(root, "gsm8k-model/9", None, json_output=False)


def test_no_runs_and_a_run_whose_config_is_damaged(root, capsys):
    assert show_lineage(root, None, None, json_output=False) == 0
    assert capsys.readouterr().out == "All runs: no runs yet\n"
    last = many_runs.build(root, root / "store", 5)[-1]
    save_run(root, last, "not: {a config")
    assert show_lineage(root, None, None, json_output=False) == 7
    assert "not the config that the run had" in capsys.readouterr().err
