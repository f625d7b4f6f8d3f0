"""Few-step objectives against the closed form of a Gaussian: exact jumps have no loss, wrong ones have."""

import math

import pytest
import torch
from torch import nn

from scorefield import samplers
from scorefield.distillation import (
    ConsistencyDistillation,
    ConsistencyTraining,
    Critic,
    Neighbours,
    Progressive,
    Renoise,
    TrajectoryDistillation,
    ddim,
    heun,
    lognormal,
    nodes,
    pseudo_huber,
    squared,
    trajectories,
)
from scorefield.errors import RangeError, ShapeError
from scorefield.exact import Gaussian
from scorefield.grids import karras, logsnr
from scorefield.laws import Units, require_own_draws
from scorefield.models import Denoiser, Preconditioned, edm
from scorefield.networks import MLP
from scorefield.noises import EDM, VP, Rectified
from scorefield.samplers import Ancestral, Heun
from scorefield.sampling import sample
from scorefield.tensors import Streams, expand, normal
from scorefield.training import train

D = {"dtype": torch.float64}
MEAN, STD = torch.tensor([-0.6, 0.2, 0.7], **D), torch.tensor([0.4, 0.8, 1.3], **D)
KNOWN = Gaussian(MEAN, (STD**2).diag())
NOISES = [VP(), EDM(80.0), Rectified()]


def path(noise, x, t, s):
    """The exact flow of the Gaussian from t to s."""
    (at, st), (as_, ss) = noise.at(t, x), noise.at(s, x)
    return as_ * MEAN + ((as_ * STD) ** 2 + ss**2).sqrt() / ((at * STD) ** 2 + st**2).sqrt() * (x - at * MEAN)


class Jump(Denoiser):
    """m + (s²/(α²s² + σ²))^{c/2} (x_t − α m): the consistency function at c = 1, and itself at t = 0 for every c."""

    def __init__(self, noise, power=1.0):
        super().__init__()
        self.noise, self.power = noise, power

    def forward(self, xt, t, **cond):
        alpha, sigma = self.noise.at(t, xt)
        power = expand(torch.as_tensor(self.power, **D), xt)
        return MEAN + (STD**2 / ((alpha * STD) ** 2 + sigma**2)) ** (power / 2) * (xt - alpha * MEAN)


def rows(n, seed=0):
    return KNOWN.sample(n, Streams(seed, range(n)))


def slopes(objective, noise, power, n=4000):
    """d loss / d power of every row."""
    each = torch.full((n,), power, **D, requires_grad=True)
    objective(Jump(noise, each), rows(n), Streams(1, range(n))).sum().backward()
    return each.grad


def exact_step(model, xt, t, s, **cond):
    return path(model.noise, xt, t, s)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
def test_the_jump_of_a_gaussian_has_no_distillation_loss_on_its_own_paths_and_others_have(noise):
    objective = ConsistencyDistillation(KNOWN.denoiser(noise), Neighbours(karras(noise, 6)), squared, step=exact_step)
    x, draws = rows(500), lambda: Streams(2, range(500))
    assert float(objective(Jump(noise), x, draws()).abs().max()) < 1e-20
    for wrong in (Jump(noise, 1.1), Jump(noise, -1.0), KNOWN.denoiser(noise)):
        assert float(objective(wrong, x, draws()).mean()) > 1e-5


@pytest.mark.parametrize(("step", "order"), [(ddim, 1), (heun, 2)])
def test_the_distillation_loss_of_the_true_jump_falls_with_the_order_of_the_teachers_step(step, order):
    noise, x = VP(), rows(2000)

    def gap(count):
        times = torch.cat([logsnr(noise, count, ceiling=4.0, floor=0.3)[:-1], torch.zeros(1, **D)])
        p = torch.cat([torch.ones(count - 1), torch.zeros(1)])  # not the last interval, which stays as long as it is
        objective = ConsistencyDistillation(KNOWN.denoiser(noise), Neighbours(times, p), squared, step=step)
        return float(objective(Jump(noise), x, Streams(2, range(2000))).mean())

    measured = 0.5 * math.log(gap(17) / gap(33), 2)  # a squared error of one step: order + 1
    assert abs(measured - (order + 1)) < 0.2


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
def test_consistency_training_is_stationary_at_the_true_jump_and_pushes_back_from_either_side(noise):
    times = logsnr(noise, 40, ceiling=20.0, floor=0.05)
    objective = ConsistencyTraining(Neighbours(times, lognormal(noise, times, mean=0.0)), squared, weight=1.0)
    at = slopes(objective, noise, 1.0)
    error = float(at.std()) / len(at) ** 0.5
    above, below = slopes(objective, noise, 1.15).mean(), slopes(objective, noise, 0.85).mean()
    assert float(above) > 0 > float(below)
    assert abs(float(at.mean())) < 5 * error + 0.15 * float(above - below)  # O(level spacing), against a whole slope


def test_consistency_training_with_fresh_noise_for_the_second_level_is_seen():
    class Fresh(ConsistencyTraining):
        def earlier(self, model, x, z, xt, t, s, **cond):
            alpha, sigma = model.noise.at(s, x)
            return alpha * x + sigma * normal(x, Streams(9, range(len(x))))

    noise = VP()
    pairs = Neighbours(logsnr(noise, 40, ceiling=20.0, floor=0.05))
    right, wrong = (
        kind(pairs, squared)(Jump(noise), rows(2000), Streams(2, range(2000))) for kind in (ConsistencyTraining, Fresh)
    )
    assert float(wrong.mean()) > 10 * float(right.mean())


class Linear(Denoiser):
    """x̂ = m + k(t) (x_t − α m) with the gains that one step of a halved grid needs."""

    def __init__(self, noise, times, factor=1.0):
        super().__init__()
        self.noise, self.times, self.factor = noise, times, factor

    def forward(self, xt, t, **cond):
        n = (self.times[::2] == t[:, None]).int().argmax(1)
        t, m, s = self.times[2 * n], self.times[2 * n + 1], self.times[2 * n + 2]
        (at, st), (am, sm), (as_, ss) = (self.noise.at(each, xt) for each in (t, m, s))

        def through(a, b, a2, b2):
            return b2 / b + (a2 - a * b2 / b) * a * STD**2 / ((a * STD) ** 2 + b**2)

        gain = through(at, st, am, sm) * through(am, sm, as_, ss)
        return MEAN + self.factor * (gain - ss / st) / (as_ - at * ss / st) * (xt - at * MEAN)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
def test_a_student_whose_step_is_two_of_its_teachers_has_no_progressive_loss(noise):
    times, x = karras(noise, 8), rows(500)
    teacher = KNOWN.denoiser(noise)
    objective = Progressive(teacher, times)
    right, wrong = (Linear(noise, times, factor) for factor in (1.0, 1.05))
    losses = objective(right, x, Streams(0, range(500)))
    assert losses.shape == (500,)
    assert float(losses.max()) < 1e-9
    assert float(objective(wrong, x, Streams(0, range(500))).mean()) > 1e-4
    assert float(objective(teacher, x, Streams(0, range(500))).mean()) > 1e-4
    # and walked, four steps of the student are the eight of the teacher
    start = noise.prior(x[:5], Streams(1, range(5)))
    *_, slow = Ancestral(eta=0.0).walk(teacher, start, times)
    *_, fast = Ancestral(eta=0.0).walk(Stretched(right), start, objective.student_times)
    torch.testing.assert_close(fast.x, slow.x)


class Stretched(Denoiser):
    """A denoiser of rows with times of their own, asked at one time for all."""

    def __init__(self, model):
        super().__init__()
        self.model, self.noise = model, model.noise

    def forward(self, xt, t, **cond):
        return self.model(xt, t.expand(len(xt)), **cond)


def test_the_progressive_loss_is_the_truncated_signal_to_noise_ratio_times_half_the_square():
    noise, times = EDM(80.0), karras(EDM(80.0), 8)
    teacher, right = KNOWN.denoiser(noise), Linear(noise, times)

    class Off(Linear):
        def forward(self, xt, t, **cond):
            self.seen = t
            return super().forward(xt, t, **cond) + 1.0

    off = Off(noise, times)
    losses = Progressive(teacher, times)(off, rows(50), Streams(0, range(50)))
    torch.testing.assert_close(losses, 1.5 * (noise.ratio(off.seen) ** -2).clamp(min=1), rtol=1e-6, atol=1e-6)
    assert right.factor == 1.0


def walks(noise, n):
    """Batches of the exact flow: states at two times, and the end."""
    times = torch.tensor([1.0, float(noise.time(torch.tensor(1.0))), 0.0], **D)
    start = noise.prior(rows(n), Streams(4, range(n)))
    path_ = torch.stack([start, path(noise, start, times[0], times[1])], 1)
    return Neighbours(times), {"x": path(noise, start, times[0], times[2]), "path": path_}


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
def test_the_jump_of_a_gaussian_has_no_regression_loss_on_kept_walks_and_others_have(noise):
    starts, batch = walks(noise, 200)
    objective = TrajectoryDistillation(starts, distance=squared)

    def loss(model):
        return objective(model, batch["x"], Streams(0, range(200)), path=batch["path"])

    assert loss(Jump(noise)).shape == (200,)
    assert float(loss(Jump(noise)).max()) < 1e-20
    for wrong in (Jump(noise, 1.1), KNOWN.denoiser(noise)):
        assert float(loss(wrong).mean()) > 1e-4


def test_kept_walks_are_those_of_the_sampler_row_by_row():
    noise = EDM(80.0)
    teacher, times = KNOWN.denoiser(noise), karras(noise, 12)
    kept = nodes(teacher, times, (80.0, 2.0, 0.1))
    found = trajectories(teacher, Heun(), times, kept, torch.empty(5, 3, **D), chunk=2, seed=3, label=torch.arange(5))
    alone = trajectories(teacher, Heun(), times, kept, torch.empty(2, 3, **D), seed=3, label=torch.arange(2))
    assert all(
        torch.allclose(alone[name].double(), found[name][:2].double(), rtol=1e-3) for name in ("x", "path", "label")
    )
    *_, last = Heun().walk(teacher, found["path"][:, 0].double(), times)
    torch.testing.assert_close(last.x, found["x"], atol=2e-2, rtol=2e-2)  # the start was kept in half precision
    seen = (noise.ratio(times[kept]).log() - torch.tensor([80.0, 2.0, 0.1], **D).log()).abs()
    assert (seen <= times[:-1].log().diff().abs().max() / 2 + 1e-9).all()


class Slope(nn.Module):
    """D(x) = w·x with one feature, x itself."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 0.0, 0.0], **D))

    def forward(self, x, **cond):
        return x @ self.w, [x]


def game(adversarial=0.0, features=0.0, penalty=0.0, power=1.3):
    """(loss per row, gradient at the student's answer, gradient at the critic) of one part of the game."""
    noise = EDM(80.0)
    starts, batch = walks(noise, 50)
    answer = Jump(noise, power)(batch["path"][:, 0], torch.tensor(1.0)).detach().requires_grad_()

    class Fixed(Denoiser):
        def forward(self, xt, t, **cond):
            return answer

    model = Fixed()
    model.noise = noise
    critic = Slope()
    objective = TrajectoryDistillation(
        starts, critic, lambda a, b: torch.zeros(len(a), **D) * a.sum(), adversarial, features, penalty
    )
    losses = objective(model, batch["x"], Streams(0, range(50)), path=batch["path"])
    losses.sum().backward()
    return losses.detach() / 3, answer.grad / 3, critic.w.grad / 3, answer.detach(), batch["x"], critic.w.detach()


def test_the_critic_raises_what_the_student_climbs():
    losses, student, critic, y, x, w = game(adversarial=2.0)
    softplus, sigmoid = nn.functional.softplus, torch.sigmoid
    wanted = 2 * softplus(-y @ w) + softplus(-x @ w) + softplus(y @ w)
    torch.testing.assert_close(losses, wanted)
    torch.testing.assert_close(student, -2 * sigmoid(-y @ w)[:, None] * w)  # down its loss is up the critic
    torch.testing.assert_close(critic, (sigmoid(y @ w)[:, None] * y - sigmoid(-x @ w)[:, None] * x).sum(0))


def test_features_are_compared_with_those_of_the_same_walk_and_the_slope_is_penalised():
    plain, _, before, y, x, w = game()
    losses, student, critic, *_ = game(features=1.5)
    torch.testing.assert_close(losses - plain, 1.5 * (y - x).abs().mean(1))
    torch.testing.assert_close(student, 1.5 * (y - x).sign() / 3)
    torch.testing.assert_close(critic, before)  # the student's losses do not move the critic
    losses, student, critic, *_ = game(penalty=0.4)
    torch.testing.assert_close(losses - plain, torch.full((50,), 0.2 * float(w @ w), **D))
    torch.testing.assert_close(critic - before, 50 * 0.4 * w)
    assert not student.any()


def test_the_critic_judges_each_image_alone_with_its_label():
    critic = Critic(2, 9, width=4, classes=3)
    x = normal(torch.empty(4, 2, 9, 9), Streams(0, range(4)))
    label = torch.tensor([0, 1, 2, 0])
    logit, features = critic(x, label)
    assert torch.allclose(critic(x[1:3], label[1:3])[0], logit[1:3], atol=1e-6)
    assert not torch.allclose(critic(x, label.roll(1))[0], logit)
    assert torch.equal(critic(x)[0], critic(x, torch.full((4,), 3))[0])
    assert [len(each) for each in features] == [4] * 4


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_renoising_an_exact_jump_has_the_exact_law_after_any_number_of_steps_and_a_denoiser_has_not(steps):
    noise, sampler = EDM(80.0), Renoise((80.0, 4.0, 1.2, 0.4))

    def law(model):
        times = sampler.times(model, steps)
        counter = Units(None)
        list(sampler.walk(model, torch.zeros(1, 3, **D), times, counter))
        x = MEAN.repeat(2 + counter.count, 1)
        x[1] += ((STD**2) + 80.0**2).sqrt()
        *_, last = sampler.walk(model, x, times, Units(2))
        return last.x[0], (last.x[1:] - last.x[0]).norm(dim=0)

    mean, std = law(Jump(noise))
    torch.testing.assert_close(mean, MEAN)
    torch.testing.assert_close(std, STD)
    assert (law(KNOWN.denoiser(noise))[1] < 0.95 * STD).all()


def test_renoise_starts_from_the_first_level_and_leaves_levels_out_evenly():
    sampler, model = Renoise((80.0, 4.0, 1.2, 0.4)), KNOWN.denoiser(EDM(80.0))
    grids = {n: [round(80 * float(t), 6) for t in sampler.times(model, n)] for n in (1, 2, 3, 4)}
    assert grids == {1: [80, 0], 2: [80, 1.2, 0], 3: [80, 4, 1.2, 0], 4: [80, 4, 1.2, 0.4, 0]}
    with pytest.raises(RangeError, match="5 steps, from 4 levels"):
        sampler.times(model, 5)
    nothing = KNOWN.denoiser(EDM(80.0))
    nothing.noise = None
    with pytest.raises(ShapeError, match="has no noise"):
        sampler.times(nothing, 1)
    drawn = sample(model, 3, steps=2, sampler=sampler)
    torch.testing.assert_close(drawn[:2], sample(model, 2, steps=2, sampler=sampler))


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
def test_a_teachers_step_is_that_of_the_sampler_for_each_row(noise):
    t, s = torch.tensor([0.9, 0.5], **D), torch.tensor([0.6, 0.0], **D)
    model, x = KNOWN.denoiser(noise), rows(2)
    for mine, sampler in ((ddim, Ancestral(eta=0.0)), (heun, Heun())):
        there = mine(model, x, t, s)
        for k in range(2):
            wanted, _ = sampler.step(model, x[k : k + 1], t[k], s[k], samplers.Past(), None)
            torch.testing.assert_close(there[k : k + 1], wanted)


def objectives(noise):
    teacher = KNOWN.denoiser(noise)
    pairs = Neighbours(karras(noise, 8))
    return [
        ConsistencyDistillation(teacher, pairs),
        ConsistencyTraining(pairs, weight=1.0),
        Progressive(teacher, karras(noise, 8)),
    ]


@pytest.mark.parametrize("objective", objectives(VP()), ids=lambda o: type(o).__name__)
def test_every_objective_draws_from_its_generator_and_row_by_row(objective):
    x = rows(5)
    require_own_draws(objective, lambda g, chosen: objective(KNOWN.denoiser(VP()), x[chosen], g).detach(), 5)


def test_distillation_from_walks_draws_from_its_generator_and_row_by_row():
    starts, batch = walks(VP(), 5)
    objective = TrajectoryDistillation(starts, Slope())

    def losses(generator, chosen):
        return objective(Jump(VP(), 0.7), batch["x"][chosen], generator, path=batch["path"][chosen]).detach()

    require_own_draws(objective, losses, 5)


def test_neighbours_are_visited_as_often_as_they_should_be():
    noise, n = EDM(80.0), 8000
    times = karras(noise, 10)
    p = lognormal(noise, times)
    assert abs(float(p.sum()) - 1) < 0.02  # what lies above σ = 80 is missing
    x = torch.empty(n, 1)
    for probabilities, wanted in ((None, torch.full((10,), 0.1, **D)), (p, p / p.sum())):
        t, s = Neighbours(times, probabilities)(x, Streams(0, range(n)))
        number = (times[:-1] == t[:, None]).int().argmax(1)
        torch.testing.assert_close(s, times[number + 1])
        share = torch.bincount(number, minlength=10) / n
        assert ((share - wanted).abs() <= 5 * (wanted * (1 - wanted) / n).sqrt() + 1e-9).all()


def test_pseudo_huber_is_between_the_square_and_the_norm():
    a, b = rows(4), rows(4, seed=1)
    gap = (a - b).norm(dim=1)
    torch.testing.assert_close(pseudo_huber(a, b, 1e-7), gap, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pseudo_huber(a, b, 1e4) * 1e4 * 3**0.5, squared(a, b), rtol=1e-4, atol=1e-6)


def small(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Preconditioned(MLP(2, 8, 1), EDM(10.0), edm)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x, **cond):
        return self.layer(x)[:, 0], [x]


def flat():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Flat()


@pytest.mark.parametrize("kind", range(4))
def test_distillation_continues_bit_for_bit(kind):
    data = [{"x": torch.randn(8, 2, generator=torch.Generator().manual_seed(k))} for k in range(3)]
    if kind == 3:
        data = [{**batch, "path": batch["x"][:, None].repeat(1, 8, 1)} for batch in data]
    pairs = Neighbours(karras(EDM(10.0), 8))

    def objective():
        return [
            lambda: ConsistencyDistillation(small(), pairs),
            lambda: ConsistencyTraining(pairs),
            lambda: Progressive(small(), karras(EDM(10.0), 8)),
            lambda: TrajectoryDistillation(pairs, flat()),
        ][kind]()

    def end(model, **how):
        *_, last = train(model, objective(), data, steps=6, **how)
        return last

    whole, states = end(small(1)), []
    for progress in train(small(1), objective(), data, steps=6, save=states.append):
        if progress.step == 3:
            break
    continued = end(small(2), state=states[-1])
    assert continued.step == 6
    for mine, theirs in ((continued.model, whole.model), (continued.average, whole.average)):
        for a, b in zip(mine.parameters(), theirs.parameters()):
            assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), small(1).parameters()))


def test_the_number_of_levels_grows_by_continuing_with_the_next_objective():
    data, states = [torch.ones(8, 2)], []
    for progress in train(
        small(), ConsistencyTraining(Neighbours(karras(EDM(10.0), 4))), data, steps=6, save=states.append
    ):
        if progress.step == 3:
            break
    finer = ConsistencyTraining(Neighbours(karras(EDM(10.0), 8)))
    assert [p.step for p in train(small(), finer, data, steps=6, state=states[-1])] == [4, 5, 6]


def test_a_preconditioned_network_is_the_identity_at_time_zero():
    model, x = small(), torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(next(model.parameters()))
    assert torch.equal(model(x, torch.tensor(0.0)), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Neighbours(torch.tensor([1.0, 0.5])), "descend from at most 1 to 0"),
        (lambda: Neighbours(torch.tensor([0.5, 1.0, 0.0])), "descend from at most 1 to 0"),
        (lambda: Neighbours(torch.tensor([1.0, 0.0]), torch.ones(2)), "one number per interval"),
        (lambda: Progressive(KNOWN.denoiser(VP()), karras(VP(), 7)), "cannot be halved"),
        (lambda: ConsistencyTraining(Neighbours(karras(VP(), 4)), weight=2.0), "weight must lie"),
        (lambda: TrajectoryDistillation(Neighbours(karras(VP(), 4)), penalty=-1.0), "at least 0"),
        (lambda: Critic(1, 0), "at least 1"),
        (lambda: nodes(KNOWN.denoiser(VP()), karras(VP(), 4), (1.0, 2.0)), "must descend"),
        (lambda: lognormal(VP(), karras(VP(), 4), std=0.0), "std must be positive"),
        (lambda: Renoise((1.0, 2.0)), "descending"),
        (lambda: Renoise(()), "descending"),
    ],
)
def test_bad_numbers_are_refused(make, words):
    with pytest.raises(RangeError, match=words):
        make()


def test_paths_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="a state for each of the times"):
        TrajectoryDistillation(Neighbours(karras(VP(), 4)))(Jump(VP()), rows(3), path=torch.ones(3, 3, 3, **D))
