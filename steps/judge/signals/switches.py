"""Which signals there are, and what each of them does to a row."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from steps.contracts.reports import Frozen

# YAML 1.1 reads a bare `off` as false.
Action: TypeAlias = Annotated[Literal["drop", "flag", "off"], BeforeValidator(lambda v: "off" if v is False else v)]


def _switch(default: Action, description: str) -> Action:
    return Field(default=default, description=description)  # type: ignore[no-any-return]


class Signals(Frozen):
    """What each signal does. drop: its criterion scores 1; flag: 4, so that no number of flags drops a row at the
    default threshold; off: not looked for.

    Defaults: drop only where the precision at one bad row in twenty was measured at 0.95 or above, by
    `benchmarks/bench_judge.py`; docs/stages/judge.md has its figures.
    """

    # Relevance.
    unrelated_to_prompt: Action = _switch("drop", "long answer that shares no telling word with a telling prompt")
    no_word_of_prompt: Action = _switch("flag", "answer of some length without one subject word of the prompt")
    repeats_the_request: Action = _switch("drop", "the answer is the request")
    placeholder: Action = _switch("drop", "nothing but filler: lorem ipsum, TODO, [insert answer here], ???")
    null_value: Action = _switch("flag", "nothing but n/a, null, none, undefined, nan or test")
    template_slot: Action = _switch("flag", "a blank left to fill in within the answer, such as [Your Name]")
    keyboard_mash: Action = _switch("drop", "runs of neighbouring keys: asdf jkl")
    refusal: Action = _switch("flag", "the answer declines and gives nothing in its place")
    no_json_as_requested: Action = _switch("flag", "JSON was asked for, and nothing in the answer is JSON")
    # Clarity.
    mojibake: Action = _switch("drop", "bytes read in the wrong encoding, in three places or in 2 % of the characters")
    mojibake_trace: Action = _switch("flag", "the same in one or two places")
    letter_salad: Action = _switch("drop", "words without vowels, three or more and over 30 % of the words")
    one_character: Action = _switch("drop", "one character over and over")
    repeats_itself: Action = _switch("drop", "a loop: few different words, or one phrase over half of the text")
    repetitive: Action = _switch("flag", "one phrase over 18 % of the text")
    repeated_lines: Action = _switch("flag", "over 30 % of at least six lines stand there more than once")
    control_characters: Action = _switch("flag", "control characters")
    markup_residue: Action = _switch("flag", "HTML tags or entities that the prompt doesn't have")
    mostly_symbols: Action = _switch("flag", "under half of the characters are letters or digits, and it is no code")
    shouting: Action = _switch("flag", "over 70 % of more than 40 letters are capitals")
    stretched_letters: Action = _switch("flag", "sooooo, !!!!, ????")
    endless_sentences: Action = _switch("flag", "over 80 words per sentence")
    # Completeness.
    broken_json: Action = _switch("drop", "an answer that begins as JSON and isn't")
    open_code_block: Action = _switch("drop", "a code block that isn't closed")
    marked_as_cut: Action = _switch("drop", "ends with a mark such as [truncated]")
    ends_mid_sentence: Action = _switch("drop", "ends with a comma, a dash or a word that ends no sentence")
    last_sentence_unfinished: Action = _switch("flag", "the last line ends without a full stop, after full sentences")
    open_bracket: Action = _switch("flag", "more brackets are opened than closed")
    too_short_for_request: Action = _switch("flag", "one or two words where an explanation was asked for")
    # Accuracy.
    wrong_arithmetic: Action = _switch("drop", "an equation of numbers that doesn't hold: 3 * 12 = 35")
    final_answer_not_derived: Action = _switch("flag", "the answer behind #### stands nowhere before it")
    impossible_date: Action = _switch("flag", "a date that no calendar has")
    values_not_in_prompt: Action = _switch("flag", "JSON answer most of whose values aren't in the prompt")

    def action(self, signal: str) -> Action:
        """What this signal does."""
        return getattr(self, signal)  # type: ignore[no-any-return]
