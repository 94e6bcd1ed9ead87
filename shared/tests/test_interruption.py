"""Ctrl-C: the first asks to stop, the second stops at once, and afterwards all is as before."""

import signal
import threading
from collections.abc import Iterator

import pytest

from roadmap_shared.interruption import Interruption, finish_step_on_interrupt


@pytest.fixture(autouse=True)
def python_own_handler() -> Iterator[None]:
    """A shell starts what runs in its background with Ctrl-C ignored; Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_is_remembered_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with finish_step_on_interrupt() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_is_put_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), finish_step_on_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_runs_without_it():
    found: list[Interruption] = []

    def work() -> None:
        with finish_step_on_interrupt() as interrupted:
            found.append(interrupted)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not found[0]()
