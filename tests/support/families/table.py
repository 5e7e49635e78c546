"""docs/families.md: what becomes of every kind of row under the templates of 16 families, as the code does it.

make families
"""

from collections import defaultdict
from collections.abc import Iterator

from support.families.cells import SETTINGS, Cell
from support.families.families import FAMILIES, Family
from support.families.rows import ROWS

from steps.engines.template.lint import REASONS

# How a cell is written that trains under some settings only, by those (thinking, system).
_SIGNS = {
    "✓": SETTINGS,
    "M": tuple(s for s in SETTINGS if s[1] == "merge_into_user"),
    "T": tuple(s for s in SETTINGS if s[0] != "as_is"),
    "O": tuple(s for s in SETTINGS if s[0] == "off"),
    "–": (),
}
_PAGE = """\
# Model families

What becomes of every kind of row under the chat templates of {families} families: {cells:,} cells, which are all
combinations with `template.thinking` (`as_is`, `on`, `off`) and `template.system` (`keep`, `merge_into_user`). In each
cell the row is trained rightly, or refused with the reason: {trained:,} and {refused:,} of them. Rightly means: every
trained turn stands behind the very tokens of its inference prompt, it is what the assistant says (text, call,
reasoning) and its end marker and nothing else, nothing that the row says before it is missing, and a document begins
with BOS where the tokenizer writes one. The judge of that renders with transformers alone
(`tests/support/families/oracle.py`). This page is what `make families` wrote; `make test-slow` compares.

The templates are those that the makers published, byte for byte; the tokenizers are small ones with the published
special tokens and their flags (`tests/support/families/SOURCES.md`). No weights of these models were used.

{table_of_families}

## Cells

- ✓ trained under all settings
- M trained with `system: merge_into_user`, refused with `keep`
- T trained with `thinking: on` or `off`, refused with `as_is`
- O trained with `thinking: off`, which leaves the reasoning out, else refused
- – refused whatever the settings

{table_of_cells}

## Trained, with something left out and counted

{left_out}

## Refused

{reasons}
"""


def page() -> str:
    """The whole page.

    Raises:
        AssertionError: a cell is wrong.
    """
    verdicts = {(f, r, s): Cell(f, r, *s).verdict() for f in FAMILIES for r in ROWS for s in SETTINGS}
    wrong = [f"{key}: {verdict}" for key, verdict in verdicts.items() if verdict.startswith("WRONG")]
    assert not wrong, "\n".join(wrong)
    refused = sum(v.startswith("refused") for v in verdicts.values())
    return _PAGE.format(
        families=len(FAMILIES), cells=len(verdicts), trained=len(verdicts) - refused, refused=refused,
        table_of_families=_table(["Family", "Published at", "Ends a turn", "Thinking"], map(_line, FAMILIES.values())),
        table_of_cells=_table(["Row", *FAMILIES], ([r, *(_sign(verdicts, f, r) for f in FAMILIES)] for r in ROWS)),
        left_out="\n".join(_left_out(verdicts)), reasons="\n".join(_reasons(verdicts)),
    )  # fmt: skip


_Verdicts = dict[tuple[str, str, tuple[str, str]], str]


def _line(family: Family) -> list[str]:
    ends = " ".join(f"`{end}`" for end in family.ends)
    switch = f"`{family.thinking_kwarg}`" if family.thinking_kwarg else "no switch"
    return [family.name, f"[{family.model}](https://huggingface.co/{family.model})", ends, switch]


def _sign(verdicts: _Verdicts, family: str, row: str) -> str:
    trained = tuple(s for s in SETTINGS if verdicts[family, row, s].startswith("trained"))
    return next(sign for sign, settings in _SIGNS.items() if settings == trained)


def _left_out(verdicts: _Verdicts) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (family, row, _), verdict in verdicts.items():
        part = verdict.partition(", without ")[2]
        if part and family not in found[part, row]:
            found[part, row].append(family)
    return (f"- {row}: the {part} ({_names(families)})" for (part, row), families in sorted(found.items()))


def _reasons(verdicts: _Verdicts) -> Iterator[str]:
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (family, row, _), verdict in verdicts.items():
        rows = found[verdict.removeprefix("refused: ")][row] if verdict.startswith("refused") else [family]
        if family not in rows:
            rows.append(family)
    for reason, rows in sorted(found.items()):
        yield f"`{reason}`: {REASONS[reason]}.\n"
        yield from (f"- {row}: {_names(families)}" for row, families in rows.items())
        yield ""


def _names(families: list[str]) -> str:
    return "all" if len(families) == len(FAMILIES) else ", ".join(families)


def _table(head: list[str], lines: "Iterator[list[str]]") -> str:
    rows = ([cell.replace("|", "\\|") for cell in line] for line in (head, ["---"] * len(head), *lines))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(page(), end="")
