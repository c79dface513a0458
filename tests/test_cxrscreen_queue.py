"""The broker only wakes workers: whoever can write into it makes them run no code."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads, prepare_accept_content

from cxrscreen import queue
from cxrscreen.settings import Settings


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "application/x-yaml"])
def test_a_message_of_a_stranger_is_not_unpacked(configure: Callable[..., Settings], kind: str) -> None:
    configure()
    accepted = prepare_accept_content(queue.app().conf.accept_content)
    assert loads(b"[[7], {}, {}]", "application/json", "utf-8", accept=accepted) == [[7], {}, {}]
    with pytest.raises(ContentDisallowed):
        loads(pickle.dumps([7]), kind, "binary", accept=accepted)


def test_workers_take_no_orders_but_tasks(configure: Callable[..., Settings]) -> None:
    configure()
    assert queue.app().conf.worker_enable_remote_control is False


def test_where_the_broker_is_is_told_without_its_password(configure: Callable[..., Settings]) -> None:
    configure(redis_url="redis://:secret-word@127.0.0.1:6390/0")
    assert queue.place() == "Redis at 127.0.0.1:6390"
