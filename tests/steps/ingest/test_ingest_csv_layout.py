"""CSV files whose first lines are damaged, missing or unusual: read where that is sure, else refused by name."""

import json

import pytest

from steps.contracts.errors import InputError

ROWS = [("Why is it dark?", "The sun set."), ("Who sings, then?", "A wren."), ("Is it far?", "No; near."), ("a", "b")]
BODY = "".join(f'"{q}","{a}"\n' for q, a in ROWS)


def read(bench, text, name="a.csv", **source):
    bench.write(name, text)
    got = bench.ingest(name, **source)
    return [tuple(m["content"] for m in r["messages"]) for r in got.rows.iter_rows()], list(got.report.notes)


def refused(bench, text, **source):
    bench.write("a.csv", text)
    with pytest.raises(InputError) as e:
        bench.ingest("a.csv", most=1.0, **source)
    assert "dark" not in str(e.value)
    return e.value


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('"prompt,completion\n' + BODY, "a stray quote in the header line; the columns are 'prompt', 'completion'"),
        ('prompt",completion\n' + BODY, None),
        ("# made in May\nprompt,completion\n" + BODY, "1 line in front of the names of the columns passed over"),
        ("Answers of May\n\nprompt,completion\n" + BODY, "2 lines in front of the names of the columns passed over"),
        ("prompt,completion,\n" + BODY, "the header line ends with a delimiter that the rows haven't"),
        ("prompt,completion\n" + BODY.replace("\n", ",\n"), "each row ends with a delimiter that the header hasn't"),
        (
            "prompt,completion\n" + "".join(f"{i},{line}\n" for i, line in enumerate(BODY.splitlines(), 1)),
            "the rows are numbered in a first column without a name",
        ),
        ("prompt,completion\n" + BODY + "prompt,completion\n", "the header line stands 1 times more among the rows"),
        ("prompt, completion\n" + BODY.replace(",\"", ', "'), None),
        ("prompt~completion\n" + BODY.replace('","', '"~"'), "cells are separated by '~'"),
        ("prompt;completion\n" + BODY.replace('","', '";"'), None),
        ("Prompt|Completion\n" + BODY.replace('","', '"|"'), None),
        ("prompt\tcompletion\n" + BODY.replace('","', '"\t"'), None),
        ("'prompt','completion'\n" + BODY.replace('"', "'"), None),
        ('"the\nprompt",completion\n' + BODY, None),
        ("\n\nprompt,completion\n" + BODY, None),
    ],
)  # fmt: skip
def test_what_is_sure_is_read_and_said(bench, text, note):
    columns = {"columns": {"prompt": "the prompt"}} if "the\n" in text else {}
    rows, notes = read(bench, text, **columns)
    assert rows == ROWS
    assert note is None or any(note in n for n in notes), notes


def test_escaped_quotes(bench):
    rows, notes = read(bench, 'prompt,completion\n"Say \\"hi\\", please","\\"hi\\""\n"b","c \\\\ d"\n')
    assert rows == [('Say "hi", please', '"hi"'), ("b", "c \\ d")]
    assert any('quotes are written as \\"' in n for n in notes)


def test_quotes_inside_cells_stay(bench):
    text = 'prompt\tcompletion\n"Hello" is what?\tA greeting "of sorts"\n"She said "no" twice"\tyes\n'
    rows, _ = read(bench, text, name="a.tsv")
    assert rows == [('"Hello" is what?', 'A greeting "of sorts"'), ('She said "no" twice', "yes")]


def test_no_names_at_all(bench):
    said = refused(bench, BODY)
    assert said.what == "the first line looks like a row, not like the names of its 2 columns"
    assert "sources.0.header=[prompt, completion]" in said.hint
    rows, _ = read(bench, BODY, header=["prompt", "completion"])
    assert rows == ROWS
    rows, _ = read(bench, "prompt,completion\n" + BODY, header=["prompt", "completion"])
    assert rows == ROWS


def test_names_and_cells_that_differ_in_number(bench):
    said = refused(bench, "prompt\n" + BODY)
    assert said.what == "1 name in the header, but 2 cells in every row (separated by ,)"
    said = refused(bench, "id,prompt,completion\n" + BODY)
    assert said.what == "3 names in the header, but 2 cells in every row (separated by ,)"
    numbered = "".join(f"{i},{line}\n" for i, line in enumerate(BODY.splitlines(), 1))
    assert refused(bench, "id,prompt\n" + numbered).what.startswith("2 names in the header, but 3 cells")
    assert refused(bench, BODY, header=["a", "b", "c"]).what.startswith("3 names")


def test_a_quote_in_the_header_that_fits_nothing(bench):
    said = refused(bench, 'first "thing,"second\n' + BODY)
    assert said.what == "the header line has a quote that doesn't fit"


def test_delimiters_as_people_type_them(bench):
    rows, _ = read(bench, "prompt\tcompletion\na, b\tc\n", delimiter="\\t")
    assert rows == [("a, b", "c")]
    with pytest.raises(ValueError, match="one character"):
        read(bench, "prompt,completion\n", delimiter="||")


def test_a_short_table_with_one_bad_row_keeps_the_others(bench):
    bench.write("a.csv", "prompt,completion\na,b\nc,d,e\nf,g\n")
    got = bench.ingest("a.csv", most=0.5)
    assert got.rows.rows == 2 and bench.rejects()[0]["reason"] == "csv_columns"


def test_unused_cells_without_a_name(bench):
    bench.write("a.csv", ",prompt,completion\n7,a,b\n")
    [row] = bench.ingest("a.csv").rows.iter_rows()
    assert json.loads(row["meta"]) == {"column_1": "7"}


def test_a_short_name_may_end_like_a_sentence(bench):
    bench.write("a.csv", "Nr.,Solved?,Ref. no.,Frage,Antwort\n1,yes,7,Wann?,Um drei.\n")
    [row] = bench.ingest("a.csv", columns={"prompt": "Frage", "completion": "Antwort"}).rows.iter_rows()
    assert json.loads(row["meta"]) == {"Nr.": "1", "Solved?": "yes", "Ref. no.": "7"}
    assert "looks like a row" in refused(bench, "Where is it?,There.\nWhen is it?,At three.\n").what
