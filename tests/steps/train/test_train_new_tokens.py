"""New tokens: embedded by their pieces, trained, saved, and loaded as they were trained."""

import pytest
import torch
from support.tiny_model import tiny_dataset, tiny_llama, tiny_row, tiny_tokenizer

from steps.contracts.digests import folder_digests, value_digest
from steps.contracts.errors import ConfigError
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.engines.lm.load import load, load_start
from steps.train.config import TrainConfig
from steps.train.start import Start
from steps.train.train import train
from steps.train.vocabulary import embed_new_tokens, tokenizer_of

NEW = ("<sky>", "blueish")
COMMON = {
    "learning_rate": 1e-2, "max_steps": 6, "per_device_train_batch_size": 8, "max_length": 128, "new_tokens": NEW,
    "save_steps": 3,
}  # fmt: skip


def base_of(folder, spare, tied=True):
    """A model with `spare` rows of its embeddings that are no token's."""
    tokenizer = tiny_tokenizer()
    model = tiny_llama(len(tokenizer) + spare)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 1.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = folder_digests(folder)
    digest = value_digest(files)
    info = ModelInfo(
        kind="full", base=BaseRef(source="scratch", name="scratch", digest=digest), digest=digest, files=files,
        parameters=sum(p.numel() for p in model.parameters()),
    )  # fmt: skip
    return ModelFolder(info, folder)


def dataset_of(folder):
    return tiny_dataset(folder, [tiny_row(i, f"The <sky> is blueish {i % 7}.") for i in range(40)], validation=8)


@pytest.mark.parametrize("how", ["pieces", "mean"])
def test_new_tokens_begin_as_their_pieces_or_as_the_mean_and_blocks_stay_whole(tmp_path, how):
    """318 tokens in 320 rows: the two new ones fill them; with a third there are 384, of blocks of 64."""
    base = base_of(tmp_path / "base", 2)
    for names, rows in ((NEW, 320), ((*NEW, "third"), 384)):
        config = TrainConfig(new_tokens=names, new_tokens_from=how)
        tokenizer = tokenizer_of(Start(base), config)
        model = load_start(base, None, dtype="float32", device="cpu").model
        old = model.get_input_embeddings().weight.detach().clone()[:318]
        ids = embed_new_tokens(model, Start(base), tokenizer, config, adapter=False)
        assert ids == list(range(318, 318 + len(names)))
        weight = model.get_input_embeddings().weight
        assert (weight.shape[0], model.config.vocab_size) == (rows, rows)
        assert torch.equal(weight[:318], old)
        pieces = tiny_tokenizer()("blueish", add_special_tokens=False).input_ids
        expected = old[pieces] if how == "pieces" else old
        assert len(pieces) > 1 and torch.equal(weight[319], expected.mean(0))
        assert torch.equal(weight[rows - 1], old.mean(0)) or rows == 320
    assert tokenizer("is blueish.", add_special_tokens=False).input_ids.count(319) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    "weights",
    [{"kind": "full"}, {"kind": "half"}, {"kind": "lora", "r": 4}, {"kind": "qlora", "r": 4}],
    ids=lambda w: w["kind"],
)
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_new_tokens_are_trained_saved_and_loaded_as_they_were_trained(tmp_path, weights, tied, kernel, monkeypatch):
    from steps.train import save

    base, seen = base_of(tmp_path / "base", 2, tied), []
    saved = save.save_model
    monkeypatch.setattr(save, "save_model", lambda model, *rest: (seen.append(logits(model)), saved(model, *rest))[1])
    config = TrainConfig.model_validate({**COMMON, "weights": weights, "objective": {"loss_kernel": kernel}})
    done = train(base, dataset_of(tmp_path / "data"), config, tmp_path / "out", tmp_path / "checkpoints")
    loaded = load(base, done.model)
    assert loaded.tokenizer.convert_tokens_to_ids(list(NEW)) == [318, 319]
    begun = load(base).model.get_input_embeddings().weight
    now = loaded.model.get_input_embeddings().weight
    assert not torch.equal(now[318:], begun[318:])
    if weights["kind"] != "qlora":
        assert (logits(loaded.model) - seen[0]).abs().max() <= 2e-5
    if weights["kind"] in ("lora", "qlora"):
        assert torch.equal(now[:318], begun[:318])
    y = next(s for s in done.report.series if s.title == "Validation loss").y
    assert y[-1] < y[0]


def logits(model):
    ids = torch.cat([torch.arange(3, 40), torch.tensor([318, 319, 7])])[None]
    model.eval()
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits


def refused(tmp_path, base, **settings):
    config = TrainConfig.model_validate({**COMMON, **settings})
    with pytest.raises(ConfigError) as error:
        train(base, dataset_of(tmp_path / "data"), config, tmp_path / "out", tmp_path / "checkpoints")
    return str(error.value)


def test_what_new_tokens_do_not_go_with_is_refused(tmp_path):
    base = base_of(tmp_path / "base", 1)
    assert "2 new tokens need 320 embeddings, the weights have 319; an adapter can't add any" in refused(
        tmp_path / "a", base, weights={"kind": "lora"}
    )
    assert "new tokens are added, but the embeddings are frozen" in refused(
        tmp_path / "b", base, weights={"kind": "half", "embeddings": "frozen"}
    )
    assert "'<|im_end|>' is a token of the model already" in refused(tmp_path / "c", base, new_tokens=["<|im_end|>"])


@pytest.mark.slow
@pytest.mark.parametrize("pad", ["<|im_end|>", None], ids=["is the end", "is missing"])
def test_a_padding_token_that_is_the_end_or_missing_changes_no_weight(tmp_path, pad):
    """Padding is masked by place, not by its id: the ends of answers are trained all the same."""
    from transformers import AutoTokenizer

    settings = TrainConfig.model_validate({**COMMON, "new_tokens": (), "max_steps": 2, "weights": {"kind": "full"}})
    digests = []
    for name in ("own", "other"):
        base = base_of(tmp_path / name, 0)
        if name == "other":
            tokenizer = AutoTokenizer.from_pretrained(base.path)
            tokenizer.pad_token = pad
            tokenizer.save_pretrained(base.path)
        done = train(base, dataset_of(tmp_path / f"{name} data"), settings, tmp_path / f"{name} out", tmp_path / name)
        digests.append(done.model.info.files["model.safetensors"])
    assert digests[0] == digests[1]
