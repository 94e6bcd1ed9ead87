import asyncio
import threading
import time

import pytest

from model_optimization.config.serving import BatchingConfig
from model_optimization.deployment.batch_runner import Failed, warm_up
from model_optimization.deployment.batching_jobs import Abandoned, DeadlineExceeded, QueueClosed, QueueFull
from model_optimization.deployment.batching_queue import BatchingQueue
from model_optimization.deployment.latency_model import LatencyModel
from roadmap_shared.errors import UserError

from .serving_fakes import FakeClassifier, until
from .tiny_models import TEXTS, tiny_classifier


def held_classifier() -> FakeClassifier:
    """One that computes when its gate is opened."""
    classifier = FakeClassifier()
    classifier.gate = threading.Event()
    return classifier


async def ask(queue: BatchingQueue, *texts: str, shadow: bool = False):
    return await queue.result(queue.submit(texts, shadow=shadow))


async def started(classifier: FakeClassifier) -> None:
    await asyncio.to_thread(until, classifier.entered.is_set)


def test_answers_are_those_of_the_classifier_alone_and_batches_are_shared():
    classifier = tiny_classifier()
    alone = {text: classifier.logits([text])[0] for text in TEXTS}
    sizes = []
    queue = BatchingQueue(
        classifier, BatchingConfig(max_wait_ms=50), observer=lambda n, tokens, seconds: sizes.append(n)
    )

    async def clients():
        return await asyncio.gather(*(ask(queue, TEXTS[index % len(TEXTS)]) for index in range(96)))

    answers = asyncio.run(clients())
    queue.close()
    for index, answer in enumerate(answers):
        text = TEXTS[index % len(TEXTS)]
        assert answer.logits[0] == pytest.approx(alone[text], abs=1e-5)
        assert answer.n_tokens == [len(classifier.token_ids([text])[0])]
    assert sum(sizes) == 96
    assert len(sizes) < 20


def test_texts_of_one_request_come_back_in_their_order():
    queue = BatchingQueue(FakeClassifier(), BatchingConfig())
    texts = ["1 " * 40 + "5", "2", "3 3 3", "4 4"]
    answer = asyncio.run(ask(queue, *texts))
    queue.close()
    assert [round(float(logits[1]) * 100) for logits in answer.logits] == [5, 2, 3, 4]
    assert answer.n_tokens == [41, 1, 3, 2]


def test_waiting_texts_are_computed_together_sorted_by_length():
    classifier = held_classifier()
    queue = BatchingQueue(classifier, BatchingConfig())

    async def clients():
        first = asyncio.create_task(ask(queue, "1"))
        await started(classifier)
        rest = [asyncio.create_task(ask(queue, "2 " * n)) for n in (5, 1, 9, 3)]
        await asyncio.sleep(0)
        assert queue.n_waiting == 4
        classifier.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(clients())
    queue.close()
    assert [[len(tokens) for tokens in batch] for batch in classifier.batches] == [[1], [1, 3, 5, 9]]


def test_a_long_text_is_not_passed_over_for_short_ones():
    # Long texts cost so much that no short one is ever padded to them.
    model = LatencyModel()
    for n in (1, 2, 4):
        model.observe(n, 16, 1e-4 * n + 1e-3, lasting=True)
        model.observe(n, 64, 1.0 * n, lasting=True)
    classifier = held_classifier()
    queue = BatchingQueue(classifier, BatchingConfig(max_batch=4, max_wait_ms=0), model=model)

    async def clients():
        waiting = [asyncio.create_task(ask(queue, "1"))]
        await started(classifier)
        waiting += [asyncio.create_task(ask(queue, "2")) for _ in range(4)]
        await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(ask(queue, "3 " * 50)))
        await asyncio.sleep(0.01)
        waiting += [asyncio.create_task(ask(queue, "4")) for _ in range(40)]
        await asyncio.sleep(0)
        classifier.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(clients())
    queue.close()
    assert [batch[0][0] for batch in classifier.batches][:4] == [1, 2, 3, 4]


def test_more_than_may_wait_are_refused_and_told_when_to_come_back():
    classifier = held_classifier()
    model = LatencyModel()
    for n in (1, 2, 4):
        model.observe(n, 16, 1.0 * n, lasting=True)
    queue = BatchingQueue(classifier, BatchingConfig(max_queue=10), model=model)

    async def clients():
        first = asyncio.create_task(ask(queue, "1"))
        await started(classifier)
        waiting = asyncio.create_task(ask(queue, *["2"] * 9))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refused:
            queue.submit(["3", "3"])
        more = asyncio.create_task(ask(queue, "3"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            queue.submit(["4"])
        classifier.gate.set()
        await asyncio.gather(first, waiting, more)
        return refused.value.seconds

    # 9 texts in batches of 4 (no fixed cost), 4 s each
    assert asyncio.run(clients()) == pytest.approx(12)
    queue.close()
    assert queue.n_waiting == 0


def test_deadline_ends_the_wait_and_takes_the_text_out():
    classifier = held_classifier()
    queue = BatchingQueue(classifier, BatchingConfig(deadline_seconds=0.1))

    async def clients():
        tasks = [asyncio.create_task(ask(queue, "1"))]
        await started(classifier)
        tasks.append(asyncio.create_task(ask(queue, "2")))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        classifier.gate.set()
        return outcomes

    outcomes = asyncio.run(clients())
    queue.close()
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded, DeadlineExceeded]
    assert [batch for batch in classifier.batches if [2] in batch] == []
    assert queue.n_waiting == 0


@pytest.mark.parametrize("how", ["cancel", "abandon"])
def test_texts_of_clients_that_left_are_not_computed(how):
    classifier = held_classifier()
    queue = BatchingQueue(classifier, BatchingConfig())

    async def clients():
        first = asyncio.create_task(ask(queue, "1"))
        await started(classifier)
        job = queue.submit(["2", "2"])
        left = asyncio.create_task(queue.result(job))
        stays = asyncio.create_task(ask(queue, "3"))
        await asyncio.sleep(0)
        if how == "cancel":
            left.cancel()
        else:
            job.abandon()
        with pytest.raises((asyncio.CancelledError, Abandoned)):
            await left
        classifier.gate.set()
        await asyncio.gather(first, stays)

    asyncio.run(clients())
    queue.close()
    assert classifier.batches == [[[1]], [[3]]]
    assert queue.n_waiting == 0


def test_a_text_that_cannot_be_computed_fails_alone():
    classifier = held_classifier()
    classifier.poison = 13
    queue = BatchingQueue(classifier, BatchingConfig())

    async def clients():
        first = asyncio.create_task(ask(queue, "1"))
        await started(classifier)
        tasks = [asyncio.create_task(ask(queue, *texts)) for texts in (["2"], ["3", "13"], ["4"])]
        await asyncio.sleep(0)
        classifier.gate.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    outcomes = asyncio.run(clients())
    queue.close()
    assert [type(outcome).__name__ for outcome in outcomes] == ["Answer", "Answer", "Failed", "Answer"]
    assert str(outcomes[2]) == "RuntimeError: no such token"


def test_logits_that_are_not_finite_are_a_failure():
    queue = BatchingQueue(FakeClassifier(bias=float("nan")), BatchingConfig())
    with pytest.raises(Failed, match="FloatingPointError"):
        asyncio.run(ask(queue, "1"))
    queue.close()


def test_closing_answers_what_waits_and_refuses_the_rest():
    classifier = held_classifier()
    queue = BatchingQueue(classifier, BatchingConfig(max_batch=2))

    async def clients():
        waiting = [asyncio.create_task(ask(queue, str(n))) for n in range(9)]
        await started(classifier)
        copied = asyncio.create_task(ask(queue, "77", shadow=True))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(queue.close))
        await asyncio.to_thread(until, lambda: queue._closing)
        with pytest.raises(QueueClosed):
            queue.submit(["1"])
        classifier.gate.set()
        answers = await asyncio.gather(*waiting)
        await closing
        with pytest.raises(QueueClosed):
            await copied
        return answers

    answers = asyncio.run(clients())
    assert [round(float(answer.logits[0][1]) * 100) for answer in answers] == list(range(9))


def test_copies_are_computed_only_when_nothing_else_is_to_be_done():
    classifier = held_classifier()
    idle = threading.Event()
    queue = BatchingQueue(classifier, BatchingConfig(max_shadow=2), idle=idle.is_set)

    async def clients():
        first = asyncio.create_task(ask(queue, "1"))
        await started(classifier)
        copies = [asyncio.create_task(ask(queue, "50", shadow=True)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            queue.submit(["51"], shadow=True)
        second = asyncio.create_task(ask(queue, "2"))
        await asyncio.sleep(0)
        classifier.gate.set()
        await asyncio.gather(first, second)
        await asyncio.sleep(0.05)
        assert classifier.batches == [[[1]], [[2]]]
        idle.set()
        await asyncio.gather(*copies)

    asyncio.run(clients())
    queue.close()
    assert classifier.batches == [[[1]], [[2]], [[50], [50]]]


def test_a_single_text_waits_for_nobody_where_runs_cost_nothing():
    classifier = FakeClassifier()
    queue = BatchingQueue(classifier, BatchingConfig(max_wait_ms=1000))

    async def clients():
        begun = time.monotonic()
        await ask(queue, "1")
        return time.monotonic() - begun

    assert asyncio.run(clients()) < 0.9
    queue.close()


def test_warm_up_learns_what_batches_cost_and_refuses_a_model_that_fails():
    model = warm_up(FakeClassifier(seconds=lambda n: 0.001 + 0.002 * n), 8)
    a, _ = model.coefficients(16)
    assert a > 0.001
    assert set(model.table()) == {"16", "32", "64"}
    with pytest.raises(UserError, match=r"^the model fails on its first texts: FloatingPointError"):
        warm_up(FakeClassifier(bias=float("inf")), 8)
