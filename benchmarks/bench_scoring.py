"""A local judge's scoring by probabilities: what the shared prefix saves of what it can save, and beside generating.

A Llama of random weights (about 91 million; its ratings and verdicts mean nothing), one thread, CPU seconds, in
turns; of each the least of the rounds.

1. 335 tokens that all rows begin with and 128 of their own (4 of them the question), by the engine with the prefix's
   keys and values computed once, and in one pass over the whole texts, in batches of equal length: the reference has no
   padding and no mask. The ceiling is counted in multiplications: those of all weights and of attention, per row, whole
   over shared. In float32 the scores of both are compared.
2. The whole judge (`LocalJudge`, rubric quality, four criteria, tokenizing and its cache on disk) beside a verdict as
   JSON, written by transformers' `generate` in left-padded batches and read by the judge's reader: as many tokens as a
   verdict with reasons of twelve words has. bfloat16 where the processor multiplies it itself, for both.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, finish, own_cpu

sys.path.insert(0, str(ROOT))
SHAPE = {"hidden_size": 768, "intermediate_size": 2_048, "num_hidden_layers": 12, "num_attention_heads": 12,
         "num_key_value_heads": 12, "max_position_embeddings": 2_048, "tie_word_embeddings": True}  # fmt: skip
VOCABULARY, PREFIX, OWN, QUESTION = 8_192, 335, 128, 4
OF_CEILING, TIMES, CLOSE = 0.9, 10.0, 1e-5
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
REASON = "the answer names the price and the day but not the colour"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rows", type=int, default=192, help="rows that are scored; a sixteenth of them by the reference"
    )
    parser.add_argument("--generated", type=int, default=16, help="rows in the batch that is generated")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    import torch
    from transformers.utils import logging

    from steps.engines.lm.device import multiplies_bfloat16

    logging.disable_progress_bar()

    torch.set_num_threads(1)
    formats = ["float32", *(["bfloat16"] if multiplies_bfloat16("cpu") else [])]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "judge"
        weights = write_model(folder)
        figures: dict[str, Any] = {"weights": weights, "ceiling": round(ceiling(), 3)}
        print(f"{weights / 1e6:.1f} million random weights; ceiling {ceiling():.2f}, by tokens {whole() / OWN:.2f}")
        for name in formats:
            figures |= prefix_shared(folder, name, given.rows, given.rounds)
        figures |= beside_generating(folder, formats[-1], given.rows, given.generated)
    shares = [figures[f"{name}_of_ceiling"] for name in formats]
    finish("scoring", figures, {
        "of the ceiling": min(shares) >= OF_CEILING, "times generating": figures["times_generating"] >= TIMES,
        "equal scores": figures["float32_difference"] <= CLOSE,
    })  # fmt: skip


def whole() -> int:
    return PREFIX + OWN


def ceiling() -> float:
    """Multiplications of a row as a whole, over those of its own tokens: weights for each token, and for each token
    two products with all tokens that it sees.
    """
    width, layers = SHAPE["hidden_size"], SHAPE["num_hidden_layers"]
    per_token = layers * (4 * width**2 + 3 * width * SHAPE["intermediate_size"])

    def work(first: int) -> float:
        pairs = sum(range(first + 1, whole() + 1))
        return (whole() - first) * per_token + layers * 2 * width * pairs

    return work(0) / work(PREFIX)


def write_model(folder: Path) -> int:
    """A tokenizer made of the project's own docs, and random weights; how many these are."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    bpe.train([str(p) for p in sorted((ROOT / "docs").rglob("*.md"))], trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    words.chat_template = CHATML
    words.save_pretrained(str(folder))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SHAPE, eos_token_id=2, pad_token_id=0))
    model.save_pretrained(str(folder))
    return sum(p.numel() for p in model.parameters())


def loaded(folder: Path, name: str) -> Any:
    from steps.engines.lm.load import load
    from steps.engines.lm.references import local_reference

    return load(local_reference(folder), dtype=name, device="cpu")


def cpu(what: Callable[[], Any]) -> tuple[float, Any]:
    begin = own_cpu()
    found = what()
    return own_cpu() - begin, found


def prefix_shared(folder: Path, name: str, rows: int, rounds: int) -> dict[str, Any]:
    """Part 1, in one number format."""
    from steps.engines.lm.next_token import NextToken

    model, dice = loaded(folder, name), random.Random(0)
    before, *own = ([dice.randrange(3, VOCABULARY) for _ in range(n)] for n in [PREFIX, *[OWN] * rows])
    tail, choices = own[0][-QUESTION:], list(range(16, 21))
    own = [[*ids[:-QUESTION], *tail] for ids in own]

    def shared(texts: Sequence[list[int]]) -> Any:
        out = np.zeros((len(texts), len(choices)))

        def done(places: Sequence[int], found: Any) -> None:
            out[list(places)] = found[:, 0]

        middles = [ids[:-QUESTION] for ids in texts]
        NextToken(model, before, [tail], [choices]).probabilities(middles, done)
        return out

    few = own[: rows // 16]
    difference = float(np.abs(score(shared(few[:4])) - score(one_pass(model, before, few[:4], choices))).max())
    costs = []
    for _ in range(rounds):
        alone, once = cpu(lambda: one_pass(model, before, few, choices))[0], cpu(lambda: shared(own))[0]
        costs.append((alone / len(few), once / len(own)))
        print(f"{name}: {costs[-1][1] * 1e3:6.1f} CPU ms a row, whole {costs[-1][0] * 1e3:6.1f}", flush=True)
    # Other work on the machine only adds: the least of the rounds is nearest to what each takes.
    times = min(a for a, _ in costs) / min(b for _, b in costs)
    median = statistics.median(a / b for a, b in costs)
    print(f"{name}: {times:.2f} times (median of the rounds {median:.2f}), {times / ceiling():.3f} of the ceiling")
    return {
        f"{name}_times": round(times, 3), f"{name}_of_ceiling": round(times / ceiling(), 3),
        f"{name}_of_tokens": round(times / (whole() / OWN), 3), f"{name}_median": round(median, 3),
        f"{name}_difference": difference,
    }  # fmt: skip


def score(probabilities: Any) -> Any:
    """The expected rating of each row."""
    return probabilities @ np.arange(1, 6) / probabilities.sum(1)


def one_pass(model: Any, before: list[int], texts: Sequence[list[int]], choices: list[int], batch: int = 4) -> Any:
    """The same probabilities, each text read as a whole."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch):
            ids = torch.tensor([[*before, *own] for own in texts[start : start + batch]])
            logits = model.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            found.append(logits.float().softmax(-1)[:, choices])
    return torch.cat(found).numpy()


def beside_generating(folder: Path, name: str, rows: int, generated: int) -> dict[str, Any]:
    """Part 2."""
    from steps.contracts.context import StageContext
    from steps.engines.rubric.reading import read_rubric
    from steps.judge.config import JudgeConfig
    from steps.judge.local_judge import LocalJudge

    rubric, cases = read_rubric("quality"), made_rows(rows + generated)
    local = {"model": folder.name, "dtype": name, "device": "cpu", "num_threads": 1}
    config = JudgeConfig.model_validate({"backend": "local", "local": local, "min_rating_mass": 0.0})
    assert config.local is not None
    with tempfile.TemporaryDirectory() as out:
        ctx = StageContext(Path(out), folder.parent, Path(out), scrubbed=True)
        with LocalJudge(config, config.local, rubric, ctx) as judge:
            judge.verdicts(cases[rows:])
            scored, verdicts = cpu(lambda: judge.verdicts(cases[:rows]))
    assert all(v.share is not None for v in verdicts)
    cost, tokens, read = generate(loaded(folder, name), rubric, cases[:generated])
    times = (cost / generated) / (scored / rows)
    print(f"judge, {name}: {scored / rows * 1e3:.0f} CPU ms a row; generating {tokens} tokens and reading them"
          f" {cost / generated * 1e3:.0f}: {times:.1f} times; verdicts that could be read: {read}")  # fmt: skip
    return {"judge_cpu_ms": round(scored / rows * 1e3, 1), "generate_cpu_ms": round(cost / generated * 1e3, 1),
            "generated_tokens": tokens, "times_generating": round(times, 2)}  # fmt: skip


def made_rows(n: int) -> list[Any]:
    from steps.contracts.records import message
    from steps.engines.rubric.case import Case

    dice = random.Random(1)
    words = "order lamp chair green blue office Monday price paid sent three the a for and on with is".split()  # noqa: SIM905

    def said(count: int) -> str:
        return " ".join(dice.choices(words, k=count)).capitalize() + "."

    turns = [(message("user", said(12)), message("assistant", said(dice.randint(24, 40)))) for _ in range(n)]
    return [Case(str(i), str(i), None, "conversation", pair, None, None) for i, pair in enumerate(turns)]


def generate(model: Any, rubric: Any, cases: Sequence[Any]) -> tuple[float, int, int]:
    """CPU seconds for verdicts in JSON on these rows as one batch, tokens of each, and how many could be read."""
    import torch

    from steps.engines.llm.client import Reply
    from steps.engines.rubric.frame import framed
    from steps.engines.rubric.parse import parse_reply
    from steps.engines.rubric.prompt import system_prompt

    words, criteria = model.tokenizer, rubric.criteria_of("conversation")
    words.padding_side = "left"
    verdict = json.dumps({c: {"reason": REASON, "score": 3} for c in criteria})
    tokens = len(words(verdict)["input_ids"])
    told = {"role": "system", "content": system_prompt(rubric, "conversation", "")}

    def run() -> int:
        chats = [[told, {"role": "user", "content": framed(case)}] for case in cases]
        batch = words.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.model.generate(
                **batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
            )
        texts = words.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        replies = [Reply(text, "stop", False, None, None, 0.0, "text", 1) for text in texts]
        read = [parse_reply(reply, case, criteria) for reply, case in zip(replies, cases, strict=True)]
        return sum(not isinstance(found, str) for found in read)

    cost, read = cpu(run)
    return cost, tokens, read


if __name__ == "__main__":
    main()
