"""`assay plan`: what training would take, from a config.json alone."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ops.main import app
from ops.training_plan.plan import TrainingPlan, foreseen
from ops.training_plan.prices import LISTED
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.engines.lm.quantized import without_missing_kernel
from steps.engines.yardsticks.enough import few_for_all, hints
from steps.train.config import TrainConfig
from steps.train.plan import require_shared
from steps.train.planning.devices import DEVICES, device_like, device_named
from steps.train.ranks.config import Ranks

SMALL = {
    "model_type": "llama", "vocab_size": 1_024, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 512, "torch_dtype": "bfloat16",
}  # fmt: skip
CARD = "---\nlicense: apache-2.0\n---\n# A model\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(SMALL))
    (tmp_path / "model" / "README.md").write_text(CARD)
    rows = [{"prompt": "What? " * (n % 7 + 1), "completion": "That. " * 20} for n in range(1_300)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    values: dict[str, Any] = {
        "name": "mine",
        "ingest": {"sources": [{"name": "chats", "path": str(tmp_path / "chats.jsonl")}]},
        "scrub": {"demo_key": True},
        "base": {"model": str(tmp_path / "model")},
        "train": {"per_device_train_batch_size": 8, "max_length": 256, "num_train_epochs": 2},
        "registry": {"name": "mine"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan", "run.yaml", *arguments])
    return done.exit_code, done.output


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    status, said = plan(*arguments, "--json")
    return status, json.loads(said)


def test_a_plan_says_weights_rows_steps_time_money_and_licences(here: Path) -> None:
    status, said = told("--device", "4090")
    assert status == 0
    phase = said["phases"][0]
    # Embeddings and head, and in each layer four attention matrices, three of the MLP, two norms; and the last norm.
    assert phase["weights"]["all"] == 2 * 1_024 * 64 + 3 * (4 * 64 * 64 + 3 * 64 * 160 + 2 * 64) + 64
    assert phase["weights"]["trained"] == 3 * 16 * (4 * 128 + 3 * 224)
    assert phase["rows"]["count"] == 1_170  # nine tenths of 1,300
    assert phase["steps"] == 2 * 147  # of 8 rows, the last with two
    assert phase["settings"]["dtype"] == "bfloat16" and phase["settings"]["gradient_checkpointing"]
    assert phase["memory"]["fits"] and phase["change"] is None
    # The careful share of the peak is half of the published one; nothing here is bound by computing.
    assert 0 < phase["seconds"][0] <= phase["seconds"][1] <= 2 * phase["seconds"][0]
    assert said["money"]["least"] == pytest.approx(said["seconds"][0] / 3600 * LISTED.devices["rtx-4090"].per_hour)
    assert said["base"]["licence"] == "apache-2.0"
    assert said["licences"] == {"chats": None}
    assert said["device"] == {
        "name": "rtx-4090", "memory": 24 * 2**30, "count": 1, "measured": False,
        "source": "NVIDIA Ada GPU architecture whitepaper (2022)",
    }  # fmt: skip


def test_the_change_that_fits_is_ready_to_be_set_and_then_it_fits(here: Path) -> None:
    need = told("--device", "cpu")[1]["phases"][0]["memory"]["total"] / 2**30
    status, said = told("--device", "cpu", "--memory", str(0.7 * need))
    assert status == 2
    change = said["phases"][0]["change"]
    arguments = [part for argument in change["arguments"] for part in ("--set", argument)]
    assert change["arguments"][0] == "train.per_device_train_batch_size=4"
    assert change["arguments"][1] == "train.gradient_accumulation_steps=2"
    again, then = told("--device", "cpu", "--memory", str(0.7 * need), *arguments)
    assert again == 0
    assert then["phases"][0]["memory"]["total"] == change["total"]
    assert then["phases"][0]["steps"] == said["phases"][0]["steps"]


def test_what_never_fits_is_said(here: Path) -> None:
    status, said = plan("--device", "cpu", "--memory", "0.0001")
    assert status == 2
    assert "DOESN'T FIT" in said and "no change of these settings fits" in said


def test_an_evaluation_that_does_not_fit_is_said_as_well(here: Path) -> None:
    need = told("--device", "cpu")[1]["evaluation"]["total"] / 2**30
    change = told("--device", "cpu", "--memory", str(0.8 * need))[1]["evaluation"]["change"]
    assert change["arguments"] == ["evaluate.batch_size=8"]
    change = told("--device", "cpu", "--memory", "0.0001")[1]["evaluation"]["change"]
    assert change["arguments"] == ["evaluate.device=cpu"]
    assert "evaluation DOESN'T FIT" in plan("--device", "cpu", "--memory", "0.0001")[1]


def test_of_several_phases_each_has_its_place(here: Path) -> None:
    values = yaml.safe_load((here / "run.yaml").read_text())
    broad = {**values["train"], "name": "broad", "weights": {"kind": "full"}}
    values["train"] = [broad, {"name": "narrow", "max_length": 256}]
    (here / "run.yaml").write_text(yaml.safe_dump(values))
    said = told("--device", "cpu")[1]["phases"]
    assert [p["name"] for p in said] == ["broad", "narrow"]
    less = told("--device", "cpu", "--memory", str(0.9 * said[0]["memory"]["total"] / 2**30))[1]["phases"][0]
    assert less["change"]["arguments"] == [
        "train.0.per_device_train_batch_size=4", "train.0.gradient_accumulation_steps=2",
    ]  # fmt: skip
    firsts = [change["arguments"][0] for change in less["other_changes"]]
    assert firsts[:2] == ["train.0.optim=adamw_8bit", "train.0.weights.kind=lora"]


def test_only_a_config_json_is_needed_and_a_missing_one_is_asked_for(here: Path) -> None:
    (here / "model").rename(here / "elsewhere")
    (here / "chats.jsonl").unlink()
    status, said = plan("--set", "base.model=owner/name")
    assert status == 2 + 1  # input
    assert "isn't on this machine" in said and "hf download owner/name config.json" in said
    status, said = plan("--set", "base.model=owner/name", "--base", "elsewhere/config.json", "--device", "t4")
    assert status == 0
    assert "not known, since the rows aren't (chats: no such file" in said
    status, said = plan("--base", "elsewhere", "--rows", "500", "--device", "t4", "--set", "train.num_train_epochs=9")
    assert "567 steps of 8 rows, 9 passes over 500 rows" in said
    assert "500 rows are enough for a style or a tone (OpenAI" in said
    assert "500 rows are few for narrow structured output (Yandex" in said
    assert "9 passes over the same rows" in said


def test_prices_are_your_own_where_you_have_some(here: Path) -> None:
    (here / "prices.yaml").write_text("currency: EUR\ndevices: {4090: {per_hour: 0.5, source: our rack}}\n")
    said = told("--device", "rtx-4090", "--prices", "prices.yaml")[1]["money"]
    assert (said["currency"], said["per_hour"], said["source"]) == ("EUR", 0.5, "our rack")
    (here / "prices.yaml").write_text("devices: {4091: {per_hour: 0.5}}\n")
    status, wrong = plan("--device", "4090", "--prices", "prices.yaml")
    assert status == 2 and "no device '4091'" in wrong and "did you mean 4090?" in wrong


@pytest.mark.slow
def test_some_steps_are_trained_here_and_time_is_told_by_them(here: Path, tiny_model: Any) -> None:
    status, said = told("--probe", "3", "--set", f"base.model={tiny_model.path}")
    phase = said["phases"][0]
    assert status == 0
    assert phase["probed"]["steps"] == 3 and phase["probed"]["peak"] is None
    assert phase["steps"] == 294
    assert phase["seconds"] == [294 * phase["probed"]["step_seconds"]] * 2
    assert 0.001 < phase["probed"]["step_seconds"] < 60
    status, wrong = plan("--probe", "3", "--device", "t4")
    assert status == 2 and "a probe measures the base on this machine" in wrong


@pytest.mark.slow
def test_a_dry_run_says_what_training_takes_or_why_that_is_not_known(here: Path) -> None:
    (here / "model" / "tokenizer_config.json").write_text("{}")
    done = CliRunner().invoke(app, ["run", "run.yaml", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    training = json.loads(done.stdout.splitlines()[-1])["training"]
    assert training["phases"][0]["steps"] == 294
    assert training["phases"][0]["memory"]["fits"] is True


def test_what_is_not_known_before_a_run_is_said(here: Path) -> None:
    config = load_model(RunConfig, here / "run.yaml", ["base.model=owner/name"])
    assert foreseen(here, config, here=True) == "base.model: owner/name: its description isn't on this machine"
    config = load_model(RunConfig, here / "run.yaml", ["base.model=examples.toy_base.build:build"])
    assert "no run has it yet" in str(foreseen(here, config, here=True))
    elsewhere = foreseen(here, load_model(RunConfig, here / "run.yaml"), here=False)
    assert isinstance(elsewhere, TrainingPlan)
    assert elsewhere.phases[0].memory.available is None and elsewhere.phases[0].memory.fits


def test_what_the_run_would_refuse_is_refused_before_it(here: Path) -> None:
    for changes, why in (
        (["train.max_length=1024"], "max_length is 1024 tokens, the model's context is 512"),
        (["train.attention=flash_attention_2", "train.bf16=false", "train.fp16=false", "train.dtype=float32"],
         "flash attention computes in 16 bits"),
    ):  # fmt: skip
        status, said = plan("--device", "4090", *(word for change in changes for word in ("--set", change)))
        assert status == 2 and why in said
    status, said = plan("--device", "cpu", "--set", "train.use_liger_kernel=true")
    assert status == 2 and "use_liger_kernel is for CUDA GPUs" in said


def test_steps_of_answers_are_counted_in_answers(here: Path) -> None:
    told_of = plan("--device", "4090", "--rows", "100", "--set", "train.objective.kind=grpo", "--set",
                   "train.objective.rewards=[{grader: rouge_l}]", "--set", "train.objective.max_completion_length=64",
                   "--set", "train.num_train_epochs=1")[1]  # fmt: skip
    assert "100 steps of 8 answers, 1 passes over 100 rows" in " ".join(told_of.split())


def test_what_is_no_model_is_refused(here: Path) -> None:
    (here / "odd.json").write_text('{"model_type": "nobody-knows"}')
    status, said = plan("--base", "odd.json", "--device", "t4")
    assert status == 2 and "transformers doesn't know this model" in said
    (here / "odd.json").write_text("[]")
    status, said = plan("--base", "odd.json", "--device", "t4")
    assert status == 2 and "names no model_type" in said


def test_cards_are_found_by_their_names() -> None:
    torch_names = {
        "NVIDIA A100-SXM4-80GB": "a100-80gb", "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H100 PCIe": "h100-pcie",
        "Tesla T4": "t4", "NVIDIA GeForce RTX 4090": "rtx-4090", "NVIDIA A10G": "a10g", "NVIDIA H200": "h200",
    }  # fmt: skip
    assert {name: getattr(device_like(name), "name", None) for name in torch_names} == torch_names
    assert device_like("Voodoo 2") is None
    assert device_named("NVIDIA A100").name == "a100-80gb"
    names = [key for d in DEVICES for key in (d.name, *d.also)]
    assert len(names) == len(set(names))
    assert set(LISTED.devices) <= set(names)


def test_error_correction_takes_a_sixteenth() -> None:
    assert device_named("t4").memory == 15 * 2**30
    assert device_named("4090").memory == 24 * 2**30


def test_documents_are_counted_in_tokens() -> None:
    assert hints("continued_pretraining", 10, 3e9, 1) == [
        "3,000,000,000 tokens are enough for a domain (Don't Stop Pretraining, arXiv 2004.10964, table 1: 2.1 to 8.1"
        " billion tokens per domain)"
    ]
    assert hints("continued_pretraining", 10, None, 1) == []


def test_rows_that_are_few_for_all_are_told_in_a_line() -> None:
    assert few_for_all("sft", 1) == (
        "1 row to train on: few. The rule: for a style or a tone hundreds of rows that all show it; for narrow"
        " structured output about a thousand rows, every class among them; for the tasks of a domain thousands of rows"
        " and more; for facts retrieval (docs/stages/data_report.md)"
    )
    assert "The rule: for people's preferences 30,000 rows;" in few_for_all("dpo", 199)
    assert few_for_all("sft", 200) == ""
    assert few_for_all("continued_pretraining", 1) == ""


def test_cards_share_weights_and_hours_and_cost_each(here: Path) -> None:
    settings = ["--set", "train.weights.kind=full", "--set", "train.gradient_accumulation_steps=4", "--device", "4090"]
    one, four = told(*settings)[1], told(*settings, "--gpus", "4")[1]
    memory = [said["phases"][0]["memory"] for said in (one, four)]
    for part in ("gradients", "optimizer"):
        assert memory[1][part] == pytest.approx(memory[0][part] / 4, abs=1)
    # Of two layers each holds all.
    assert memory[0]["weights"] / 4 < memory[1]["weights"] < memory[0]["weights"]
    assert memory[1]["activations"] == memory[0]["activations"]
    assert four["seconds"][0] == pytest.approx(one["seconds"][0] / 4)
    assert four["money"]["least"] == pytest.approx(one["money"]["least"])
    assert four["device"]["count"] == 4
    assert "4 x rtx-4090, 24.0 GiB each" in plan(*settings, "--gpus", "4")[1]
    # Quantized weights aren't shared.
    bits = told("--set", "train.weights.kind=qlora", "--set", "train.gradient_accumulation_steps=4", "--device", "4090",
                "--gpus", "4")[1]["phases"][0]  # fmt: skip
    assert bits["settings"]["strategy"] == "ddp"


def test_an_infra_file_says_who_trains_together(here: Path) -> None:
    passes = ["--set", "train.gradient_accumulation_steps=8"]
    settings = told(*passes, "--infra", "eight-gpus")[1]["phases"][0]["settings"]
    assert (settings["processes"], settings["strategy"]) == (8, "fsdp2")
    machines = ["--set", "train.gradient_accumulation_steps=16", "--infra", "two-machines", "--device", "h100"]
    assert "16 processes of 2 machines (fsdp2) share each batch" in plan(*machines)[1]
    for arguments, why in (
        (["--infra", "eight-gpus"], "8 processes share 1 forward passes"),
        (
            ["--infra", "eight-gpus"],
            "the same batch of 8 rows: --set train.per_device_train_batch_size=1 --set"
            " train.gradient_accumulation_steps=8",
        ),
        (["--gpus", "3"], "instead of a batch of 8 rows one of 24 rows: --set train.gradient_accumulation_steps=3"),
        ([*passes, "--infra", "eight-gpus", "--gpus", "2"], "--infra says how many cards"),
        ([*passes, "--gpus", "2", "--probe", "3"], "a probe trains in one process"),
    ):
        status, said = plan(*arguments)
        assert status == 2
        assert why in " ".join(said.split())


@pytest.mark.parametrize(
    ("settings", "gpus", "passes"),
    [
        # A smaller pass would compute another loss: kto's divergence is of a batch.
        ({"objective": {"kind": "kto"}, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}, 2, (4, 2)),
        # Whole groups of six answers: 8 rows in 3 passes are four of them, in 2 they aren't.
        ({"objective": {"kind": "grpo", "rewards": [{"grader": "rouge_l"}], "num_generations": 6,
                        "max_completion_length": 16}, "per_device_train_batch_size": 6}, 4, (6, 4)),
        ({"objective": {"kind": "sft", "packing": "bfd"}, "per_device_train_batch_size": 1,
          "gradient_accumulation_steps": 6}, 4, (1, 8)),
    ],
    ids=["kto", "grpo", "packs"],
)  # fmt: skip
def test_the_batch_that_cards_can_share_is_one_that_the_objective_takes(
    settings: dict[str, Any], gpus: int, passes: tuple[int, int]
) -> None:
    phase = TrainConfig.model_validate(settings)
    with pytest.raises(ConfigError) as caught:
        require_shared(phase, Ranks(processes=gpus), "train.1")
    named = {"per_device_train_batch_size": passes[0], "gradient_accumulation_steps": passes[1]}
    wanted = " ".join(f"--set train.1.{k}={v}" for k, v in named.items() if v != getattr(phase, k))
    assert f": {wanted}" in str(caught.value.hint)
    changed = TrainConfig.model_validate(settings | named)
    require_shared(changed, Ranks(processes=gpus))


def test_of_prompts_the_tokens_are_those_of_prompts_and_of_the_answers_that_will_be_made(here: Path) -> None:
    rows = [{"prompt": "What? " * 10, "completion": "That. " * 200} for _ in range(100)]
    (here / "chats.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    # 60 characters at 4 a token, and 5 around the one message.
    asked = ["--set", "train.objective={kind: grpo, rewards: [{grader: rouge_l}], num_generations: 4,"
             " max_completion_length: 64}"]  # fmt: skip
    _, said = plan("--device", "4090", *asked)
    assert "over 90 rows, 20 tokens of prompt each and 4 answers of at most 64 (" in " ".join(said.split())
    assert "are longer than" not in said
    short = plan("--device", "4090", *asked, "--set", "train.max_length=80")[1]
    said = " ".join(short.split())
    assert "100% of the prompts looked at are longer than the 16 tokens that max_length 80 leaves" in said


def test_of_pairs_the_tokens_are_those_of_the_longer_answer_with_its_prompt(here: Path) -> None:
    rows = [{"prompt": "What? " * 10, "chosen": "That. " * 10, "rejected": "No."} for _ in range(100)]
    (here / "chats.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    _, said = plan("--device", "4090", "--set", "train.objective={kind: dpo}")
    assert "over 90 rows, 40 tokens each with the longer answer (" in " ".join(said.split())


def test_bitsandbytes_is_quiet_of_a_kernel_that_is_not_there_and_of_nothing_else() -> None:
    without_missing_kernel()
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    messages = ("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please", "of something else: %s")
    records = [logger.makeRecord(logger.name, logging.WARNING, "", 0, m, ("why",), None) for m in messages]
    assert [bool(logger.filter(r)) for r in records] == [False, True]


def test_a_teacher_is_counted_where_its_config_is_here_and_named_where_not(here: Path) -> None:
    (here / "teacher").mkdir()
    (here / "teacher" / "config.json").write_text(json.dumps({**SMALL, "hidden_size": 128}))
    taught = [
        "--device",
        "4090",
        "--set",
        "train.objective.kind=distill",
        "--set",
        "train.objective.max_completion_length=64",
    ]
    known = told(*taught, "--set", f"train.objective.teacher={{model: {here / 'teacher'}}}")[1]["phases"][0]
    weights = 2 * 1_024 * 128 + 3 * (4 * 128 * 128 + 3 * 128 * 160 + 2 * 128) + 128
    assert known["memory"]["asked"] == 2 * weights
    _, said = plan(*taught, "--set", "train.objective.teacher={model: owner/large}")
    assert "the memory of owner/large isn't counted" in " ".join(said.split())
    status, said = plan(*taught, "--set", "train.objective.teacher={model: ./gone}")
    assert status == 3
    assert "no such model folder" in said
    assert known["seconds"][1] > told("--device", "4090")[1]["phases"][0]["seconds"][1]
