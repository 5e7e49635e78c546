from pathlib import Path

from steps.contracts.models import Ancestor, BaseRef, ModelFolder, ModelInfo

REF = BaseRef(source="hub", name="org/base", revision="1")
CHAIN = (
    Ancestor(name="base", digest="b", kind="full"),
    Ancestor(name="sft", digest="s", kind="full", objective="sft", weights="full", dataset_digest="d"),
    Ancestor(name="dpo", digest="p", kind="adapter"),
)


def info(kind: str, **more: object) -> ModelInfo:
    return ModelInfo(kind=kind, base=REF, digest="x", files={}, parameters=1, **more)  # type: ignore[arg-type]


def test_an_adapter_lies_over_the_nearest_full_model_before_it() -> None:
    assert info("adapter", started_from=CHAIN).over == "s"
    assert info("adapter", started_from=CHAIN[:1]).over == "b"
    assert info("adapter").over is None
    assert info("full", started_from=CHAIN).over is None


def test_what_starts_from_a_model_started_from_its_chain_and_itself() -> None:
    assert info("full").lineage == (Ancestor(name="base", digest="x", kind="full"),)
    tuned = info(
        "adapter", name="kto", objective="kto", weights="lora", dataset_digest="k", trainable=1, started_from=CHAIN
    )
    own = Ancestor(name="kto", digest="x", kind="adapter", objective="kto", weights="lora", dataset_digest="k")
    assert tuned.lineage == (*CHAIN, own)


def test_a_reference_has_no_path() -> None:
    assert ModelFolder(info("full"), None).path is None
    assert ModelFolder(info("full"), Path("m")).path == Path("m")
    assert info("full").trainable == 0
