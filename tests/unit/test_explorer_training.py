"""The explorer's contests: the same network, points and noise, equal cost, and numbers that are the library's."""

import json
import math
import threading

import pytest
import torch

from scorefield import Denoising, Implicit, Sliced, data, exact, fit, metrics
from scorefield.errors import RangeError
from scorefield.explorer import contest as contests
from scorefield.explorer.contest import Contest, Setting, Turning
from scorefield.explorer.costs import evaluations
from scorefield.explorer.sessions import MOST, Session, Sessions
from scorefield.tensors import Streams, normal
from scorefield.training import constant

MIX = exact.Mixture(torch.ones(3), torch.tensor([[-1.5, 0.0], [1.5, 0.5], [0.0, -1.5]]), 0.05 * torch.eye(2))
SMALL = Setting(rows=500, batch=32, width=16, depth=1)
ALL = ["exact", "sliced", "denoising"]


def truth(x, sigma):
    return MIX.score(x, 1.0, sigma)


def contest(methods=ALL, setting=SMALL, known=truth):
    return Contest(list(methods), setting, MIX.sample, known)


class Flipped(torch.nn.Module):
    """The truth with its sign flipped, which no measure may take for it."""

    def forward(self, x):
        return -truth(x, 0.3)


def steps(each):
    return each.steps


@pytest.mark.parametrize("objective", [Implicit(), Sliced(), Denoising()], ids=lambda o: type(o).__name__)
def test_every_objective_is_least_at_the_score_of_the_smoothed_density(objective):
    turning, x = Turning(objective, 0.4), MIX.sample(4000, Streams(0, range(4000)))

    def loss(c, sigma):
        return turning(lambda y: c * truth(y, sigma), x, Streams(1, range(4000))).detach().double()

    scales, levels = [0.8, 1.25], [0.2, 0.8]
    for other in [loss(c, 0.4) for c in scales] + [loss(1.0, sigma) for sigma in levels]:
        gain = other - loss(1.0, 0.4)
        assert gain.mean() > 4 * gain.std() / math.sqrt(4000)


def test_all_see_the_same_noise():
    seen = {}
    for name, objective in contests.METHODS.items():

        def look(x, name=name):
            seen.setdefault(name, x.detach().clone())
            return -x

        Turning(objective, 0.4)(look, torch.zeros(5, 2), Streams(3, range(5)))
    torch.testing.assert_close(seen["exact"], seen["denoising"])
    torch.testing.assert_close(seen["sliced"], seen["denoising"])
    torch.testing.assert_close(seen["exact"], 0.4 * normal(torch.zeros(5, 2), Streams(3, range(5))))


def test_the_held_out_noise_knows_nothing_of_the_points_it_is_added_to():
    found = contest(["denoising"])
    z = (found.noisy() - found.held_out) / found.sigma
    nearest = torch.cdist(found.held_out, MIX.means).argmin(1)
    for k in range(3):
        squares = z[nearest == k].square().sum(1)
        assert abs(float(squares.mean()) - 2) < 5 * 2 / math.sqrt(len(squares))


def test_the_loss_lies_above_that_of_the_truth_by_the_fisher_divergence():
    found = contest(setting=Setting(rows=500, width=16, depth=1))
    for each in found.contestants:
        found.run(0.0, steps)
        measured = found.measure(each)
        error = measured["above"]["error"] + measured["fisher"]["error"]
        assert abs(measured["above"]["value"] - measured["fisher"]["value"]) < 4 * error
        assert measured["fisher"]["value"] == pytest.approx(found.zero(), rel=0.1)  # one step from zero
    each.model = Flipped()
    assert found.measure(each)["fisher"]["value"] > 3 * found.zero()


def test_the_weights_are_those_of_the_library_and_the_noise_can_be_turned_in_between():
    found = contest(["denoising"])
    for _ in range(3):
        found.run(0.0, steps)
    found.turn(0.6)
    for _ in range(2):
        found.run(0.0, steps)
    (each,) = found.contestants
    assert each.turns == [(3, 0.6)]
    points = MIX.sample(500, Streams(0, range(500)))

    class Then(Turning):
        done = 0

        def __call__(self, *args, **cond):
            self.done += 1
            self.sigma = 0.3 if self.done <= 3 else 0.6
            return super().__call__(*args, **cond)

    model = fit(
        contests.network(SMALL), Then(Denoising(), 0.3), data.batches(points, 32), steps=5,
        learning_rate=2e-3, warmup=0.0, decay=constant,
    )  # fmt: skip
    x = MIX.sample(20, Streams(5, range(20)))
    torch.testing.assert_close(each.model(x), model(x))
    held = MIX.sample(512, Streams(0, contests.HELD_OUT_ROWS + torch.arange(512)))
    noisy = held + 0.6 * normal(held, Streams(0, contests.NOISE_ROWS + torch.arange(512)))
    fisher = metrics.fisher_divergence(model, lambda y: truth(y, 0.6), noisy)
    assert found.measure(each)["fisher"] == {"value": pytest.approx(fisher.value), "error": pytest.approx(fisher.error)}


def test_turns_are_taken_at_equal_cost():
    found = contest()
    for _ in range(40):
        found.run(0.0, lambda each: each.evaluations)
    spent = [each.evaluations for each in found.contestants]
    assert max(spent) - min(spent) <= max(each.per_step for each in found.contestants)
    assert found.contestants[2].steps > max(each.steps for each in found.contestants[:2])  # denoising costs least
    equal = contest()
    for _ in range(9):
        equal.run(0.0, steps)
    assert [each.steps for each in equal.contestants] == [3, 3, 3]


def test_what_a_step_costs_is_counted():
    setting = Setting(width=32)
    x, model = torch.zeros(16, 2), contests.network(setting)
    once = evaluations(Denoising(), model, x)
    assert 2.5 < once < 3  # forward, and backward to weights and activations, but not to x
    assert evaluations(Sliced(), model, x) > 1.5 * once


@pytest.mark.parametrize(
    "wrong",
    [{"sigma": 0.0}, {"rows": 1}, {"batch": 10**6}, {"width": 0}, {"depth": 9}, {"learning_rate": 5.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_numbers_outside_the_limits_are_refused(wrong):
    with pytest.raises(RangeError, match=next(iter(wrong))):
        Setting(**wrong)


@pytest.mark.parametrize("methods", [[], ["denoising", "denoising"]], ids=["none", "twice"])
def test_methods_that_do_not_make_a_contest_are_refused(methods):
    with pytest.raises(RangeError, match="methods"):
        contest(methods)


def session(known=truth):
    return Session(contest(known=known), lambda each: each.seconds, MIX.sample(9, Streams(0, range(9))))


def test_a_session_reports_pauses_turns_and_stops():
    each = session()
    events = each.events()
    assert [run["name"] for run in next(events)["runs"]] == ALL
    first = next(events)
    assert first["zero"] == pytest.approx(each.contest.zero())
    assert [run["steps"] for run in first["runs"]] == [0, 0, 0]
    second = next(events)
    assert sum(run["steps"] for run in second["runs"]) > 0
    assert "zero" not in second
    each.pause(True)
    assert next(events)["kind"] == "waiting"
    each.turn(0.6)
    turned = next(events)
    assert turned["sigma"] == 0.6
    assert [run["steps"] for run in turned["runs"]] == [run["steps"] for run in second["runs"]]
    assert turned["zero"] < first["zero"]
    each.pause(False)
    each.awake.set()
    assert sum(run["steps"] for run in next(events)["runs"]) > sum(run["steps"] for run in second["runs"])
    each.stop()
    assert next(events) == {"kind": "end", "reason": "Stopped."}
    assert next(events, None) is None
    json.dumps([first, second, turned], allow_nan=False)
    with pytest.raises(RangeError, match="sigma"):
        each.turn(9.0)


def test_a_link_brings_each_back_to_where_it_stood():
    def weights(contestant):
        return torch.cat([each.flatten() for each in contestant.model.parameters()])

    first = contest()
    for _ in range(12):
        first.run(0.0, lambda each: each.evaluations)
    again = Session(contest(), lambda each: each.seconds, MIX.sample(9, Streams(0, range(9))))
    again.contest.wait([each.steps for each in first.contestants])
    events = again.events()
    next(events)
    while not (report := next(events))["paused"]:
        pass
    assert [run["steps"] for run in report["runs"]] == [each.steps for each in first.contestants]
    for ours, theirs in zip(again.contest.contestants, first.contestants):
        torch.testing.assert_close(weights(ours), weights(theirs))
    assert next(events)["kind"] == "waiting"
    again.pause(False)
    again.awake.set()
    assert sum(run["steps"] for run in next(events)["runs"]) > sum(run["steps"] for run in report["runs"])
    with pytest.raises(RangeError, match="until"):
        first.wait([1])


def test_closing_the_stream_ends_the_trainings_and_leaves_no_thread():
    before = threading.active_count()
    each = session()
    events = each.events()
    for _ in range(3):
        next(events)
    events.close()
    for contestant in each.contest.contestants:
        assert next(contestant.progress, None) is None
    assert threading.active_count() == before


def test_a_density_that_nobody_knows_is_learned_without_a_truth():
    events = session(known=None).events()
    next(events)
    report = next(events)
    assert "zero" not in report
    assert "fisher" not in report["runs"][0]
    assert math.isfinite(report["runs"][0]["loss"]["value"])


def test_a_training_that_diverges_is_told():
    broken = Contest(["denoising"], SMALL, lambda n, g: torch.full((n, 2), 1e30), None)
    broken.run(0.0, steps)
    assert "lower learning_rate" in broken.contestants[0].failed
    assert not broken.running


def test_a_page_has_one_session_and_all_pages_a_few():
    open_ = Sessions()
    first, second = session(), session()
    open_.add("a", first)
    open_.add("a", second)
    assert first.stopped.is_set()
    assert open_.find("a") is second
    open_.remove("a", first)
    assert open_.find("a") is second
    for k in range(MOST - 1):
        open_.add(f"page {k}", second)
    with pytest.raises(RangeError, match="other pages"):
        open_.add("one too many", first)
    open_.remove("a", second)
    assert len(open_) == MOST - 1
