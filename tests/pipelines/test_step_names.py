from pipelines.step_names import KNOWN_STEPS, position_of


def test_order_of_the_data_holds_for_steps_of_one_kind() -> None:
    steps = ["finish_step", "evaluate_tuned_step", "train_step", "scrub_step", "start_step", "ingest_step"]
    assert sorted(steps, key=position_of) == [
        "start_step", "ingest_step", "scrub_step", "train_step", "evaluate_tuned_step", "finish_step"
    ]  # fmt: skip
    assert position_of("evaluate_base_step") == position_of("evaluate_step") < position_of("gate_step")


def test_unknown_step_comes_last() -> None:
    assert position_of("of_another_version_step") == len(KNOWN_STEPS)
