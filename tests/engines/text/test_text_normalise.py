import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.text.normalise import normal_form, squeezed, telling_words, words


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("The Quick, brown FOX!", "the quick brown fox"),
        ("ﬁne ①", "fine 1"),  # compatibility forms
        ("caf\u00e9", "cafe\u0301"),  # composed and decomposed
        ("STRASSE", "straße"),
        ("zero\u200bwidth", "zerowidth"),
        ("soft\u00adhyphen", "softhyphen"),
        ("grapheme\u034fjoiner", "graphemejoiner"),
        ("iso\u2066lates\u2069", "isolates"),
        ("ta\U000e0067gs", "tags"),
        ("\u2764\ufe0f", "\u2764"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
    ],
)
def test_same_words(left, right):
    assert words(left) == words(right)


def test_symbols_separate_words_and_count_only_when_asked():
    assert words("a+b == c") == ["a", "b", "c"]
    assert words("a+b == c", symbols=True) == ["a", "+", "b", "=", "=", "c"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("if a:\n  if b:\n    c()\n  d()", "if a:\n  if b:\n    c()\nd()"),
        ("a:\n  b", "a:\nb"),
    ],
)
def test_indentation_is_a_symbol(left, right):
    assert words(left) == words(right)
    assert words(left, symbols=True) != words(right, symbols=True)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("if a:\n  b()\nc()", "if a:\n\tb()\n\n   \nc()"),
        ("a:\n  b\n  c", "    a:\n        b\n        c"),
    ],
)
def test_how_wide_a_step_of_indentation_is_says_nothing(left, right):
    assert words(left, symbols=True) == words(right, symbols=True)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("return a > b", "return a < b"),
        ("s += x", "s -= x"),
        ("3 + 4", "3 - 4"),
        ("5%", "5"),
        ("$5", "€5"),
        ("-5", "5"),
        ("\u22125", "5"),
        ("3.14", "3,14"),
        ("2 * 3", "2 3"),
        ("2*3", "2/3"),
        ("a != b", "a == b"),
        ("(a + b) * c", "a + (b * c)"),
        ("[1]", "(1)"),
        ("c#", "c"),
        ("👍", "👎"),
        ("Great 👍", "Great 👎"),
        ("+", "-"),
    ],
)
def test_symbols_that_say_something(left, right):
    assert telling_words(left) != telling_words(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Well, *yes*!", "well yes"),
        ("**5** apples.", "5 apples"),
        ("It is 5.", "it is 5"),
        ("a well-known man", "a well known man"),
        ("yes - surely", "yes — surely"),
        ("2010-2020", "2010\u20132020"),
        ("* one\n* two", "- one\n- two"),
        ("# Title\n> so it is", "Title\nso it is"),
        ('He said: "no".', "he said “no”"),
        ("`x` is here", "x is here"),
        ("你好，世界。", "你好 世界"),
    ],
)
def test_marks_of_prose_say_nothing(left, right):
    assert telling_words(left) == telling_words(right)


def test_a_text_without_words_is_its_visible_characters():
    assert words("!!! ?") == ["!", "!", "!", "?"]
    assert words("🙂 🙃") != words("🙃 🙂")
    assert words(" \n\t ") == []


@pytest.mark.parametrize("text", ["我喜欢吃苹果", "わたしはりんご", "ฉันชอบแอปเปิล", "ខ្ញុំចូលចិត្ត"])
def test_spaceless_scripts_give_one_token_per_character(text):
    tokens = words(text)
    assert len(tokens) >= 6
    assert all(len(t) == 1 for t in tokens)


def test_spaceless_and_spaced_scripts_mix():
    assert words("iPhone手机64GB") == ["iphone", "手", "机", "64gb"]


@pytest.mark.parametrize("text", ["नमस्ते दुनिया", "السَّلَامُ عَلَيْكُمْ", "안녕하세요 세계", "வணக்கம் உலகம்", "שָׁלוֹם עוֹלָם"])
def test_combining_marks_do_not_cut_words(text):
    assert len(words(text)) == 2


def test_devanagari_full_stop_ends_a_word():
    assert words("नमस्ते।") == words("नमस्ते")


def test_squeezed_keeps_what_words_ignore():
    assert squeezed("3 + 4") != squeezed("3 - 4")
    assert squeezed(" What\n is\t THIS? ") == "what is this?"


@given(st.text())
def test_normal_form_is_stable(text):
    once = normal_form(text)
    assert words(once) == words(text) or normal_form(once) != once
    assert words(" ".join(words(text))) == words(text)


@given(st.text())
def test_tokens_hold_no_white_space(text):
    for symbols in (False, True):
        assert all(t and not any(c.isspace() for c in t) for t in words(text, symbols=symbols))
