"""The gate between a trained model and its export, by answers worked out by hand."""

import unicodedata

import pytest

from steps.contracts.errors import IntegrityError
from steps.engines.exports.parity import Reference, Reply, check_parity
from steps.engines.exports.probes import COMPOSED, DECOMPOSED, prompts, texts

# Tokens are letters: a is 0.
PIECES = list("abcdefgh")
QUESTION = [{"role": "user", "content": "b"}]
REFERENCE = Reference(
    [Reply(QUESTION, [0, 1], [2, 3, 7], [2, 3, 7], [5.0, 0.25, 0.5]), Reply("ab", [0, 1], [4], [4], [1.0])],
    {"ab": [0, 1], "a\u0308b": [2]}, [7], PIECES,
)  # fmt: skip


class Told:
    """An export that says what it is told to."""

    def __init__(self, said=([2, 3, 7], [4]), prompt=(0, 1), tokens=(0, 1), ends=(7,)):
        self.said, self.prompt, self.tokens, self.ends = list(said), list(prompt), list(tokens), ends

    def prompt_ids(self, asked):
        return self.prompt

    def token_ids(self, text):
        return self.tokens

    def next_tokens(self, prompt, answer):
        return self.said[0 if len(answer) > 1 else 1]

    def ends_with(self, token):
        return token in self.ends


def test_an_equal_export_passes_and_everything_is_counted() -> None:
    parity = check_parity(REFERENCE, Told(), 0.1, "x")
    assert parity.model_dump() == {
        "prompts": 2, "texts": 1, "decomposed": 1, "decomposed_differ": 1, "tokens": 4, "differ": 0, "widest": 0.0,
        "epsilon": 0.1, "limit": 1.0, "first": None, "ended": 1, "ends": (7,),
    }  # fmt: skip


def test_another_token_passes_where_the_model_itself_was_of_two_minds() -> None:
    parity = check_parity(REFERENCE, Told(said=([2, 5, 6], [4])), 0.5, "x")
    assert (parity.differ, parity.widest) == (2, 0.5)
    assert parity.first == (
        "prompt 1, token 2 of the answer: the export says 'f' (5), the trained model 'd' (3), by 0.25 before its second"
    )


def test_too_many_other_tokens_are_refused_though_each_is_within_epsilon() -> None:
    told = Told(said=([2, 5, 6], [4]))
    assert check_parity(REFERENCE, told, 0.5, "x", 0.5).differ == 2
    with pytest.raises(IntegrityError) as e:
        check_parity(REFERENCE, told, 0.5, "x", 0.49)
    assert e.value.what == (
        "the export says too often something else than the model that was trained: 2 of 4 tokens, allowed are 49%;"
        " the first: prompt 1, token 2 of the answer: the export says 'f' (5), the trained model 'd' (3), by 0.25"
        " before its second"
    )


def test_another_token_is_refused_where_the_model_was_sure_and_the_first_is_shown() -> None:
    with pytest.raises(IntegrityError) as e:
        check_parity(REFERENCE, Told(said=([2, 5, 6], [5])), 0.3, "x")
    assert e.value.what == (
        "the export isn't the model that was trained: prompt 1, token 3 of the answer: the export says 'g' (6), the"
        " trained model 'h' (7), by 0.5 before its second; allowed are 0.3; of 4 tokens 3 are others, 2 of them beyond"
        " that"
    )


@pytest.mark.parametrize(
    ("export", "said"),
    [
        (Told(prompt=(0, 2)), "prompt 1 has other tokens: token 2 is 'c' (2) in the export, 'b' (1) before"),
        (Told(prompt=(0, 1, 1)), "prompt 1 has other tokens: the export has 3 tokens, the trained model 2"),
        (Told(tokens=(1,)), "the text 'ab' is tokenised otherwise: token 1 is 'b' (1) in the export, 'a' (0) before"),
        (Told(ends=()), "the trained model's answers end with 'h' (7), the export goes on behind it"),
    ],
)
def test_other_tokens_and_ends_are_refused_whatever_epsilon_is(export, said) -> None:
    with pytest.raises(IntegrityError) as e:
        check_parity(REFERENCE, export, 1e9, "x")
    assert e.value.what == said


def test_texts_are_of_many_scripts_and_always_the_same() -> None:
    found = texts()
    assert found == texts() and len(found) == len(set(found)) == COMPOSED + DECOMPOSED
    assert sum(unicodedata.is_normalized("NFC", t) for t in found) == COMPOSED >= 1000
    scripts = {unicodedata.name(c, " ").split()[0] for t in found for c in t if c.isalpha()}
    wanted = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "KHMER", "HANGUL", "HIRAGANA",
              "CJK", "ETHIOPIC", "GEORGIAN", "TAMIL", "TIBETAN"}  # fmt: skip
    assert wanted <= scripts and len(scripts) == 27
    assert len(prompts()) >= 16
