import json

import pytest
from support.resumed import check_resumed_after_a_kill
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.engines.lm.generate import generate
from steps.engines.lm.load import load
from steps.engines.template.reasoning import Markers
from steps.train.config import TrainConfig
from steps.train.objectives.online_options import OnlineOptions
from steps.train.reward_watch import Point, parted, points_of
from steps.train.rewards import Asking, Failures, Reward, rewards_of
from steps.train.train import train

BASE = {
    "learning_rate": 1e-2, "max_steps": 8, "per_device_train_batch_size": 8, "logging_steps": 1, "save_steps": 100,
    "max_length": 64, "weights": {"kind": "full"}, "lr_scheduler_type": "constant_with_warmup",
}  # fmt: skip
SPACES = f"{__name__}:spaces"
ONLINE = {"rewards": [{"function": SPACES}], "num_generations": 4, "max_completion_length": 12, "beta": 0.0}


def spaces(prompts, completions, **_):
    """The share of an answer's characters that are blanks."""
    return [said.count(" ") / max(len(said), 1) for said in completions]


def config_of(kind="grpo", objective=None, **settings):
    return TrainConfig.model_validate({**BASE, "objective": {"kind": kind, **ONLINE, **(objective or {})}, **settings})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=8)


def series(report, title):
    return next(s for s in report.series if s.title == title)


def outcome(done):
    return dict(next(t for t in done.report.tables if t.title == "Outcome").rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_what_is_rewarded_becomes_likelier_and_the_saved_model_says_what_is_reported(
    dataset, tiny_model, tmp_path, kind
):
    done = train(tiny_model, dataset, config_of(kind, max_steps=30), tmp_path, tmp_path / "checkpoints")
    rewards = series(done.report, "Reward, training").y
    assert len(rewards) == 30
    assert sum(rewards[-5:]) / 5 > 2 * sum(rewards[:5]) / 5
    loaded = load(tiny_model, done.model)
    from steps.engines.template.render import chat_template, prompt_and_reference

    template = chat_template(loaded.tokenizer)
    rows = sorted(dataset.iter_rows("validation"), key=lambda r: r["content_id"])
    prompts = [prompt_and_reference(row, template)[0] for row in rows]
    said = [one.text for one in generate(loaded, prompts, max_new_tokens=12, batch_size=8)]
    assert outcome(done)["validation reward after"] == pytest.approx(sum(spaces(prompts, said)) / 8, abs=1e-5)
    assert done.model.info.objective == kind
    tokens = done.report.counts["training"]["tokens processed"]
    assert 30 * 8 * 20 < tokens < 30 * 8 * 64


@pytest.mark.slow
@pytest.mark.parametrize("weights", [{"kind": "full"}, {"kind": "lora", "r": 8}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_divergence_is_that_from_the_start(dataset, tiny_model, tmp_path, kind, weights):
    """At the first step the model is its own reference; a large beta keeps it near."""
    free, held = (
        train(
            tiny_model, dataset, config_of(kind, {"beta": beta}, max_steps=10, weights=weights),
            tmp_path / str(beta), tmp_path / f"{beta}c",
        )
        for beta in (0.001, 10.0)
    )  # fmt: skip
    near, far = (series(done.report, "KL divergence from the start").y for done in (held, free))
    assert near[0] == pytest.approx(0.0, abs=1e-6)
    assert far[0] == pytest.approx(0.0, abs=1e-6)
    assert free.model.info.digest != held.model.info.digest
    assert max(map(abs, far)) > 1e-3
    if kind == "grpo":  # whose estimate is never negative; rloo's is a difference of log-probabilities
        assert max(near) < max(far)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_in_any_row_order(dataset, tiny_model, tmp_path):
    rows = [tiny_row(i) for i in range(40)]
    backwards = tiny_dataset(tmp_path / "backwards", rows[:32][::-1] + rows[32:], validation=8)
    found = [
        train(tiny_model, data, config_of(max_steps=2, seed=seed), tmp_path / str(n), tmp_path / f"{n}c")
        for n, (data, seed) in enumerate([(dataset, 42), (backwards, 42), (dataset, 7)])
    ]
    digests = [done.model.info.digest for done in found]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
@pytest.mark.parametrize("weights", [{"kind": "full"}, {"kind": "lora", "lora_dropout": 0.1}], ids=["full", "lora"])
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model, kind, weights):
    """Over three passes over the rows, with two forward passes per step: what is drawn goes on where it was."""
    dataset = tiny_dataset(tmp_path / "data", [tiny_row(i) for i in range(16)], validation=4)
    rewards = {"rewards": [{"grader": "rouge_l"}, {"grader": "json_valid", "weight": 0.5}], "beta": 0.02}
    wanted = config_of(
        kind, rewards, save_steps=5, max_steps=12, save_total_limit=1, weights=weights,
        per_device_train_batch_size=4, gradient_accumulation_steps=2, eval_steps=3,
    )  # fmt: skip
    check_resumed_after_a_kill(tmp_path, tiny_model, dataset, wanted, 10)


@pytest.mark.slow
def test_rows_that_ask_nothing_or_too_much_are_in_the_ledger(tiny_model, tmp_path):
    from steps.contracts.records import make_row, message

    bare = {"kind": "conversation", "messages": [message("user", "Well?")]}
    rows = [
        *(tiny_row(i) for i in range(40)),
        make_row(kind="document", source="d/a", locator="1", raw=b"1", text="A document."),
        tiny_row(90, messages=[message("user", "word " * 60), message("assistant", "yes")]),
        make_row(source="bare/a", locator="2", raw=b"2", **bare),
    ]
    done = train(tiny_model, tiny_dataset(tmp_path / "d", rows), config_of(max_steps=1), tmp_path / "t", tmp_path / "c")
    assert done.report.dropped_by == {"document": 1, "no_assistant_turn": 1, "overlong_prompt": 1}
    assert done.report.kept == 40
    with pytest.raises(TrainingDataError, match="no prompt is left to train on: 1 rows read"):
        train(tiny_model, tiny_dataset(tmp_path / "e", rows[40:41]), config_of(), tmp_path / "u", tmp_path / "v")


def options(*rewards, **rest):
    return OnlineOptions(rewards=rewards, **rest)


def called(options, prompts, said, wanted, limit=0):
    failures = Failures(limit)
    (reward,) = rewards_of(options, Asking(None, Markers()), failures)
    return reward(prompts, said, completion_ids=[], reference=wanted), failures


def test_graders_reward_the_final_text_and_nothing_where_they_do_not_apply():
    schema = {"type": "object", "required": ["a"]}
    by_schema = options({"grader": "json_valid"}, json_schema=schema)
    assert called(by_schema, ["p"] * 3, ['{"a": 1}', "{}", "no"], ["", "", ""])[0] == [1.0, 0.0, 0.0]
    fields = options({"grader": "field_accuracy"})
    wanted = json.dumps({"a": 1, "b": 2})
    assert called(fields, ["p"] * 2, ['{"a": 1, "b": 3}', "{}"], [wanted, "text"])[0] == [0.5, None]
    numbers = options({"grader": "exact_match"}, extractor="final_number")
    assert called(numbers, ["p"] * 2, ["so #### 7", "#### 8"], ["#### 7", "#### 7"])[0] == [1.0, 0.0]


def test_a_reward_that_raises_or_is_no_number_is_survived_and_counted_up_to_a_limit():
    def broken(prompts, completions, **_):
        raise ZeroDivisionError("no answers")

    failures = Failures(4)
    reward = Reward("broken", broken, failures)
    assert reward(["a", "b"], ["x", "y"]) == [None, None]
    assert Reward("odd", lambda **_: [float("nan"), 1], failures)(["a", "b"], ["x", "y"]) == [None, 1.0]
    assert (failures.count, failures.first) == (3, "broken: it raised ZeroDivisionError: no answers")
    with pytest.raises(TrainingDataError, match="5 answers got no reward, max_reward_failures is 4") as e:
        reward(["a", "b"], ["x", "y"])
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    with pytest.raises(TrainingDataError, match="1 rewards for 2 answers"):
        Reward("short", lambda **_: [1.0], failures)(["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    ("place", "why"),
    [("no.such.module:f", "no reward function no.such.module:f"), ("json:nothing", "no reward function json:nothing"),
     ("json:__doc__", "json:__doc__ is no function"), ("math:sqrt", "math:sqrt can't be called as a reward")],
)  # fmt: skip
def test_a_function_that_is_not_there_is_one_clear_error(place, why):
    with pytest.raises(ConfigError, match=why):
        called(options({"function": place}), [], [], [])


@pytest.mark.parametrize(
    ("objective", "settings", "why"),
    [
        ({"rewards": []}, {}, "at least 1 item"),
        ({"rewards": [{"grader": "rouge_l", "model": "m"}]}, {}, "grader, model is set"),
        ({"rewards": [{}]}, {}, "none is set"),
        ({"rewards": [{"grader": "rouge_l", "weight": 0}]}, {}, "every reward weighs 0"),
        ({"json_schema": {"type": "nothing"}, "rewards": [{"grader": "json_valid"}]}, {}, "is no JSON schema"),
        ({"json_schema": {"type": "object"}}, {}, "json_valid is neither a reward nor watched"),
        ({"extractor": "json"}, {}, "exact_match is neither a reward nor watched"),
        ({"rewards": [{"model": "models:/r/3", "revision": "main"}]}, {}, "drop revision"),
        ({"num_generations": 3}, {}, "8 is no multiple of num_generations 3"),
        ({"max_completion_length": 64}, {}, "leaves no room for a prompt"),
        ({}, {"group_by_length": True}, "group_by_length clashes"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(objective, settings, why):
    with pytest.raises(ValueError, match=why):
        config_of("grpo", objective, **settings)


def test_a_reward_and_a_score_that_part_are_told():
    def log(step, score, *rewards):
        points = [{"reward": r, "step": step} for r in rewards]
        return [
            *points,
            {"eval_score": score, "eval_score_low": score - 0.05, "eval_score_high": score + 0.05, "step": step},
        ]

    first = {"eval_score": 0.6, "eval_score_low": 0.55, "eval_score_high": 0.65}
    history = [*log(5, 0.62, 0.2, 0.4), *log(10, 0.4, 0.8, 1.0)]
    points = points_of(first, history)
    assert points == [
        Point(0, 0.6, 0.55, 0.65, None), Point(5, 0.62, 0.62 - 0.05, 0.62 + 0.05, pytest.approx(0.3)),
        Point(10, 0.4, 0.4 - 0.05, 0.4 + 0.05, pytest.approx(0.9)),
    ]  # fmt: skip
    (warning,) = parted(points, "rouge_l")
    assert "from step 5 to 10 held-out rouge_l fell from 0.620" in warning
    assert "the reward in training went from 0.300 to 0.900" in warning
    assert parted(points_of(first, [*log(5, 0.62, 0.9), *log(10, 0.4, 0.1)]), "rouge_l") == []
    assert parted(points_of(first, [*log(5, 0.62, 0.2), *log(10, 0.6, 0.9)]), "rouge_l") == []
    assert parted(points[:1], "rouge_l") == []
