import pytest
from support import sample_run

from ops.run_index import find_run, load_runs, matching_runs, run_folder, save_run
from steps.contracts.errors import InputError, InputNotFoundError, IntegrityError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def test_runs_come_back_newest_first(root):
    for day in (3, 1, 2):
        run = sample_run.record(f"r-{day}").model_copy(update={"started": f"2026-11-0{day}T00:00:00+00:00"})
        save_run(root, run, "name: x\n")
    assert [r.name for r in load_runs(root)] == ["r-3", "r-2", "r-1"]
    assert find_run(root).name == "r-3"
    assert (run_folder(root, "r-2") / "config.yaml").read_text() == "name: x\n"


def test_a_run_is_found_by_name_id_or_beginning(root, capsys):
    for i, name in enumerate(("alpha-1", "alpha-10", "beta")):
        save_run(root, sample_run.record(name).model_copy(update={"run_id": f"{i}{i}{i}-id"}), "")
    assert find_run(root, "alpha-1").name == "alpha-1", "an exact name wins over a longer one"
    assert find_run(root, "be").name == "beta"
    assert find_run(root, "111").name == "alpha-10"
    assert [r.name for r in matching_runs(root, "alpha")] == ["alpha-10", "alpha-1"]
    assert find_run(root, "alpha").name == "alpha-10", "of several the newest, and the others are named"
    said = capsys.readouterr().err
    assert "'alpha' fits 2 runs; this is the newest, alpha-10; the others: alpha-1" in said
    with pytest.raises(InputNotFoundError, match="did you mean beta"):
        find_run(root, "bete")


def test_the_name_of_a_config_is_its_newest_run(root, capsys):
    for day, config in ((1, "mails"), (3, "mails"), (4, "mails-2")):
        record = sample_run.record(f"{config}-{day}")
        save_run(root, record.model_copy(update={"config_name": config, "started": f"2026-11-0{day}T00:00:00"}), "")
    assert find_run(root, "mails").name == "mails-3"
    assert [r.name for r in matching_runs(root, "mails")] == ["mails-3", "mails-1"]
    assert capsys.readouterr().err == ""
    assert find_run(root, "mail").name == "mails-2-4"


def test_no_runs_says_how_to_start_one(root):
    with pytest.raises(InputNotFoundError, match="assay run"):
        find_run(root)


def test_one_broken_record_hides_no_other(root):
    save_run(root, sample_run.record("good"), "")
    broken = run_folder(root, "broken") / "run.json"
    broken.parent.mkdir()
    broken.write_text('{"name": 1}')
    told = []
    assert [r.name for r in load_runs(root, lambda file, why: told.append((file, why)))] == ["good"]
    assert told[0][0] == broken
    with pytest.raises(IntegrityError, match="not a run record"):
        load_runs(root)


@pytest.mark.parametrize("damage", ["{", "", '{"name": 1}', None])
def test_a_run_whose_record_is_damaged_is_named_with_the_way_out(root, damage, capsys):
    save_run(root, sample_run.record("mine"), "")
    file = run_folder(root, "mine") / "run.json"
    file.unlink() if damage is None else file.write_text(damage)
    for name in (None, "mine", "mi"):
        with pytest.raises(IntegrityError, match=r"run\.json.*\n.*assay runs --sync"):
            find_run(root, name)
    capsys.readouterr()
    save_run(root, sample_run.record("other"), "")
    assert find_run(root, "other").name == "other"
    with pytest.raises(InputNotFoundError):
        find_run(root, "third")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 201, "a\n"])
def test_a_name_stays_inside_the_runs_folder(root, name):
    with pytest.raises(InputError, match="not a usable run name"):
        run_folder(root, name)


def test_latest_is_the_newest_run_of_all(root):
    for day, name in enumerate(("latest-try", "mine-1"), start=1):
        save_run(root, sample_run.record(name).model_copy(update={"started": f"2026-11-0{day}T00:00:00"}), "")
    assert find_run(root, "latest").name == find_run(root, "run:latest").name == "mine-1"
    assert [r.name for r in matching_runs(root, "latest")] == ["mine-1"]
