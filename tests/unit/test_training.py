"""The training loop against arithmetic done by hand."""

import inspect
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from scorefield.data import batches
from scorefield.errors import (
    DataError,
    DivergedError,
    MemoryLimitError,
    RangeError,
    RowsError,
    RunError,
    ShapeError,
)
from scorefield.models import Preconditioned
from scorefield.networks import MLP
from scorefield.noises import VP
from scorefield.objectives import Denoising, Diffusion
from scorefield.tensors import normal, seeded
from scorefield.training import Exponential, Power, bar, constant, cosine, fit, linear, train

SGD = {"optimizer": torch.optim.SGD, "warmup": 0.0, "decay": constant, "clip": None}


class Point(nn.Module):
    """One point w; its loss ½|w − x|² has the gradient w − x."""

    def __init__(self, *start):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, x):
        return self.w.expand_as(x)


def square(model, x, generator=None):
    return 0.5 * (model(x) - x).square().sum(1)


X = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 6.0]], dtype=torch.float64)  # mean (2, 1, 5)


def test_one_step_is_the_mean_gradient_per_coordinate():
    model = Point(0.0, 0.0, 0.0)
    (progress,) = train(model, square, [X], steps=1, learning_rate=0.3, **SGD)
    assert torch.allclose(model.w, 0.3 * X.mean(0) / 3, rtol=1e-15)
    assert progress.loss == pytest.approx(0.5 * X.square().sum(1).mean().item(), rel=1e-15)
    assert progress.gradient_norm == pytest.approx((X.mean(0) / 3).norm().item(), rel=1e-15)
    assert (progress.step, progress.steps, progress.learning_rate) == (1, 1, 0.3)


def test_clipping_keeps_the_direction_and_caps_the_norm():
    model = Point(0.0, 0.0, 0.0)
    (progress,) = train(model, square, [X], steps=1, learning_rate=1.0, **SGD | {"clip": 0.1})
    full = X.mean(0) / 3
    assert torch.allclose(model.w, 0.1 * full / full.norm(), rtol=1e-4)  # torch adds 1e-6 to the norm
    assert progress.gradient_norm == pytest.approx(full.norm().item())


def test_the_rate_warms_up_and_decays():
    for decay, factors in (
        (linear, [0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (constant, [0.5] + [1] * 7),
        (cosine, [0.5, 1] + [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)]),
    ):
        model = Point(0.0, 0.0, 0.0)
        positions = [torch.zeros(3, dtype=torch.float64)]
        rates = []
        for progress in train(model, square, [X], steps=8, learning_rate=0.2, **SGD | {"warmup": 0.25, "decay": decay}):
            rates.append(progress.learning_rate)
            positions.append(model.w.detach().clone())
        assert rates == pytest.approx([0.2 * factor for factor in factors])
        for rate, before, after in zip(rates, positions, positions[1:]):
            assert torch.allclose(after, before - rate * (before - X.mean(0)) / 3, rtol=1e-14)


def test_groups_keep_their_own_rates():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()

    def optimizer(params, *, lr):
        return torch.optim.SGD([{"params": list(model[0].parameters()), "lr": 0.0}, {"params": model[1].weight}], lr=lr)

    before = [parameter.detach().clone() for parameter in model.parameters()]
    fit(model, square, [X], steps=3, **SGD | {"optimizer": optimizer, "decay": cosine})
    assert [torch.equal(old, new) for old, new in zip(before, model.parameters())] == [True, True, False, True]


@pytest.mark.parametrize("average", [Power(), Power(0.0), Power(3.0), Exponential(0.5), Exponential(0.0)])
def test_the_average_is_the_weighted_mean_of_all_steps(average):
    model = Point(0.0, 0.0, 0.0)
    seen, averages = [], []
    for progress in train(model, square, [X], steps=12, average=average, learning_rate=1.0, **SGD):
        seen.append(model.w.detach().clone())
        averages.append(progress.average.w.clone())
    for last in range(1, 13):
        weights = [average(k) * math.prod(1 - average(j) for j in range(k + 1, last + 1)) for k in range(1, last + 1)]
        assert sum(weights) == pytest.approx(1.0, abs=1e-14) or isinstance(average, Exponential)
        start = (1 - sum(weights)) * torch.zeros(3, dtype=torch.float64)
        wanted = start + sum(weight * w for weight, w in zip(weights, seen))
        assert torch.allclose(averages[last - 1], wanted, rtol=1e-13)


def test_power_weights_steps_by_their_power_and_exponential_by_age():
    assert [Power(0.0)(k) for k in (1, 2, 5)] == pytest.approx([1, 1 / 2, 1 / 5])
    power, k = Power(16.0), 1000
    weights = [power(j) * math.prod(1 - power(i) for i in range(j + 1, k + 1)) for j in (k // 2, k)]
    assert weights[0] / weights[1] == pytest.approx(0.5**16, rel=0.02)
    assert [Exponential(0.99)(k) for k in (1, 11, 10**5)] == pytest.approx([0.9, 0.45, 0.01])


def test_fit_gives_the_average_in_eval_mode_and_buffers_are_copied():
    class Counting(Point):
        def __init__(self):
            super().__init__(0.0, 0.0, 0.0)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
            self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

        def forward(self, x):
            if self.training:
                self.calls += 1
            return super().forward(x)

    model = Counting()
    *_, last = train(model, square, [X], steps=5)
    assert last.average.calls == model.calls > 4
    averaged = fit(Counting(), square, [X], steps=5)
    assert torch.equal(averaged.w, last.average.w)
    assert not torch.equal(averaged.w, model.w)
    assert not averaged.training
    assert (averaged.w.requires_grad, averaged.frozen.requires_grad) == (True, False)
    assert torch.equal(averaged.frozen, torch.ones(2))


def test_row_i_of_step_k_draws_from_its_own_stream():
    drawn = {}

    def noisy(model, x, generator=None):
        for row, z in zip(generator.rows.tolist(), normal(x, generator)):
            drawn.setdefault(seed, {})[row] = z
        return square(model, x)

    data = [torch.randn(7, 3, dtype=torch.float64)]
    for seed, accumulate in ((0, 1), (1, 1)):
        list(train(Point(0.0, 0.0, 0.0), noisy, data, steps=3, seed=seed, accumulate=accumulate))
    once = drawn.pop(0)
    assert set(once) == {step * 2**32 + row for step in range(3) for row in range(7)}
    assert len({tuple(z.tolist()) for z in once.values()}) == 21
    assert not any(torch.equal(once[row], z) for row, z in drawn[1].items())
    seed = 0
    list(train(Point(0.0, 0.0, 0.0), noisy, data, steps=3, seed=0, accumulate=3))
    assert all(torch.equal(once[row], z) for row, z in drawn[0].items())


@pytest.mark.parametrize("accumulate", [2, 3, 7])
def test_accumulated_steps_are_the_joint_step(accumulate):
    data = {"x": torch.randn(7, 3, dtype=torch.float64), "shift": torch.randn(7, 1, dtype=torch.float64)}

    def shifted(model, x, generator=None, *, shift):
        return 0.5 * (model(x) - x - shift + 0.1 * normal(x, generator)).square().sum(1)

    results = []
    for pieces in (1, accumulate):
        model = Point(1.0, 2.0, 3.0)
        losses = [progress.loss for progress in train(model, shifted, [data], steps=4, accumulate=pieces, **SGD)]
        results.append((model.w.detach(), torch.tensor(losses, dtype=torch.float64)))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-14)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-14)


def test_torchs_own_generator_is_left_as_it_was_and_depends_on_step_and_seed_only():
    seen = []

    def dropping(model, x, generator=None):
        seen.append(torch.rand(()).item())
        return square(model, x)

    for preparation in (1, 2):
        torch.manual_seed(preparation)
        before = torch.get_rng_state()
        list(train(Point(0.0, 0.0, 0.0), dropping, [X], steps=3))
        assert torch.equal(torch.get_rng_state(), before)
    list(train(Point(0.0, 0.0, 0.0), dropping, [X], steps=3, seed=1))
    assert seen[:3] == seen[3:6]
    assert len(set(seen)) == 6


def test_measuring_changes_nothing():
    ends = []
    for options in ({}, {"held_out": torch.randn(40, 2), "evaluate_every": 2, "truth": lambda xt, t: -xt}):
        torch.manual_seed(0)
        model = Preconditioned(MLP(2, width=8, depth=1), VP())
        data = batches(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), 16)
        measured = [p.held_out is not None for p in train(model, Diffusion(), data, steps=5, **options)]
        ends.append(nn.utils.parameters_to_vector(model.parameters()))
        assert model.training
    assert measured == [False, True, False, True, True]
    assert torch.equal(*ends)


def test_bfloat16_is_for_products_only():
    seen = []

    class Watching(nn.Linear):
        def forward(self, x):
            answer = super().forward(x)
            seen.append(answer.dtype)
            return answer

    model = Watching(3, 3)
    list(train(model, square, [X.float()], steps=1, precision=torch.bfloat16))
    assert torch.bfloat16 in seen
    assert model.weight.dtype == torch.float32
    assert model.weight.grad.dtype == torch.float32


def test_an_objective_may_have_weights_of_its_own():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, model, x, generator=None):
            return square(model, x) * (-self.log).exp() + self.log

    objective, saved = Weighted(), []
    list(train(Point(0.0, 0.0, 0.0), objective, [X], steps=3, save=saved.append))
    assert objective.log != 0
    assert torch.equal(saved[0].weights["objective.log"], objective.log)
    again = Weighted()
    list(train(Point(0.0, 0.0, 0.0), again, [X], steps=3, state=saved[0]))
    assert torch.equal(again.log, objective.log)


def test_a_finished_state_gives_its_average():
    saved = []
    averaged = fit(Point(0.0, 0.0, 0.0), square, [X], steps=3, save=saved.append)
    again = fit(Point(9.0, 9.0, 9.0), square, [X], steps=3, state=saved[0])
    assert torch.equal(again.w, averaged.w)
    assert not again.training


def test_states_of_other_trainings_are_refused():
    saved = []
    list(train(Point(0.0, 0.0, 0.0), square, [X], steps=3, save=saved.append, save_every=1))
    with pytest.raises(RangeError, match=r"seed=1.*seed 0"):
        train(Point(0.0, 0.0, 0.0), square, [X], steps=3, seed=1, state=saved[0])
    with pytest.raises(RunError, match="step 1 does not fit this model"):
        train(nn.Linear(3, 3), square, [X], steps=3, state=saved[0])


def test_saving_happens_when_asked_at_the_end_and_on_leaving():
    for stop, every, wanted in ((None, 2, [2, 4, 5]), (None, None, [5]), (3, 2, [2, 3]), (2, 2, [2])):
        saved = []
        for progress in train(Point(0.0, 0.0, 0.0), square, [X], steps=5, save=saved.append, save_every=every):
            if progress.step == stop:
                break
        del progress
        assert [state.step for state in saved] == wanted


def test_training_works_in_a_thread():
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(Point(0.0, 0.0, 0.0), square, [X], steps=2)))
    thread.start()
    thread.join()
    assert len(done) == 1


# What must not go on


class Breaking(Preconditioned):
    """A denoiser whose answer is not finite where the first coordinate is beyond 50."""

    def forward(self, xt, t, **cond):
        answer = super().forward(xt, t, **cond)
        return torch.where(self.broken(xt), torch.full_like(answer, math.nan), answer)

    def broken(self, xt):
        return (xt[:, :1].abs() > 50).expand_as(xt)


def test_a_loss_that_is_not_finite_stops_before_the_weights():
    torch.manual_seed(0)
    model = Breaking(MLP(2, width=8, depth=1), VP())
    data = [torch.randn(6, 2), torch.randn(6, 2), torch.randn(6, 2)]
    data[2][4, 0] = 3000.0
    before = None
    with pytest.raises(DivergedError) as caught:  # noqa: PT012
        for _ in train(model, Diffusion(), data, steps=9):
            before = nn.utils.parameters_to_vector(model.parameters()).clone()
    message = str(caught.value)
    assert "the loss is nan at step 3" in message
    assert "the loss of row 4 is nan at noise level sigma/alpha = " in message
    assert "lower learning_rate" in message
    assert torch.equal(before, nn.utils.parameters_to_vector(model.parameters()))
    level = float(message.split("sigma/alpha = ")[1].split(" ")[0])
    t, _ = Diffusion().times(model.noise, data[2], _streams(2, 6))
    assert level == pytest.approx(float(model.noise.ratio(t.double())[4]), rel=1e-3)


def _streams(step, rows):
    from scorefield.training.loss import streams

    return streams(0, step, 0, rows)


def test_a_row_that_is_not_finite_is_named():
    data = X.clone()
    data[1, 2] = math.inf
    with pytest.raises(DivergedError, match=r"step 1; row 1 of the batch is itself not finite.*remove"):
        list(train(Point(0.0, 0.0, 0.0), square, [data], steps=1, accumulate=2))


def test_a_gradient_that_is_not_finite_stops_too():
    model = Point(1.0, 2.0, 4.0)

    def root(model, x, generator=None):
        return (model(x) - x).abs().sqrt().sum(1)

    with pytest.raises(DivergedError, match=r"the gradient's norm is .* at step 1"):
        list(train(model, root, [X], steps=1))
    assert model.w.tolist() == [1.0, 2.0, 4.0]


def test_memory_that_runs_out_says_what_to_try():
    def greedy(model, x, generator=None):
        return torch.empty(2**52) + square(model, x)

    with pytest.raises(MemoryLimitError, match=r"batch of 64 rows: out of memory; try a batch of 32.*accumulate"):
        list(train(Point(0.0), greedy, [torch.randn(64, 1)], steps=1))

    def wrong(model, x, generator=None):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else") as caught:
        list(train(Point(0.0), wrong, [torch.randn(64, 1)], steps=1))
    assert not isinstance(caught.value, MemoryError)


def test_models_that_mix_rows_are_refused_and_dropout_is_not():
    data = [torch.randn(8, 3)]
    mixing = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(RowsError, match=r"'1' is BatchNorm1d"):
        list(train(mixing, square, data, steps=1))

    class Centred(nn.Linear):
        def forward(self, x):
            return super().forward(x - x.mean(0))

    with pytest.raises(RowsError):
        list(train(Centred(3, 3), square, data, steps=1))
    conditions = [{"x": torch.randn(8, 3), "shift": torch.randn(8, 1)}]
    with pytest.raises(RowsError, match="LossByRow"):
        list(train(Centred(3, 3), lambda m, x, g, *, shift: square(m, x + shift), conditions, steps=1))
    dropping = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    assert len(list(train(dropping, square, data, steps=2))) == 2
    assert dropping.training


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"accumulate": 0},
        {"evaluate_every": -1},
        {"save_every": 0},
        {"warmup": 1.5},
        {"clip": 0.0},
        {"clip": float("nan")},
        {"precision": torch.float16},
    ],
)
def test_numbers_out_of_range_are_named_before_anything_runs(options):
    (name,) = options
    with pytest.raises(RangeError, match=name):
        train(Point(0.0), square, [X], **{"steps": 1, **options})


def test_averages_out_of_range():
    with pytest.raises(RangeError, match="gamma"):
        Power(-1.0)
    with pytest.raises(RangeError, match="decay"):
        Exponential(1.0)


def test_a_model_without_weights_is_refused():
    for model in (nn.Identity(), Point(0.0).requires_grad_(False)):
        with pytest.raises(RangeError, match="parameters to train"):
            train(model, square, [X], steps=1)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (X, DataError, "data.batches"),
        (3, DataError, "wanted batches"),
        ([], DataError, "no more batches"),
        (iter([X, X]), DataError, "no more batches"),
        ([(X, X)], DataError, "{'x': images, 'label': labels}"),
        ([{"y": X}], DataError, "dict"),
        ([X[:0]], ShapeError, "at least one row"),
        ([torch.tensor(1.0)], ShapeError, "at least one row"),
        ([{"x": X, "label": torch.zeros(3)}], ShapeError, "'label' has 3 rows and x has 2"),
    ],
)
def test_data_that_are_no_batches(data, error, words):
    with pytest.raises(error, match=words):
        list(train(Point(0.0, 0.0, 0.0), square, data, steps=3))


def test_a_batch_smaller_than_its_parts_is_refused():
    with pytest.raises(RangeError, match="2 rows cannot be cut into 3 parts"):
        list(train(Point(0.0, 0.0, 0.0), square, [X], steps=1, accumulate=3))


def test_an_objective_that_takes_the_mean_itself_is_refused():
    with pytest.raises(ShapeError, match="one number per example"):
        list(train(Point(0.0, 0.0, 0.0), lambda m, x, g: square(m, x).mean(), [X], steps=1))


def test_fit_takes_what_train_takes():
    assert inspect.signature(fit).parameters == inspect.signature(train).parameters


def test_the_bar_passes_everything_on_and_records_are_json(capsys):
    field = MLP(2, width=8, depth=1)
    options = {"held_out": torch.randn(8, 2), "evaluate_every": 2, "truth": lambda x: -x}
    shown = list(bar(train(field, Denoising(), [torch.randn(4, 2)], steps=4, **options)))
    assert [progress.step for progress in shown] == [1, 2, 3, 4]
    text = capsys.readouterr().err
    assert "4/4" in text
    assert f"held out={shown[-1].held_out.loss:.4g}" in text
    line = json.loads(json.dumps(shown[1].record(), allow_nan=False))
    assert line["held_out"] == {"0": shown[1].held_out.loss}
    assert line["fisher"] == {"0": shown[1].held_out.fisher[0.0]}
    assert "held_out" not in shown[0].record()


def test_trainings_with_dropout_in_two_threads_are_those_of_one():
    def weights(seed):
        with seeded(seed):
            model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        x = torch.ones(64, 2)
        fit(model, lambda model, x, generator: (model(x) - x).square().sum(1), batches(x, 32), steps=60, seed=seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    alone = [weights(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weights, range(4)))
    assert all(map(torch.equal, alone, together))
