"""The address that a saved page says it has."""

import pytest

from steps.engines.chunking.page_url import page_url


@pytest.mark.parametrize(
    ("html", "url"),
    [
        ('<link rel="canonical" href="https://a.org/x?b=1&amp;c=2">', "https://a.org/x?b=1&c=2"),
        ("<LINK href='https://a.org/x' rel=canonical>", "https://a.org/x"),
        ('<meta property="og:url" content="http://a.org/og">', "http://a.org/og"),
        ("<!-- saved from url=(0021)https://a.org/saved -->\n<html>", "https://a.org/saved"),
        ('<link rel="canonical" href="/relative"><!-- saved from url=(0021)https://a.org/s -->', "https://a.org/s"),
        ('<link rel="canonical" href="javascript:alert(1)">', None),
        ('<link rel="canonical" href="https://me:secret@a.org/">', None),
        ('<link rel="stylesheet" href="https://a.org/style.css"><p>text</p>', None),
        ("<link " * 20_000, None),
    ],
)
def test_it_is_found_where_it_stands(html: str, url: str | None) -> None:
    assert page_url(html) == url
