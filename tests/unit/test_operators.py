"""Linear operators: transposes, singular vectors and regularised inverses, each against the dense matrix."""

import math

import pytest
import torch

from scorefield.describe import build, describe
from scorefield.errors import DataError, LawError, RangeError, ShapeError
from scorefield.guidance import Blur, Downsample, Linear, Mask, Matrix, Measurement, Operator, require_transpose
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
IMAGE = (2, 6, 4)


def draws(*shape, seed=0):
    return normal(torch.empty(*shape, **D), Streams(seed, range(shape[0])))


SEEN = draws(*IMAGE, seed=3) > 0
KERNEL = torch.tensor([[0.0, 0.1, 0.0], [0.3, 0.4, 0.05], [0.0, 0.1, 0.05]], **D)
OPERATORS = {
    "mask": Mask(SEEN),
    "downsample": Downsample(2, IMAGE),
    "blur": Blur(KERNEL, IMAGE),
    "matrix": Matrix(draws(3, 5)),
    "tall": Matrix(draws(7, 5)),
    "deficient": Matrix(draws(5, 1) @ draws(1, 6, seed=1)),
    "linear": Linear(lambda x: x.flip(1).diff(dim=-1), IMAGE),
    "composed": Downsample(2, IMAGE) @ Blur(KERNEL, IMAGE),
}
each = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())


def dense(operator):
    size = math.prod(operator.shape)
    return operator(torch.eye(size, **D).reshape(size, *operator.shape)).flatten(1).T


@each
def test_the_transpose_is_the_transpose(operator):
    require_transpose(operator)
    y = draws(4, *operator.observed)
    torch.testing.assert_close(operator.transpose(y).flatten(1), y.flatten(1) @ dense(operator))


@each
def test_the_singular_vectors_are_orthonormal_and_give_the_operator_back(operator):
    x = draws(4, *operator.shape)
    coordinates = operator.right(x)
    torch.testing.assert_close(operator.spread(coordinates), x)
    torch.testing.assert_close(coordinates.norm(dim=1), x.flatten(1).norm(dim=1))
    torch.testing.assert_close(operator.left(operator(x)), operator.values * coordinates, atol=1e-9, rtol=1e-9)
    assert operator.rank == int(torch.linalg.matrix_rank(dense(operator)))


@each
def test_solve_is_the_regularised_inverse_a_ridge_for_each_row(operator):
    y, matrix = draws(3, *operator.observed), dense(operator)
    for ridge in (0.3, torch.tensor([0.1, 1.0, 5.0], **D)):
        ridges = torch.as_tensor(ridge, **D).expand(3)
        gram = matrix @ matrix.T
        wanted = [
            matrix.T @ torch.linalg.solve(gram + r * torch.eye(len(gram), **D), v.flatten()) for v, r in zip(y, ridges)
        ]
        torch.testing.assert_close(operator.solve(y, ridge).flatten(1), torch.stack(wanted))
    inverse = torch.linalg.pinv(matrix, rtol=1e-6)
    torch.testing.assert_close(operator.solve(y).flatten(1), y.flatten(1) @ inverse.T)


def test_operators_say_what_they_do_in_numbers():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Downsample(2, (1, 4, 4))(image).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    right = torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(Blur(right, (1, 4, 4))(image)[0, 0, 1], torch.tensor([5.0, 6.0, 7.0, 0.0]))
    assert Mask(torch.tensor([1, 0, 1]))(torch.tensor([[7.0, 8.0, 9.0]])).tolist() == [[7.0, 9.0]]


def test_a_function_of_its_own_precision_is_examined_in_it():
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    single = Linear(lambda x: x @ weights.T, (4,))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.solve(single(torch.ones(1, 4))), single.solve((weights @ torch.ones(4))[None]))


def test_operators_are_described_and_built():
    again = build(describe(Downsample(2, IMAGE) @ Blur(KERNEL, IMAGE)))
    x = draws(2, *IMAGE)
    torch.testing.assert_close(again(x), OPERATORS["composed"](x))


class Mirrored(Operator):
    """A blur whose transpose forgets to turn the kernel over: what many codes have, since most kernels are symmetric."""

    shape = observed = IMAGE

    def __call__(self, x):
        return OPERATORS["blur"](x)

    def transpose(self, y):
        return OPERATORS["blur"](y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: require_transpose(Mirrored()),
        lambda: Measurement(Mirrored(), torch.zeros(IMAGE), 0.1),
        lambda: Linear(
            lambda x: x @ torch.ones(4, 3, dtype=x.dtype), (4,), adjoint=lambda y: -y @ torch.ones(3, 4, dtype=y.dtype)
        ),
        lambda: Linear(lambda x: x**2, (4,)),
        lambda: Linear(lambda x: x.tanh(), (4,)),
        lambda: Linear(lambda x: x + 1, (4,)),
        lambda: Linear(lambda x: x - x.mean(0), (4,)),
    ],
    ids=["mirrored", "measured", "sign", "square", "tanh", "affine", "mixes rows"],
)
def test_what_is_no_transpose_is_refused_with_two_numbers(make):
    with pytest.raises(LawError, match=r"<A x, y> = .* but <x, A'y> = .*"):
        make()


def test_bad_operators_and_observations_say_what_is_wanted():
    nan = torch.tensor([1.0, float("nan")])
    with pytest.raises(DataError, match="Mask: 1 of 2 entries are not finite"):
        Mask(nan)
    with pytest.raises(RangeError, match="wanted 0 or 1"):
        Mask(torch.tensor([0.5, 1.0]))
    with pytest.raises(RangeError, match="nothing is seen"):
        Mask(torch.zeros(3))
    with pytest.raises(ShapeError, match="divides height and width"):
        Downsample(4, IMAGE)
    with pytest.raises(ShapeError, match="odd sides"):
        Blur(torch.ones(2, 3), IMAGE)
    with pytest.raises(DataError, match="Blur"):
        Blur(torch.full((3, 3), float("inf")), IMAGE)
    with pytest.raises(DataError, match="Matrix"):
        Matrix(nan[None])
    with pytest.raises(ShapeError, match="the first observes"):
        Matrix(torch.ones(1, 3)) @ Mask(torch.tensor([True, True, False]))
    with pytest.raises(ShapeError, match=r"Matrix of events \(5,\) got x"):
        OPERATORS["matrix"](torch.zeros(2, 4, **D))
    with pytest.raises(ShapeError, match=r"observes \(3,\)"):
        OPERATORS["matrix"].transpose(torch.zeros(2, 4, **D))
    with pytest.raises(RangeError, match="too large for a singular value decomposition"):
        Blur(KERNEL, (3, 64, 64)).solve(torch.zeros(1, 3, 64, 64))


def test_bad_measurements_say_what_is_wanted():
    mask = Mask(torch.tensor([True, False, True]))
    with pytest.raises(ShapeError, match=r"y of shape \(3,\); the operator returns \(2,\)"):
        Measurement(mask, torch.zeros(3), 0.1)
    with pytest.raises(DataError, match="1 of 2 entries are not finite"):
        Measurement(mask, torch.tensor([0.0, float("nan")]), 0.1)
    with pytest.raises(RangeError, match="std=-1"):
        Measurement(mask, torch.zeros(2), -1.0)
    with pytest.raises(RangeError, match="no density without noise"):
        Measurement(mask, torch.zeros(2), 0.0)(torch.zeros(1, 3))
    ones = Matrix(torch.ones(2, 1))
    Measurement(ones, torch.tensor([1.0, 1.0]), 0.0)
    Measurement(ones, torch.tensor([1.0, 1.2]), 0.1)
    with pytest.raises(RangeError, match="outside the operator's range"):
        Measurement(ones, torch.tensor([1.0, 1.2]), 0.0)
    with pytest.raises(RangeError, match="outside the operator's range"):
        Measurement(ones, torch.tensor([1.0, 5.0]), 0.1)


def test_the_log_likelihood_is_that_of_the_noise():
    seen = Measurement(OPERATORS["matrix"], draws(1, 3, seed=5)[0], 0.7)
    x = draws(4, 5, seed=6)
    wanted = torch.distributions.Normal(OPERATORS["matrix"](x), 0.7).log_prob(seen.y).sum(1)
    torch.testing.assert_close(seen(x), wanted)
