"""Loops of requests in threads of their own."""

import asyncio
import sys

import pytest

from steps.engines.llm.background import Background


@pytest.mark.parametrize("first", [0, 1])
def test_threads_give_way_to_a_loop_and_as_before_when_the_last_one_has_ended(first: int) -> None:
    usual = sys.getswitchinterval()
    loops = [Background(), Background()]
    assert sys.getswitchinterval() < usual
    loops.pop(first).close(asyncio.sleep(0))
    assert sys.getswitchinterval() < usual
    loops.pop().close(asyncio.sleep(0))
    assert sys.getswitchinterval() == usual
