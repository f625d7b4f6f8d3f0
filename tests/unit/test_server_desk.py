"""The line of waiting requests: who shares a batch, who waits for whom, and what happens when a batch fails."""

import asyncio

import numpy as np
import pytest

from scorefield.errors import RangeError
from scorefield.server.desk import DEATHS, Desk, Ticket
from scorefield.server.problems import Refused


def ticket(n=1, *, mark=0, operation="samples", states=None, common=None, **options):
    rows = {"seed": np.full(n, mark), "row": np.arange(n)}
    return Ticket(operation, options, rows, common or {}, states=states, cost=float(n))


def answered(desk, batch, seconds=0.01):
    """What a worker that returns its input would answer."""
    header = {"evaluations": 5, "errors": [None] * len(batch.pieces), "seconds": seconds}
    desk.done(batch, header, {"x": 1000 * batch.arrays["seed"] + batch.arrays["row"]})


def in_a_loop(test):
    """The test as a coroutine that is run."""

    def run():
        asyncio.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_a_loop
async def test_requests_of_the_same_options_share_a_batch_and_get_their_own_rows():
    desk = Desk(100, 16)
    same = [ticket(3, mark=k, steps=5) for k in range(4)]
    other = ticket(2, mark=9, steps=6)
    for each in (same[0], other, *same[1:]):
        desk.accept(each)
    first, second = await desk.next(), await desk.next()
    assert [t for t, _, _ in first.pieces] == same
    assert [t for t, _, _ in second.pieces] == [other]
    answered(desk, first)
    for k, each in enumerate(same):
        np.testing.assert_array_equal(each.answer.result()["x"], 1000 * k + np.arange(3))
        assert each.evaluations == 5
    assert not other.answer.done()


@in_a_loop
async def test_a_small_request_waits_for_one_piece_of_a_large_one():
    desk = Desk(100, 16)
    large, small = ticket(100, mark=1, steps=5), ticket(1, mark=2, steps=5)
    desk.accept(large)
    first = await desk.next()
    desk.accept(small)
    second = await desk.next()
    assert [(t is large, b - a) for t, a, b in first.pieces] == [(True, 16)]
    assert small in [t for t, _, _ in second.pieces]
    answered(desk, second)
    assert small.answer.done()
    for batch in (first, *[await desk.next() for _ in range(5)]):
        answered(desk, batch)
    np.testing.assert_array_equal(large.answer.result()["x"], 1000 + np.arange(100))


@in_a_loop
async def test_what_is_computed_by_itself_shares_with_nobody():
    desk = Desk(100, 16)
    alone = [ticket(states=asyncio.Queue()), ticket(common={"mask": np.ones(2, dtype=bool)}), ticket(), ticket()]
    for each in alone:
        desk.accept(each)
    sizes = [len((await desk.next()).pieces) for _ in range(3)]
    assert sizes == [1, 1, 2]


@in_a_loop
async def test_a_full_line_refuses_and_says_when_to_come_back():
    desk = Desk(2, 16)
    desk.accept(ticket(10))
    batch = await desk.next()
    answered(desk, batch, seconds=1.0)  # ten units of work a second
    desk.accept(ticket(16))
    desk.accept(ticket(16))
    with pytest.raises(Refused) as refused:
        desk.accept(ticket())
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "4"})
    assert desk.wait == pytest.approx(3.2)


@in_a_loop
async def test_work_beyond_the_time_of_a_request_is_refused_though_there_is_room():
    desk = Desk(100, 16, timeout=2.0)
    desk.accept(ticket(10))
    answered(desk, await desk.next(), seconds=1.0)
    desk.accept(ticket(30))
    with pytest.raises(Refused) as refused:
        desk.accept(ticket())
    assert refused.value.status == 429


@in_a_loop
async def test_one_full_batch_tells_how_fast_a_long_line_goes_and_a_slow_machine_is_believed_in_time():
    desk = Desk(100, 16)
    for _ in range(50):  # one row takes 5 ms, 16 together take 16
        desk.accept(ticket())
        answered(desk, await desk.next(), seconds=0.005)
    desk.accept(ticket(16 + 1600))
    answered(desk, await desk.next(), seconds=0.016)
    assert desk.wait == pytest.approx(1.6)
    for _ in range(30):
        answered(desk, await desk.next(), seconds=0.16)
    assert desk.wait == pytest.approx(1120 / 100, rel=0.3)


@in_a_loop
async def test_an_error_reaches_the_request_that_it_belongs_to():
    desk = Desk(100, 16)
    good, bad = ticket(mark=1), ticket(mark=2)
    for each in (good, bad):
        desk.accept(each)
    batch = await desk.next()
    wrong = {"kind": "RangeError", "message": "Heun: too few."}
    desk.done(batch, {"error": wrong, "evaluations": 0, "seconds": 0.1, "errors": []}, {})
    again = [await desk.next(), await desk.next()]
    assert [len(each.pieces) for each in again] == [1, 1]
    for each in again:
        if each.pieces[0][0] is bad:
            desk.done(each, {"error": wrong, "evaluations": 0, "seconds": 0.1, "errors": []}, {})
        else:
            answered(desk, each)
    assert good.answer.result()["x"].tolist() == [1000]
    with pytest.raises(RangeError, match="too few"):
        bad.answer.result()


@in_a_loop
async def test_a_request_that_kills_its_workers_is_given_up_and_the_others_live():
    desk = Desk(100, 16)
    good, deadly = ticket(mark=1), ticket(mark=2)
    for each in (good, deadly):
        desk.accept(each)
    deaths = 0
    while not (good.answer.done() and deadly.answer.done()):
        batch = await desk.next()
        if deadly in [t for t, _, _ in batch.pieces]:
            deaths += 1
            desk.lost(batch)
        else:
            answered(desk, batch)
    assert deaths == DEATHS
    assert good.answer.result()["x"].tolist() == [1000]
    with pytest.raises(Refused) as refused:
        deadly.answer.result()
    assert (refused.value.status, refused.value.name) == (500, "Crashed")


@in_a_loop
async def test_a_batch_is_cancelled_when_the_last_of_its_requests_has_gone():
    desk, cancelled = Desk(100, 16), []
    one, two = ticket(20, mark=1), ticket(mark=2)
    desk.accept(one)
    desk.accept(two)
    first, second = await desk.next(), await desk.next()
    for batch in (first, second):
        batch.cancel = lambda batch=batch: cancelled.append(batch)
    assert {t for t, _, _ in second.pieces} == {one, two}
    desk.leave(one)
    assert cancelled == [first]
    desk.leave(two)
    assert cancelled.count(second) == 1
    assert not desk.waiting
    assert desk.work == pytest.approx(0.0)


@in_a_loop
async def test_a_closed_desk_takes_nothing_new_and_finishes_the_rest():
    desk = Desk(100, 16)
    early = ticket()
    desk.accept(early)
    desk.closed = True
    with pytest.raises(Refused) as refused:
        desk.accept(ticket())
    assert refused.value.status == 503
    answered(desk, await desk.next())
    assert early.answer.done()


@in_a_loop
async def test_a_state_is_shown_once_though_its_worker_died():
    desk = Desk(100, 16)
    watched = ticket(2, states=asyncio.Queue())
    desk.accept(watched)
    first = await desk.next()
    for step in (0, 1):
        desk.state(first, step, 1.0 - step / 4, {})
    desk.lost(first)
    second = await desk.next()
    for step in (0, 1, 2):
        desk.state(second, step, 1.0 - step / 4, {})
    answered(desk, second)
    assert [watched.states.get_nowait()[2] for _ in range(watched.states.qsize())] == [0, 1, 2]
    assert watched.answer.done()
