"""Which of two answers people preferred: a small model's guess on held-out pairs, after SFT and after DPO, in 5 folds.

Data: `hh_harmless_test.jsonl.gz`, the harmless test pairs of Anthropic's hh-rlhf (MIT), in the folder that
ASSAY_BENCH_DATA names. A fold is the pairs whose conversation opens with the same words, by hash, so that no opening is
on both sides. The model is made here: a Llama of two layers and width 128 with random weights, and a byte-level BPE of
2,048 tokens from the prompts. SFT trains the chosen answers of four folds (phase 1), DPO their pairs (phase 2), by the
stage itself; the fifth fold is its validation split. Beside it stands the guess that the shorter answer wins. A model
of half a million weights knows nothing of harm: what is shown is what comes of it, and that the stage's own accuracy is
that of the saved weights. Wanted: that equality.
"""

import hashlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import data_folder, finish, own_cpu

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import folder_digests, value_digest
from steps.contracts.evaluation import Estimate
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.contracts.records import SPLITS, Row
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.loss import token_losses
from steps.engines.scoring.bootstrap import Ratio, estimate_difference, estimate_ratio
from steps.engines.template.answers import judged_answers
from steps.engines.template.lint import Judge
from steps.engines.template.render import chat_template
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest
from steps.train.config import TrainConfig
from steps.train.train import train

FILE, FOLDS, MAX_LENGTH = "hh_harmless_test.jsonl.gz", 5, 384
COMMON = {
    "weights": {"kind": "full"}, "num_train_epochs": 1, "per_device_train_batch_size": 8, "max_length": MAX_LENGTH,
    "group_by_length": True, "save_steps": 10_000,
}  # fmt: skip
SFT = TrainConfig.model_validate(
    {**COMMON, "name": "sft", "objective": {"kind": "sft", "preference_as": "chosen"}, "learning_rate": 3e-3}
)
DPO = TrainConfig.model_validate({**COMMON, "name": "dpo", "objective": {"kind": "dpo"}, "learning_rate": 2e-4})
CHATML = (
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


@dataclass
class Guesses:
    """Per held-out pair: 1 where the guess is the preferred answer, 0.5 where it can't tell, else 0."""

    shorter: list[float] = field(default_factory=list)
    likelier_sft: list[float] = field(default_factory=list)
    likelier_dpo: list[float] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)


def main() -> None:
    """Five folds, and the guesses of all of them together."""
    data = data_folder("preference", FILE)
    guesses, equal, start = Guesses(), [], own_cpu()
    with tempfile.TemporaryDirectory() as folder:
        sources = {"sources": [{"name": "hh", "path": str((data / FILE).resolve())}]}
        read = ingest(None, IngestConfig.model_validate(sources), StageContext(Path(folder) / "ingest"))
        rows = list(read.rows.iter_rows())
        for fold in range(FOLDS):
            equal.append(_fold(rows, fold, Path(folder) / str(fold), guesses))
    figures: dict[str, object] = {"cpu_seconds": round(own_cpu() - start, 1)}
    shares = {name: np.array(values) for name, values in vars(guesses).items()}
    ones = np.ones(len(guesses.shorter))
    for name, values in shares.items():
        figures[name] = _told(name, estimate_ratio(Ratio(values, ones)))
    found = estimate_difference(Ratio(shares["shorter"], ones), Ratio(shares["reward"], ones))
    figures["reward_minus_shorter"] = _told("reward - shorter", found)
    finish("preference", figures, {"the stage's accuracy is that of the saved weights": all(equal)})


def _told(name: str, found: Estimate | None) -> list[float]:
    assert found is not None
    print(f"{name:18} {found.value:7.4f}  [{found.low:.4f}, {found.high:.4f}]  n {found.n}")
    return [round(found.value, 4), round(found.low, 4), round(found.high, 4)]


def _fold(rows: list[Row], fold: int, folder: Path, guesses: Guesses) -> bool:
    """Train on the other folds, guess this one; whether the stage's accuracy is that of the saved weights."""
    began = time.process_time()
    base = _model(rows, folder / "base")
    dataset = _split(rows, fold, folder / "data")
    sft = train(base, dataset, SFT, folder / "sft", folder / "sft" / "checkpoints")
    dpo = train(sft.model, dataset, DPO, folder / "dpo", folder / "dpo" / "checkpoints")
    told = dict(dpo.report.tables[0].rows)
    held_out = list(dataset.iter_rows("validation"))
    before, after = (_answer_logps(load(m), held_out) for m in (sft.model, dpo.model))
    used = [n for n, found in enumerate(before) if found is not None]
    old, new = (np.array([found[n] for n in used]) for found in (before, after))  # (pairs, 2 answers, logp and tokens)
    lengths = np.array([[sum(len(m["content"]) for m in held_out[n][a]) for a in ("chosen", "rejected")] for n in used])
    reward = _larger(new[:, 0, 0] - old[:, 0, 0], new[:, 1, 0] - old[:, 1, 0])
    guesses.shorter += _larger(-lengths[:, 0], -lengths[:, 1])
    guesses.likelier_sft += _larger(*(old[:, :, 0] / old[:, :, 1]).T)
    guesses.likelier_dpo += _larger(*(new[:, :, 0] / new[:, :, 1]).T)
    guesses.reward += reward
    shorter = np.mean(guesses.shorter[-len(used) :])
    print(
        f"fold {fold}: {len(used)} of {len(held_out)} pairs, shorter {shorter:.3f}, reward {np.mean(reward):.3f} (the"
        f" stage: {told['reward accuracy after']:.3f}), margin {told['reward margin after']:.3f},"
        f" {time.process_time() - began:.0f} CPU s",
        flush=True,
    )
    # A pair whose margin is rounding may fall on either side.
    return told["validation rows"] == len(used) and abs(float(told["reward accuracy after"]) - np.mean(reward)) < 0.005


def _larger(one: Any, other: Any) -> list[float]:
    return list(((one > other) + 0.5 * (one == other)).astype(float))


def _answer_logps(loaded: LoadedModel, rows: list[Row]) -> list[Any]:
    """Per pair [[log-probability, tokens] of the chosen answer, of the rejected one]; None: too long, or no pair."""
    judged = judged_answers(Judge(loaded.tokenizer, chat_template(loaded.tokenizer)), rows)
    fits = [j.sequences and max(len(s.input_ids) for s in j.sequences) <= MAX_LENGTH for j in judged]
    listed = [s.listed() for j, ok in zip(judged, fits, strict=True) if ok for s in j.sequences]
    losses = iter(token_losses(loaded, [(e.input_ids, e.labels) for e in listed], batch_size=16))
    return [[[-loss, n] for loss, n in (next(losses), next(losses))] if ok else None for ok in fits]


def _split(rows: list[Row], fold: int, folder: Path) -> Dataset:
    """All pairs, those of one fold as the validation split."""
    writer = DatasetWriter(folder / "all", "ingest")
    writer.write_rows(rows)
    held_out = [int(hashlib.sha256(r["messages"][0]["content"].encode()).hexdigest(), 16) % FOLDS == fold for r in rows]
    codes = np.where(held_out, SPLITS.index("validation"), SPLITS.index("train"))
    return writer.close().select(np.ones(len(rows), bool), folder / "split", "split", codes.astype(np.int8))


def _model(rows: list[Row], folder: Path) -> ModelFolder:
    """Random weights, and a tokenizer made of the prompts alone."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.decoder, bpe.pre_tokenizer = decoders.ByteLevel(), pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2_048, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator((m["content"] for row in rows for m in row["messages"]), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=320, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=1_024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = folder_digests(folder)
    digest = value_digest(files)
    reference = BaseRef(source="scratch", name="bench-preference", digest=digest)
    parameters = sum(p.numel() for p in model.parameters())
    return ModelFolder(
        ModelInfo(kind="full", base=reference, digest=digest, files=files, parameters=parameters), folder
    )


if __name__ == "__main__":
    main()
