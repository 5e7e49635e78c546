"""The heuristic judge's signals on real rows: how many good ones each takes, and how many planted faults it finds.

    ASSAY_BENCH_DATA=folder python benchmarks/bench_judge.py

Good rows: GSM8K, a sample of T0, and what lies in the folder's `judge_strong/` and `judge_rated/` as NAME.json, lists
of objects with instruction, input (may be missing) and output: answers of strong models (alpaca_eval's repository:
results/*/model_outputs.json), rows with high ratings (alpagasus': data/filtered). Faults are planted in those rows:
answers shuffled among the prompts (in T0 also within a task), answers cut, garbled, repeated, replaced.
Preferences: hh-rlhf's harmless test split, and `judge_preferences/NAME.json`, lists of objects with instruction,
output_2 and preference (2 when output_2 won): alpaca_eval's annotations.

Precision is worked out at one bad row in twenty: 0.05 r / (0.05 r + 0.95 f), with r the share of faulty rows that a
signal is there for and takes, f the share of good rows that it takes. Intervals are Wilson's at 95 %, of the precision
from both ends of those of r and f; the same prompts are answered by several models, so that they are too narrow.

Needs t0.jsonl.gz, gsm8k_train.jsonl and hh_harmless_test.jsonl.gz.
"""

import gzip
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measure import data_folder, finish, own_cpu

from steps.contracts.evaluation import Estimate
from steps.contracts.records import message
from steps.engines.rubric.case import Case
from steps.engines.scoring.wilson import wilson
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import decide
from steps.judge.signals.switches import Signals

_BAD = 0.05
_SAMPLE = 5_000
_MOST_FAULTS = 4_000
_PRECISE = 0.95
STRONG = "judge_strong"
_TURN = re.compile(r"\n\nAssistant: ")
Pair = tuple[str, str]
Planter = Callable[[random.Random, str, str], Pair | None]

# The signals that each kind of fault is planted for.
FAULTS: dict[str, tuple[str, ...]] = {
    "shuffled": ("unrelated_to_prompt", "no_word_of_prompt"),
    "cut": ("ends_mid_sentence", "last_sentence_unfinished", "open_bracket"),
    "cut in code": ("open_code_block",),
    "cut JSON": ("broken_json",),
    "marked as cut": ("marked_as_cut",),
    "garbled": ("mojibake", "mojibake_trace"),
    "looped": ("repeats_itself", "repetitive", "repeated_lines"),
    "filler": ("placeholder", "null_value"),
    "mashed keys": ("keyboard_mash",),
    "consonants": ("letter_salad",),
    "one character": ("one_character",),
    "request repeated": ("repeats_the_request",),
    "wrong sum": ("wrong_arithmetic",),
    "another final answer": ("final_answer_not_derived",),
}


@dataclass
class Seen:
    """Rows looked at, those dropped and flagged, and rows by signal."""

    rows: int = 0
    dropped: int = 0
    flagged: int = 0
    signals: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Seen") -> None:
        self.rows += other.rows
        self.dropped += other.dropped
        self.flagged += other.flagged
        self.signals += other.signals

    def took(self, *signals: str) -> Estimate | None:
        return wilson(sum(self.signals[s] for s in signals), self.rows)


def main() -> None:
    folder = data_folder("judge", "t0.jsonl.gz", "gsm8k_train.jsonl", "hh_harmless_test.jsonl.gz")
    dice = random.Random(0)
    begin = own_cpu()
    good, shuffled, strong, strong_shuffled = Seen(), Seen(), Seen(), Seen()
    worst = 0.0
    planted: dict[str, Seen] = {kind: Seen() for kind in FAULTS}
    print(f"{'good rows':47s}{'rows':>7s}  dropped %           flagged %   shuffled: dropped %, noticed %  precision")
    for name, pairs in sources(folder, dice):
        own, mixed = look(pairs), look(shuffle(pairs, dice))
        print(line(name, own, mixed), flush=True)
        good.add(own)
        shuffled.add(mixed)
        if name.startswith(STRONG):
            worst = max(worst, own.dropped / own.rows)
            strong.add(own)
            strong_shuffled.add(mixed)
        for kind, plant in PLANTERS.items():
            made = [bad for pair in pairs[:_MOST_FAULTS] if (bad := plant(dice, *pair))]
            planted[kind].add(look(made))
    planted["shuffled"] = shuffled
    within = look(shuffle_within(t0(folder), dice))
    print(line("all", good, shuffled))
    print(line("strong models", strong, strong_shuffled)) if strong.rows else None
    print(f"T0 shuffled within its tasks: {percent(wilson(within.dropped, within.rows))} dropped")
    precise = by_signal(good, planted)
    preferences(folder)
    print(f"{own_cpu() - begin:.0f} CPU s")
    dropping = [s for s in Signals.model_fields if Signals().action(s) == "drop"]
    figures = {"good_dropped": good.dropped / good.rows, "shuffled_dropped": shuffled.dropped / shuffled.rows}
    wanted = {"what drops has a precision of 0.95": all(precise.get(s, 0) >= _PRECISE for s in dropping)}
    if strong.rows:
        together = precision(strong.dropped, strong, strong_shuffled.dropped, strong_shuffled)
        figures |= {"worst_strong_dropped": worst, "strong_precision": together}
        wanted |= {
            "at most 1 % of a strong model's answers dropped": worst <= 0.01,
            "0.95 together": together >= _PRECISE,
        }
    finish("judge", dict(figures), wanted)


def sources(folder: Path, dice: random.Random) -> Iterator[tuple[str, list[Pair]]]:
    """Name and rows of each set of good rows, at most _SAMPLE of each; empty answers are left out."""
    sets: dict[str, list[Pair]] = {
        "t0": [(p, a) for _, p, a in t0(folder)],
        "gsm8k": [(r["question"], r["answer"]) for r in lines(folder / "gsm8k_train.jsonl")],
    }
    for file in sorted([*(folder / STRONG).glob("*.json"), *(folder / "judge_rated").glob("*.json")]):
        rows = json.loads(file.read_text(encoding="utf-8"))
        sets[f"{file.parent.name}/{file.stem}"[:46]] = [(asked(r), r["output"]) for r in rows if r["output"].strip()]
    for name, pairs in sets.items():
        yield name, dice.sample(pairs, min(_SAMPLE, len(pairs)))


def asked(row: dict[str, Any]) -> str:
    return f"{row['instruction']}\n{row.get('input') or ''}".strip()


def t0(folder: Path) -> list[tuple[str, str, str]]:
    """Template, prompt and completion."""
    return [(r["template"], r["prompt"], r["completion"]) for r in lines(folder / "t0.jsonl.gz") if r["completion"]]


def lines(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from map(json.loads, file)


def shuffle(pairs: Sequence[Pair], dice: random.Random) -> list[Pair]:
    """Each prompt with the answer to another one."""
    answers = [a for _, a in pairs]
    dice.shuffle(answers)
    return [(p, b) for (p, a), b in zip(pairs, answers, strict=True) if a != b]


def shuffle_within(rows: Sequence[tuple[str, str, str]], dice: random.Random) -> list[Pair]:
    """The same within each template, so that an answer has the form that was asked for; at most _SAMPLE rows."""
    by: dict[str, list[Pair]] = {}
    for template, prompt, answer in rows:
        by.setdefault(template, []).append((prompt, answer))
    mixed = [pair for pairs in by.values() for pair in shuffle(pairs, dice)]
    return dice.sample(mixed, min(_SAMPLE, len(mixed)))


def look(pairs: Sequence[Pair]) -> Seen:
    """What the judge with default settings says about these rows."""
    config = JudgeConfig()
    judge = HeuristicJudge(config)
    seen = Seen(rows=len(pairs))
    for verdict in judge.verdicts([case(*pair) for pair in pairs]):
        outcome, reason = decide(None, verdict, config)
        seen.dropped += outcome == "dropped"
        seen.flagged += outcome == "kept" and reason is not None
        seen.signals.update({s for c in verdict.scores for s in verdict.signals(c)})
    return seen


def case(prompt: str, answer: str) -> Case:
    turns = (message("user", prompt), message("assistant", answer))
    return Case("", "", None, "conversation", turns, None, None)


def line(name: str, own: Seen, mixed: Seen) -> str:
    noticed = (mixed.dropped + mixed.flagged) / mixed.rows
    return (
        f"{name:47s}{own.rows:7,d}  {percent(wilson(own.dropped, own.rows)):20s}{own.flagged / own.rows:9.1%}"
        f"   {percent(wilson(mixed.dropped, mixed.rows)):21s}{noticed:6.1%}"
        f"   {precision(own.dropped, own, mixed.dropped, mixed):.3f}"
    )


def percent(share: Estimate | None) -> str:
    return "-" if share is None else f"{100 * share.value:.2f} [{100 * share.low:.2f}, {100 * share.high:.2f}]"


def precision(taken: int, good: Seen, found: int, bad: Seen) -> float:
    """Of the rows taken, the share that is bad, when one row in twenty is."""
    right, wrong = _BAD * found / max(bad.rows, 1), (1 - _BAD) * taken / good.rows
    return right / (right + wrong) if right + wrong else 0.0


def by_signal(good: Seen, planted: dict[str, Seen]) -> dict[str, float]:
    """Prints a row per signal; its precision, where a fault is planted for it."""
    meant = {s: kind for kind, signals in FAULTS.items() for s in signals}
    precise: dict[str, float] = {}
    print(f"\n{'signal':28s}{'does':6s}{'good rows taken, %':24s}{'planted fault':22s}{'recall, %':24s}precision")
    for signal in Signals.model_fields:
        false = good.took(signal)
        kind = meant.get(signal)
        true = planted[kind].took(signal) if kind else None
        tail = f"{'none planted':22s}"
        if kind and true and false and true.value:
            precise[signal] = precision(good.signals[signal], good, planted[kind].signals[signal], planted[kind])
            ends = [_BAD * r / (_BAD * r + (1 - _BAD) * f) for r, f in ((true.low, false.high), (true.high, false.low))]
            tail = f"{kind:22s}{percent(true):24s}{precise[signal]:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
        print(f"{signal:28s}{Signals().action(signal):6s}{percent(false):24s}{tail}")
    return precise


def preferences(folder: Path) -> None:
    """Prints, for each signal, how often an answer that it takes lost against the other one."""
    better, worse = Seen(), Seen()
    for row in lines(folder / "hh_harmless_test.jsonl.gz"):
        better.add(look([_last_turn(row["chosen"])]))
        worse.add(look([_last_turn(row["rejected"])]))
    took = ", ".join(
        f"{s} {better.signals[s]}:{worse.signals[s]}" for s, _ in (better.signals + worse.signals).most_common()
    )
    print(f"\nhh-rlhf harmless, {better.rows:,} pairs, answers taken among chosen:rejected: {took}")
    lost, seen = Counter[str](), Counter[str]()
    for file in sorted((folder / "judge_preferences").glob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            if row.get("preference") in (1, 2) and row["output_2"].strip():
                names = {"any answer", *look([(row["instruction"], row["output_2"])]).signals}
                seen.update(names)
                lost.update(names if row["preference"] == 1 else ())
    if seen:
        print("answers that lost against a reference's, by signal, %")
        for name, rows in seen.most_common():
            print(f"  {name:28s}{percent(wilson(lost[name], rows))} of {rows:,}")


def _last_turn(dialogue: str) -> Pair:
    before, _, answer = dialogue.rpartition("\n\nAssistant: ")
    return _TURN.sub("\n\n", before), answer.strip()


def _cut(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    """Prose cut at a character of its second half, as a limit on tokens does."""
    if len(answer) < 200 or "```" in answer or answer.lstrip()[:1] in "{[":
        return None
    return prompt, answer[: dice.randrange(len(answer) // 2, len(answer) - 2)].rstrip()


def _cut_in_code(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    opened, fence, rest = answer.partition("```")
    if not fence or len(rest.partition("```")[0]) < 20:
        return None
    return prompt, opened + fence + rest[: dice.randrange(10, len(rest.partition("```")[0]))]


def _cut_json(dice: random.Random, prompt: str, answer: str) -> Pair:
    whole = json.dumps({"question": prompt[:300], "answer": answer[:300]})
    return f"{prompt}\nAnswer as JSON.", whole[: dice.randrange(12, len(whole) - 1)]


def _marked(dice: random.Random, prompt: str, answer: str) -> Pair:
    return prompt, f"{answer[: len(answer) // 2]} {dice.choice(('[...]', '[truncated]', '(continued)'))}"


def _garbled(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    """UTF-8 read as Windows-1252; apostrophes and quotes are made typographic before."""
    typed = answer.replace("'", "\u2019").replace(' "', " \u201c").replace("--", "\u2014")
    if typed.isascii():
        return None
    return prompt, typed.encode().decode("cp1252", errors="replace")


def _looped(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    """A model that can't stop: from some sentence on, the same one over and over."""
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", answer) if len(s.split()) >= 4]
    if not sentences:
        return None
    last = dice.randrange(len(sentences))
    return prompt, " ".join([*sentences[:last], *[sentences[last]] * dice.randint(12, 40)])


def _filler(dice: random.Random, prompt: str, answer: str) -> Pair:
    fillers = ("TODO", "TBD", "lorem ipsum dolor sit amet", "test test", "???", "...", "n/a", "[insert answer here]",
               "null", "<your answer here>", "xxx", "foo bar")  # fmt: skip
    return prompt, dice.choice(fillers)


def _mashed(dice: random.Random, prompt: str, answer: str) -> Pair:
    return prompt, " ".join(dice.choices(("asdf", "jkl", "qwerty", "asdfgh", "zxcv", "hjk"), k=dice.randint(2, 8)))


def _consonants(dice: random.Random, prompt: str, answer: str) -> Pair:
    words = ("".join(dice.choices("bcdfghjklmnpqrstvwxz", k=dice.randint(4, 9))) for _ in range(dice.randint(4, 12)))
    return prompt, " ".join(words)


def _one_character(dice: random.Random, prompt: str, answer: str) -> Pair:
    return prompt, dice.choice("aA.-x#{0") * dice.randint(6, 60)


def _request(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    return (prompt, prompt) if len(prompt.split()) >= 3 else None


def _wrong_sum(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    """One result of GSM8K's calculations is changed, in the text and in the note."""
    sums = list(re.finditer(r"(= ?\$?)<<([^<>=]+)=(\d+)>>(\d+)", answer))
    if not sums:
        return None
    one = dice.choice(sums)
    wrong = str(int(one[3]) + dice.choice((-1, 1)) * dice.randint(1, max(1, int(one[3]) // 5)))
    return prompt, f"{answer[: one.start()]}{one[1]}<<{one[2]}={wrong}>>{wrong}{answer[one.end() :]}"


def _final(dice: random.Random, prompt: str, answer: str) -> Pair | None:
    found = re.search(r"#### (\d+)$", answer)
    return (prompt, f"{answer[: found.start()]}#### {int(found[1]) + dice.randint(1, 50)}") if found else None


PLANTERS: dict[str, Planter] = {
    "cut": _cut, "cut in code": _cut_in_code, "cut JSON": _cut_json, "marked as cut": _marked, "garbled": _garbled,
    "looped": _looped, "filler": _filler, "mashed keys": _mashed, "consonants": _consonants,
    "one character": _one_character, "request repeated": _request, "wrong sum": _wrong_sum,
    "another final answer": _final,
}  # fmt: skip


if __name__ == "__main__":
    main()
