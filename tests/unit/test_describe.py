"""Objects survive the way through JSON, and descriptions can name trusted code only."""

import json
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import nn

from scorefield.describe import build, describe
from scorefield.errors import RangeError

HERE = ("scorefield", __name__.partition(".")[0])


@dataclass(frozen=True)
class Level:
    low: float
    high: float = float("inf")
    names: tuple[str, ...] = ()
    count: int = field(default=3, kw_only=True)


class Block(nn.Module):
    def __init__(self, level, *widths, act=nn.functional.silu, **cond):
        super().__init__()
        self.level, self.widths, self.act, self.cond = level, widths, act, cond
        self.layer = nn.Linear(2, 2)


class Forgetful(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)


class Strict:
    def __init__(self, a, /, b=2, *, c=3):
        self.a, self.b, self.c = a, b, c


def double(x):
    return 2 * x


def again(obj, trust=HERE):
    return build(json.loads(json.dumps(describe(obj), allow_nan=False)), trust)


PLAIN = [None, True, 3, 0.1, "a", [1, (2, [3])], {"x": {"tuple": 1}}, float("-inf"), (), torch.float64, double, Level]


@pytest.mark.parametrize("obj", PLAIN, ids=lambda obj: getattr(obj, "__name__", None) or repr(obj))
def test_plain_values_come_back_equal(obj):
    back = again(obj)
    assert back == obj
    assert type(back) is type(obj)


def test_nan_comes_back():
    assert again(float("nan")) != again(float("nan"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_come_back_bit_for_bit(dtype):
    x = torch.tensor([[0.1, float("inf")], [1e-30, -3.0]]).nan_to_num(
        posinf=float("inf") if dtype.is_floating_point else 7
    )
    back = again(x.to(dtype))
    assert back.dtype == dtype
    assert torch.equal(back, x.to(dtype))
    assert again(torch.tensor(2.5)).shape == ()
    assert again(torch.empty(0, 3)).shape == (0, 3)


def test_objects_come_back_with_every_kind_of_argument():
    block = Block(
        Level(0.5, names=("a",), count=4), 8, 16, act=partial(torch.nn.functional.leaky_relu, negative_slope=0.2), k=1
    )
    back = again(block)
    assert back.level == block.level
    assert back.widths == (8, 16)
    assert back.cond == {"k": 1}
    assert back.act(torch.tensor(-1.0)) == torch.tensor(-0.2)
    assert describe(back) == describe(block)
    strict = again(Strict(5, c=7))
    assert (strict.a, strict.b, strict.c) == (5, 2, 7)


def test_an_omitted_argument_keeps_its_default():
    plain = describe(Strict(5, c=7))
    del plain["arguments"]["b"]
    assert build(plain, HERE).b == 2


def test_an_argument_that_is_not_kept_is_named():
    with pytest.raises(RangeError, match=r"Forgetful.*'width'.*not kept as the attribute \.width"):
        describe(Forgetful(3))


@pytest.mark.parametrize("obj", [lambda x: x, object(), {1: 2}, open])
def test_what_has_no_name_is_refused(obj):
    with pytest.raises(RangeError):
        build(describe(obj))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "scorefield.describe.importlib.import_module",  # found in a trusted module, defined elsewhere
        "scorefield.describe.torch.hub.load",
        "torch.nn.functional.torch.load",
        "torch.nn.functional.importlib",
        "scorefield.describe",  # a module, not a function
        "scorefield.describe.nothing",
        "scorefield",
        "scorefieldish.thing",
        "",
    ],
)
def test_only_trusted_code_is_named(name):
    with pytest.raises(RangeError):
        build({"object": name, "arguments": {}})
    with pytest.raises(RangeError):
        build({"partial": {"function": name}, "args": [], "keywords": {}})


def test_trust_is_by_package_and_the_error_says_how():
    plain = describe(Level(1.0))
    with pytest.raises(RangeError, match=r"pass trust=\('scorefield', '.*test_describe"):
        build(plain)
    with pytest.raises(RangeError, match="not trusted"):
        build(plain, trust="scorefield_and_" + HERE[1])  # one name, not a collection of letters


@pytest.mark.parametrize("plain", [{"objekt": 1}, {"dtype": "load"}, {"object": "a", "arguments": 3}, {}])
def test_other_data_are_refused(plain):
    with pytest.raises(RangeError):
        build(plain)


def test_an_unknown_argument_is_named():
    plain = describe(Level(1.0))
    plain["arguments"]["middle"] = 1
    with pytest.raises(RangeError, match="no argument 'middle'"):
        build(plain, HERE)


def test_a_class_that_moved_within_its_package_is_found_where_the_package_exports_it():
    from scorefield.calculus import Exact
    from scorefield.samplers import Multistep

    old = {"object": "scorefield.samplers.flow.Multistep", "arguments": {"points": 2}}
    assert build(old) == Multistep(2)
    assert build({"object": "scorefield.calculus.Exact", "arguments": {}}) == Exact()
    with pytest.raises(RangeError, match="no class or function"):
        build({"object": "scorefield.samplers.flow.Nothing", "arguments": {}})
