"""Random models of every architecture answer and are measured in a batch as alone, with their sliding windows, capped
scores, shared heads and experts.
"""

from collections.abc import Iterator

import pytest
import torch
from support.families.models import ARCHITECTURES, WINDOW, tiny_model
from support.families.runs import question

from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import generate
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.loss import token_losses
from steps.engines.lm.threads import torch_threads

# One of a quick test: layers with and without a window, and one head for all keys.
QUICK = "Gemma 3"
ARCHITECTURE = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == QUICK else [pytest.mark.slow]) for n in ARCHITECTURES]
)
TOKENS = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other longer than such small models take."""
    with torch_threads(1):
        yield


def random_model(name: str, folder, dtype: str = "float32") -> LoadedModel:
    """Weights so large that every prompt is answered in its own way."""
    return load(tiny_model(name, folder, tie_word_embeddings=False, initializer_range=0.5), dtype=dtype, device="cpu")


def prompts(loaded: LoadedModel) -> list[str]:
    """Of different lengths, all longer than the window."""
    asked = [[{"role": "user", "content": question(n) * (1 + n % 3)}] for n in range(4)]
    texts = [loaded.tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in asked]
    assert all(len(ids_of(loaded, t)) > WINDOW for t in texts)
    return texts


def ids_of(loaded: LoadedModel, text: str) -> list[int]:
    ids: list[int] = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def by_hand(loaded: LoadedModel, prompt: str) -> str:
    """The whole sequence again for every token: no cache, no padding."""
    ids, ends = ids_of(loaded, prompt), stop_ids(loaded)
    out: list[int] = []
    for _ in range(TOKENS):
        with torch.inference_mode():
            token = int(loaded.model(input_ids=torch.tensor([ids + out]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            break
        out.append(token)
    return str(loaded.tokenizer.decode(out)).strip()


@ARCHITECTURE
def test_a_batch_answers_as_each_prompt_alone(name, tmp_path) -> None:
    loaded = random_model(name, tmp_path)
    asked = prompts(loaded)
    expected = [by_hand(loaded, p) for p in asked]
    assert len(set(expected)) >= len(asked) - 1, "the answers must differ for this test to say anything"
    for size in (1, len(asked)):
        said = generate(loaded, asked, max_new_tokens=TOKENS, batch_size=size, special=True)
        assert [one.text for one in said] == expected


@ARCHITECTURE
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-3)])
def test_a_batch_is_measured_as_each_text_alone(name, dtype, tolerance, tmp_path) -> None:
    loaded = random_model(name, tmp_path, dtype)
    texts = [ids_of(loaded, p) for p in prompts(loaded)]
    examples = [(ids, ids) for ids in texts]
    alone, together = (token_losses(loaded, examples, batch_size=size) for size in (1, len(texts)))
    assert [n for _, n in together] == [len(ids) - 1 for ids in texts]
    for (nats, _), (apart, _) in zip(together, alone, strict=True):
        assert nats == pytest.approx(apart, rel=tolerance)
