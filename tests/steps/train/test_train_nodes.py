"""Machines that train a phase together: here two commands in sessions of their own, each with ranks of its own."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import rank_witness
from support.processes import command, ended
from test_train_ranks import HOOK, alive, config, rows_by_step, rows_to_train, states, wait_until

from steps.contracts.errors import (
    AssayError,
    ConfigError,
    InputNotFoundError,
    ServiceError,
    StepTimeoutError,
    TrainingDataError,
    WorkerDiedError,
)
from steps.train import checkpoints
from steps.train.objectives.sft_trainer import SftTrainer
from steps.train.plan import make_plan
from steps.train.ranks import meeting, node
from steps.train.ranks.config import Ranks
from steps.train.ranks.link import Link
from steps.train.ranks.local import interface_of
from steps.train.ranks.meeting import MEETINGS, Meet
from steps.train.settings import Plan
from steps.train.train import train

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="NOT run: DeepSpeed isn't installed"
)
ROOT = Path(__file__).parents[3]
HERE = socket.gethostname()


@pytest.fixture
def machines(tmp_path, monkeypatch, tiny_model):
    """`train(...)`: the step's machine, which is this process; `join()`: another one, a process. Both are witnessed."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join(map(str, (hook, Path(__file__).parent, ROOT)))
    monkeypatch.setenv("PYTHONPATH", path)
    state = tmp_path / "state"
    state.mkdir()
    data = rows_to_train(tmp_path / "data")
    started = []

    class Machines:
        calls = 0

        def join(self, *within, **environment):
            self.seen()
            joined = subprocess.Popen(
                [*within, sys.executable, "-c", command("join", "--wait", "120")], cwd=ROOT, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "ASSAY_STATE": str(state), "ASSAY_PROGRESS": "on", **environment},
            )  # fmt: skip
            started.append(joined)
            return joined

        def seen(self):
            """Of the call that follows."""
            folder = tmp_path / f"run{self.calls + 1}" / "seen"
            folder.mkdir(parents=True, exist_ok=True)
            monkeypatch.setenv("ASSAY_WITNESS", str(folder))
            return folder

        def train(self, nodes=2, processes=1, checkpoints_folder=None, more=0, strategy="ddp", **changes):
            self.seen()
            self.calls += 1
            folder = tmp_path / f"run{self.calls}"
            where = tmp_path / checkpoints_folder if checkpoints_folder else folder / "checkpoints"
            ranks = Ranks(processes=processes, nodes=nodes, strategy=strategy, join_seconds=200)
            with monkeypatch.context() as here:
                here.setattr(SftTrainer, "training_step", SftTrainer.training_step)
                rank_witness.watch()
                return train(
                    tiny_model, data, config(**changes), folder, where, ranks=ranks,
                    meet=Meet(state / MEETINGS, more),
                )  # fmt: skip

    yield Machines()
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", pytest.param("deepspeed", marks=needs_deepspeed)])
def test_two_machines_train_bit_by_bit_what_two_processes_of_one_train(machines, strategy):
    weights = {"kind": "lora", "lora_dropout": 0.1} if strategy == "ddp" else {"kind": "full"}
    seen = machines.seen()
    joined = machines.join()
    apart = machines.train(strategy=strategy, weights=weights, eval_steps=7)
    code, told = ended(joined, 60)
    assert code == 0, told
    assert f"train: joined node 0 ({HERE}) as node 1 of 2" in told
    witnesses = states(seen)
    assert [s["world"] for s in witnesses] == [2, 2]
    assert [s["parent"] for s in witnesses] == [os.getpid(), joined.pid], "each machine has one rank"
    assert [len((seen / f"rows-{rank}.jsonl").read_text().splitlines()) for rank in (0, 1)] == [14, 14]
    together_seen = machines.seen()
    together = machines.train(nodes=1, processes=2, strategy=strategy, weights=weights, eval_steps=7)
    assert apart.model.info.files == together.model.info.files
    assert apart.report.series == together.report.series
    assert rows_by_step(seen) == rows_by_step(together_seen)
    assert apart.report.counts == together.report.counts
    settings = dict(next(t for t in apart.report.tables if t.title == "Settings in force").rows)
    assert (settings["processes"], settings["strategy"], settings["nodes"]) == ("2", strategy, "2")
    assert any(n.startswith(f"trained by 2 processes of 2 machines ({strategy}") for n in apart.model.info.notes)
    assert apart.model.info.dataset_digest == together.model.info.dataset_digest


@pytest.mark.slow
def test_a_machine_stays_for_every_phase_and_a_checkpoint_is_no_machines_own(machines):
    seen, joined = machines.seen(), machines.join()
    first = machines.train(more=1, max_steps=4)
    assert joined.poll() is None
    second = machines.train(more=0, max_steps=4)
    code, told = ended(joined, 60)
    assert code == 0, told
    assert "train: done, 1 more to come" in told
    assert [s["parent"] for s in states(seen)] == [os.getpid(), joined.pid]
    assert len((seen / "rows-1.jsonl").read_text().splitlines()) == 8, "it was told where at its start"
    assert first.model.info.files == second.model.info.files


@pytest.mark.slow
def test_a_machine_that_is_gone_ends_the_run_by_its_name_and_the_run_goes_on_elsewhere(machines, tmp_path, monkeypatch):
    """kill -9 of `assay join`; then the same run with two processes of one machine, from the last checkpoint."""
    monkeypatch.setenv("ASSAY_ORPHAN", "1:10")
    seen, joined = machines.seen(), machines.join()
    with pytest.raises(WorkerDiedError) as raised:
        machines.train(checkpoints_folder="shared")
    assert time.time() - (seen / "orphaned").stat().st_mtime < 60
    assert ended(joined, 10)[0] == -signal.SIGKILL
    assert str(raised.value) == (
        f"node 1 ({HERE}): is gone: its process has ended, or the network to it\n"
        "  way out: what it has said last says more; a run goes on from its last checkpoint"
    )
    pids = [s["pid"] for s in states(seen)]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(p) for p in pids), 30)
    assert not any(alive(p) for p in pids)
    assert sorted(checkpoints.step_of(p) for p in (tmp_path / "shared").glob("*/checkpoint-*")) == [4, 8]
    monkeypatch.delenv("ASSAY_ORPHAN")
    resumed = machines.train(nodes=1, processes=2, checkpoints_folder="shared")
    straight = machines.train(nodes=1, processes=2)
    assert any("resumed at step 8" in note for note in resumed.report.notes)
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series


@pytest.mark.slow
def test_what_a_rank_of_another_machine_raises_is_the_error_of_both_commands(machines, monkeypatch):
    monkeypatch.setenv("ASSAY_RAISE", "1:3")
    joined = machines.join()
    with pytest.raises(TrainingDataError) as raised:
        machines.train()
    said = f"rank 1 of 2 on node 1 ({HERE}): row 7: the row is bad"
    assert str(raised.value) == f"{said}\n  way out: mend it"
    code, told = ended(joined, 60)
    assert code == TrainingDataError.exit_code
    assert said in " ".join(told.split())


@pytest.mark.slow
def test_when_memory_ends_on_another_machine_both_go_on_with_less(machines, monkeypatch):
    monkeypatch.setenv("ASSAY_FULL", "1:3")
    seen, joined = machines.seen(), machines.join()
    fallen = machines.train(max_steps=4)
    assert ended(joined, 60)[0] == 0
    (said,) = next(t for t in fallen.report.tables if t.title == "Memory ended").rows
    assert '"per_device_train_batch_size": 2' in said[2]
    assert [s["parent"] for s in states(seen)] == [os.getpid(), joined.pid]
    passes = [len((seen / f"rows-{rank}.jsonl").read_text().splitlines()) for rank in (0, 1)]
    assert passes[1] == 3 + 4 * 2, "three passes, then four steps of two smaller ones"


@pytest.mark.slow
def test_a_rank_of_another_machine_that_dies_is_named(machines, monkeypatch):
    monkeypatch.setenv("ASSAY_DIE", "1:3")
    joined = machines.join()
    where = rf"rank 1 of 2 on node 1 \({HERE}\): the process was killed by signal 9"
    with pytest.raises(WorkerDiedError, match=where):
        machines.train()
    assert ended(joined, 60)[0] == WorkerDiedError.exit_code


def first_machine(at):
    """Code of a process that trains for ever with another machine."""
    return textwrap.dedent(f"""
        import sys; sys.path[:0] = [{str(ROOT / "tests")!r}]
        from pathlib import Path
        from support.tiny_model import build_tiny_model, tiny_dataset
        from steps.train.config import TrainConfig
        from steps.train.ranks.config import Ranks
        from steps.train.ranks.meeting import Meet
        from steps.train.train import train
        at = Path({str(at)!r})
        config = TrainConfig.model_validate({config(max_steps=100_000).model_dump(exclude_unset=True)!r})
        base, rows = build_tiny_model(at / "m"), tiny_dataset(at / "d")
        train(base, rows, config, at / "run", at / "c", ranks=Ranks(nodes=2), meet=Meet(at / "state" / "nodes"))
    """)


@pytest.mark.slow
def test_a_machine_ends_with_the_one_that_it_has_joined(machines, tmp_path):
    """SIGKILL of the step's machine leaves no process on the other."""
    seen = machines.seen()
    first = subprocess.Popen([sys.executable, "-c", first_machine(tmp_path)], cwd=ROOT, start_new_session=True)
    joined = machines.join()
    try:
        wait_until(lambda: len(list(seen.glob("state-*.json"))) == 2 or first.poll() is not None, 300)
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    status, told = ended(joined, 60)
    assert status == ServiceError.exit_code
    assert f"node 0 ({HERE}): is gone: its process has ended, or the network to it" in told
    pids = [s["pid"] for s in states(seen)]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(p) for p in pids), 30)
    assert not any(alive(p) for p in pids)


@pytest.fixture
def network():
    """Two machines as far as the network goes: namespaces of Linux, with a cable between them. Gives their names and
    what cuts it.
    """
    ends = [f"assay-{os.getpid()}-{end}" for end in "ab"]
    cable = [f"as{os.getpid()}{end}" for end in "ab"]

    def ip(*arguments):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    try:
        try:
            for end in ends:
                ip("netns", "add", end)
                ip("-n", end, "link", "set", "lo", "up")
            ip("link", "add", cable[0], "netns", ends[0], "type", "veth", "peer", "name", cable[1], "netns", ends[1])
        except (OSError, subprocess.CalledProcessError) as e:
            pytest.skip(f"NOT run: no network namespaces can be made here ({getattr(e, 'stderr', None) or e})")
        for number, (end, name) in enumerate(zip(ends, cable, strict=True), 1):
            ip("-n", end, "addr", "add", f"10.77.0.{number}/24", "dev", name)
            ip("-n", end, "link", "set", name, "up")
        yield ends, lambda: ip("-n", ends[1], "link", "set", cable[1], "down")
    finally:
        for end in ends:
            subprocess.run(["ip", "netns", "del", end], check=False, capture_output=True)


@pytest.mark.slow
def test_machines_meet_over_a_network_and_notice_when_it_is_cut(machines, network, tmp_path):
    (one, other), cut = network
    seen = machines.seen()
    first = subprocess.Popen(
        ["ip", "netns", "exec", one, sys.executable, "-c", first_machine(tmp_path)], cwd=ROOT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    joined = machines.join("ip", "netns", "exec", other)
    try:
        wait_until(lambda: len(list(seen.glob("state-*.json"))) == 2 or first.poll() is not None, 300)
        assert first.poll() is None
        cut()
        since = time.monotonic()
        status, told = ended(joined, 60)
        _, said = ended(first, 60)
    finally:
        first.kill()
        first.wait()
    assert time.monotonic() - since < 60
    assert status == ServiceError.exit_code
    assert f"node 0 ({HERE}): is gone" in told
    assert f"WorkerDiedError: node 1 ({HERE}): is gone" in said
    assert [s["world"] for s in states(seen)] == [2, 2]
    wait_until(lambda: not any(alive(s["pid"]) for s in states(seen)), 30)
    assert not any(alive(s["pid"]) for s in states(seen))


VERSIONS = {"Python": "3.11.1", "torch": "2.13.0", "deepspeed": "none"}
SAME = {"versions": VERSIONS, "code": {"steps.train.train": "a"}, "gpus": 2}
PLAN = Plan(
    device="cpu", dtype="float32", bf16=False, gradient_checkpointing=False, loss_kernel="plain", learning_rate=1.0
)


@pytest.fixture
def both(tmp_path, monkeypatch):
    """Let a machine join another, in two threads; gives what each of them raised."""

    def go(theirs, ranks=None, device="cpu", wait=20.0):
        monkeypatch.setattr(meeting, "qualities", lambda: SAME)
        monkeypatch.setattr(node, "qualities", lambda: {**SAME, **theirs})
        raised = [None, None]

        def kept(place, what):
            try:
                what()
            except AssayError as e:
                raised[place] = e

        def first():
            plan = Plan(**{**vars(PLAN), "device": device})
            with meeting.meeting(ranks or Ranks(nodes=2, join_seconds=20), plan, Meet(tmp_path / "nodes"), "sft"):
                pass

        threads = [
            threading.Thread(target=kept, args=(0, first)),
            threading.Thread(target=kept, args=(1, lambda: node.join(tmp_path / "nodes", wait))),
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
        return raised

    return go


def test_a_machine_that_fits_is_taken_in_and_let_go(both):
    assert both({}) == [None, None]
    # Which of them has DeepSpeed says nothing where it doesn't train.
    assert both({"versions": VERSIONS | {"deepspeed": "0.19.8"}}) == [None, None]


@pytest.mark.parametrize(
    ("theirs", "device", "what"),
    [({"versions": VERSIONS | {"torch": "2.12.0"}}, "cpu",
      "has other versions than node 0: torch 2.12.0 (here 2.13.0)\n"
      "  way out: install the same from constraints.txt on all machines"),
     ({"code": {"steps.train.train": "b"}}, "cpu",
      "has other code than node 0: steps.train.train\n  way out: check the same commit out on all machines"),
     ({"gpus": 1}, "cuda",
      "2 processes train on each machine, one per GPU, and torch sees 1\n"
      "  way out: set training.processes to what every machine has")],
    ids=["versions", "code", "gpus"],
)  # fmt: skip
def test_a_machine_that_does_not_fit_is_refused_on_both_sides_by_the_same_error(both, theirs, device, what):
    raised = both(theirs, Ranks(nodes=2, processes=2, join_seconds=20), device)
    assert [type(e) for e in raised] == [ConfigError, ConfigError]
    assert [str(e) for e in raised] == [f"node 1 ({HERE}): {what}"] * 2


def test_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(meeting, "qualities", lambda: SAME)
    monkeypatch.setattr(node, "qualities", lambda: SAME)
    late = Ranks(nodes=3, join_seconds=0.2)
    with (
        pytest.raises(StepTimeoutError, match="sft: 0 of 2 other machines have joined within 0 s"),
        meeting.meeting(late, PLAN, Meet(tmp_path / "nodes"), "sft"),
    ):
        pass
    assert not list((tmp_path / "nodes").iterdir())
    with pytest.raises(StepTimeoutError, match="no training has asked for another machine within 0 s"):
        node.join(tmp_path / "nodes", 0.1)


@pytest.mark.slow
def test_who_does_not_know_the_secret_is_sent_away(tmp_path, monkeypatch):
    """The listener goes on; a stranger who says nothing of use learns nothing but a challenge."""
    monkeypatch.setattr(meeting, "qualities", lambda: SAME)
    folder, answers = tmp_path / "nodes", []

    def stranger():
        wait_until(lambda: list(folder.glob("*.json")), 10)
        notice = meeting.Notice.model_validate_json(next(folder.glob("*.json")).read_bytes())
        for hello in ({"proof": "0" * 64, "machine": "x", "qualities": SAME}, {}):
            link = Link(socket.create_connection(("127.0.0.1", notice.port)), "it")
            assert set(link.take(10) or {}) == {"challenge"}
            link.say(**hello)
            with pytest.raises(ServiceError):
                answers.append(link.take(10))
            link.close()

    thread = threading.Thread(target=stranger)
    thread.start()
    with (
        pytest.raises(StepTimeoutError, match="0 of 1 other machines"),
        meeting.meeting(Ranks(nodes=2, join_seconds=3), PLAN, Meet(folder), "sft"),
    ):
        pass
    thread.join(30)
    assert answers == []


def test_what_a_machine_does_not_see_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "_VISIBLE_SECONDS", 0.0)
    with pytest.raises(InputNotFoundError, match=r"isn't to be seen from here: .*/gone") as raised:
        node._require_visible([tmp_path, tmp_path / "gone"])
    assert "a state folder (ASSAY_STATE) on a file system that all of them have" in str(raised.value)


def test_every_process_of_every_machine_shares_the_batch():
    plan = make_plan(config(gradient_accumulation_steps=4), 320, Ranks(processes=2, nodes=2))
    assert (plan.processes, plan.nodes, plan.strategy) == (4, 2, "ddp")
    with pytest.raises(ConfigError, match="4 processes share 2 forward passes"):
        make_plan(config(), 320, Ranks(processes=2, nodes=2))


def test_the_interface_of_an_address_is_found():
    assert interface_of("127.0.0.1") == "lo" or sys.platform == "darwin"
    assert interface_of("::ffff:127.0.0.1") == interface_of("127.0.0.1")
    assert interface_of("192.0.2.1") is None


@pytest.mark.parametrize("address", ["host:x", "host:70000"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    ranks = Ranks(nodes=2, address=address)
    with (
        pytest.raises(ConfigError, match=r"training.address: '.*' is no HOST:PORT"),
        meeting.meeting(ranks, PLAN, Meet(tmp_path), "sft"),
    ):
        pass
