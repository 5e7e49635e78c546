import torch

from examples.toy_base.build import _heard, _products_in_bfloat16


def test_a_prompts_tokens_that_are_drawn_stand_for_all_of_them() -> None:
    # Padding, a prompt, plain text, an answer: 300 are always heard, and a quarter of 800 fills up 4 times 128.
    weights = torch.tensor([0.0] * 50 + [0.1] * 800 + [0.3] * 100 + [1.0] * 200)
    torch.manual_seed(1)
    places, heard = _heard(weights)
    assert len(places) == len(set(places.tolist())) == 512
    assert set(range(850, 1150)) <= set(places.tolist()) and min(places.tolist()) >= 50
    kept = dict(zip(places.tolist(), heard.tolist(), strict=True))
    assert [kept[850], kept[1149]] == [weights[850].item(), 1.0]
    of_prompt = [w for place, w in kept.items() if place < 850]
    assert len(of_prompt) == 212 and abs(sum(of_prompt) - 80.0) < 1e-3


def test_few_tokens_of_prompts_are_all_heard() -> None:
    places, heard = _heard(torch.tensor([0.1, 0.1, 1.0]))
    assert sorted(zip(places.tolist(), heard.tolist(), strict=True)) == [
        (0, torch.tensor(0.1).item()),
        (1, torch.tensor(0.1).item()),
        (2, 1.0),
    ]


def test_others_products_are_as_they_were_afterwards() -> None:
    before = torch.get_float32_matmul_precision()
    with _products_in_bfloat16():
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before
