"""The page to talk to models, in a real browser, over models that mean harm."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from support.browser import Browser, browser

from ops.serving.app import Rules, make_app
from ops.serving.desk import End, Job, Question
from ops.serving.page import Page, chat_page
from steps.contracts.errors import ServiceError
from steps.engines.lm.transcript import Piece

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "<a href='javascript:document.title=1'>x</a> "
    "\u202eevil\u202c \u2066x\u2069 \x1b[31m a\u200bb 👩\u200d👩\u200d👧 </div></main>"
)
SHOWN = HOSTILE.translate({ord(c): "�" for c in "\u202e\u202c\u2066\u2069\x1b\u200b"})
NAMES = ("kind", "<b>cruel</b>")


class Scripted:
    """Says its last message, in pieces; "break" ends in the middle of it, "wait" never ends."""

    alive, answering, waiting, answered = True, 0, 0, 0

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.jobs: list[Job] = []

    def ask(self, question: Question, tell: Callable) -> Job:
        self.asked.append(question)
        said = str(question.row["messages"][-2]["content"])
        job = Job(question, [1], 10, None, tell)
        self.jobs.append(job)
        threading.Thread(target=self._say, args=(said, tell)).start()
        return job

    def _say(self, said: str, tell: Callable) -> None:
        text = HOSTILE if "harm" in said else said
        tell(Piece("I think <i>", ""))
        for place in range(0, len(text), 7):
            tell(Piece("", text[place : place + 7]))
            time.sleep(0.002)
        if "break" in said:
            tell(ServiceError("the engine's answer has no end"))
        elif "wait" not in said:
            tell(End(text, "I think <i>", 3, 9, cut=True))


@contextmanager
def serving(**rules) -> Iterator[tuple[str, Scripted]]:
    desk = Scripted()
    models = [{"id": name, "digest": "d"} for name in NAMES]
    app = make_app(desk, Rules(models, 77, frozenset({"127.0.0.1"}), page=Page("Be <brief>.", 0.5), **rules))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", desk
    finally:
        server.should_exit = True
        thread.join()


def ask(page: Browser, question: str, *, wait: bool = True) -> None:
    page.run(f"document.getElementById('question').value = {question!r}")
    page.run("document.getElementById('ask').requestSubmit()")
    if wait:
        page.until("!document.getElementById('send').disabled")


def said(page: Browser, what: str) -> list[str]:
    return page.run(f"[...document.querySelectorAll('.answers:last-of-type .{what}')].map(e => e.textContent)")[-2:]


def test_the_page_carries_all_that_it_needs_and_may_do_nothing_else() -> None:
    with serving(key="secret") as (address, _):
        reply = httpx.get(address)
        assert reply.status_code == 200 and "secret" not in reply.text
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
        assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 421
        assert "Be &lt;brief&gt;." in reply.text
    text, _ = chat_page(Page('</textarea><script>alert("x")</script>'), 5)
    assert text.count("<script>") == 1
    for wrong in (
        r"https?://",
        r"\beval\b",
        "innerHTML",
        "insertAdjacent",
        r"document\.write",
        r" on\w+=",
        "new Function",
    ):
        assert re.search(wrong, text) is None, wrong


def test_there_is_no_page_unless_it_is_asked_for() -> None:
    app = make_app(Scripted(), Rules([], 5))
    assert not [route for route in app.routes if route.path == "/"]


@pytest.mark.slow
def test_in_a_browser(tmp_path: Path) -> None:
    with serving() as (address, desk), browser(tmp_path) as page:
        page.do("Page.navigate", url=address)
        page.until("document.querySelectorAll('#models input:checked').length == 2")
        assert page.run("document.querySelector('.key').offsetParent === null"), "no key is asked for in vain"
        ask(page, "Do harm")
        assert said(page, "text") == [SHOWN, SHOWN] and said(page, "thought") == ["I think <i>"] * 2
        assert all("9 tokens in " in end and "cut" in end for end in said(page, "end"))
        assert page.run("document.title") == "assay chat"
        assert page.run("document.querySelectorAll('main img, main script, main a, main b, main i').length") == 0
        assert page.run("[...document.querySelectorAll('h2')].map(e => e.textContent)") == list(NAMES)
        page.picture(tmp_path / "page.png")
        question = desk.asked[-1]
        assert (question.temperature, question.most, question.pieces) == (0.5, 77, True)
        roles = [(m["role"], m["content"]) for m in question.row["messages"]]
        assert roles[:2] == [("system", "Be <brief>."), ("user", "Do harm")]

        ask(page, "break it")
        assert all(end == "the engine's answer has no end; not kept" for end in said(page, "end"))
        ask(page, "again")
        roles = [m["content"] for m in desk.asked[-1].row["messages"]]
        assert roles[:4] == ["Be <brief>.", "Do harm", HOSTILE, "again"], "what broke off is no part of what was said"

        ask(page, "wait", wait=False)
        page.until("[...document.querySelectorAll('.text')].slice(-2).every(e => e.textContent === 'wait')")
        page.run("document.getElementById('stop').click()")
        page.until("!document.getElementById('send').disabled")
        assert said(page, "end") == ["stopped; not kept"] * 2
        for _ in range(100):
            if all(job.gone.is_set() for job in desk.jobs):
                break
            time.sleep(0.1)
        assert all(job.gone.is_set() for job in desk.jobs), "the server is told"

        page.run("document.getElementById('reset').click()")
        page.run("document.querySelector('#models input').click()")
        ask(page, "alone")
        assert len(desk.asked[-1].row["messages"]) == 3 and desk.asked[-1].model == NAMES[1]
        assert page.run("document.querySelectorAll('.answer').length") == 1
        assert page.faults == [] and {url.split("/")[2] for url in page.asked} == {address.split("/")[2]}


@pytest.mark.slow
def test_a_key_is_asked_for_where_one_is_needed(tmp_path: Path) -> None:
    with serving(key="secret") as (address, desk), browser(tmp_path) as page:
        page.do("Page.navigate", url=address)
        page.until("!document.querySelector('.key').hidden")
        assert page.run("document.getElementById('trouble').textContent") == "the API key is missing or wrong"
        page.run("document.getElementById('key').value = 'secret'")
        page.run("document.getElementById('key').dispatchEvent(new Event('change'))")
        page.until("document.querySelectorAll('#models input').length == 2")
        ask(page, "hello")
        assert said(page, "text") == ["hello"] * 2 and len(desk.asked) == 2
