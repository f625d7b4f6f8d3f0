"""One forward pass that carries the Jacobian along: for networks of linear layers and elementwise functions.

    h = W x + b         J ↦ W J
    h = φ(x)            J ↦ diag(φ'(x)) J
    h = a ∘ b           J ↦ diag(b) J_a + diag(a) J_b

x goes through the field as a `Jet`, a tensor that knows its Jacobian and whose operations follow these rules. An operation
without a rule, or one that would hide part of the derivative, ends the attempt, and the caller takes another way.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..spaces import Euclidean, Space
from .base import Field, Numbers, Values
from .jacobian import Jacobian, Shared, Unsupported, added, mapped, scaled
from .probes import basis


class Carrier(Tensor):
    """A tensor (batch, width) that carries derivatives by x along, by the ``rules`` of its class.

    ``keep`` is whether its numbers keep derivatives of their own.
    """

    rules: ClassVar[dict[Callable, Callable]]
    plain: Float[Tensor, "batch width"]
    keep: bool

    @classmethod
    def carrying(cls, plain: Tensor, keep: bool) -> Any:
        """The tensor itself, before what it carries."""
        each = Tensor._make_wrapper_subclass(cls, plain.shape, dtype=plain.dtype, device=plain.device)  # type: ignore[attr-defined]
        each.plain, each.keep = plain, keep
        return each

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if func in READ:
            return func(*(_plain(arg) for arg in args), **{key: _plain(arg) for key, arg in kwargs.items()})
        rule = cls.rules.get(func)
        if rule is None:
            raise Unsupported(func)
        carriers = [arg for arg in _flat(args) if isinstance(arg, Carrier)]
        if not all(type(each) is cls for each in carriers) or any(
            isinstance(each, Carrier) for each in kwargs.values()
        ):
            raise Unsupported(func)
        if not carriers or not torch.is_grad_enabled():
            raise Unsupported(func)  # gradients are off where a function has a derivative of its own, or wants none
        with torch.set_grad_enabled(carriers[0].keep):
            return rule(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None) -> Any:  # type: ignore[override]
        raise Unsupported(func)  # something went around the rules


class Jet(Carrier):
    """A tensor (batch, width) with its Jacobian by x."""

    jacobian: Jacobian

    @staticmethod
    def of(plain: Tensor, jacobian: Jacobian, keep: bool) -> "Jet":
        """The jet of a tensor."""
        jet = Jet.carrying(plain, keep)
        jet.jacobian = jacobian
        return jet


def divergence(f: Field, x: Values, space: Space) -> tuple[Values, Numbers] | None:
    """(f(x), tr(P Df P)) by one forward pass, or None where f has an operation without a rule.

    Raises: ShapeError if f changes the shape of x.

    >>> from scorefield.spaces import Euclidean
    >>> divergence(torch.tanh, torch.zeros(1, 3), Euclidean())
    (tensor([[0., 0., 0.]]), tensor([3.]))
    """
    if x.ndim != 2:
        return None
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    keep = torch.is_grad_enabled()
    try:
        with torch.enable_grad():
            y = f(Jet.of(x, Shared(eye), keep))
        if isinstance(y, Jet) and y.shape == x.shape:
            return y.plain, _trace(y.jacobian, x, space)
    except (Unsupported, RuntimeError, TypeError):  # errors of the field itself come again on the other way
        return None
    if y.shape != x.shape:
        raise ShapeError(
            f"divergence of {f}: it maps {tuple(x.shape)} to {tuple(y.shape)}; a field keeps the shape of x."
        )
    return (y if keep else y.detach()), x.new_zeros(len(x))


def _trace(jacobian: Jacobian, x: Values, space: Space) -> Numbers:
    if isinstance(space, Euclidean):
        return jacobian.trace(torch.eye(x.shape[1], dtype=x.dtype, device=x.device)).expand(len(x))
    v = torch.stack([space.tangent(x, each) for each in basis(x)])
    return torch.einsum("kbi,bio,kbo->b", v, jacobian.columns.expand(len(x), -1, -1), v)


def _flat(args) -> list:
    return [each for arg in args for each in (arg if isinstance(arg, list | tuple) else (arg,))]


def _plain(arg):
    return arg.plain if isinstance(arg, Carrier) else arg


def _fixed(*values) -> None:
    """Refuses what depends on x where a rule wants numbers that do not."""
    if any(isinstance(value, Carrier) for value in values):
        raise Unsupported


def elementwise(func: Callable[..., Tensor]) -> Callable[..., Jet]:
    """The rule of h = φ(x): the slope by φ's own derivative, which is one pass over one layer."""

    def rule(h: Jet, *args, **kwargs) -> Jet:
        _fixed(h if not isinstance(h, Jet) else None, *args)
        if not isinstance(h, Jet) or kwargs.pop("inplace", False):
            raise Unsupported
        keep = h.keep and h.plain.requires_grad
        with torch.enable_grad():
            leaf = h.plain if keep else h.plain.detach().requires_grad_()
            y = func(leaf, *args, **kwargs)
            if y.shape != leaf.shape:
                raise Unsupported
            (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y), create_graph=keep)
        return Jet.of(y if keep else y.detach(), scaled(slope, h.jacobian), h.keep)

    return rule


def _sum_of(y: Tensor, *parts: tuple[Any, Any]) -> Jet:
    """The jet of y = g(a, b) from (a, ∂y/∂a), (b, ∂y/∂b); a slope of None is 1."""
    total, jets = None, [part for part in parts if isinstance(part[0], Jet)]
    for jet, slope in jets:
        if y.ndim != 2 or len(y) != len(jet.plain):
            raise Unsupported
        wider = y.shape[1] != jet.plain.shape[1]
        term = mapped(y.new_ones(y.shape[1], 1), jet.jacobian) if wider else jet.jacobian
        if slope is not None:
            slope = torch.as_tensor(slope, dtype=y.dtype, device=y.device)
            term = scaled(slope.expand(len(slope) if slope.ndim == 2 else 1, y.shape[1]), term)
        total = term if total is None else added(total, term)
    return Jet.of(y, total, jets[0][0].keep)  # type: ignore[arg-type]


def add(a, b) -> Jet:
    """J_a + J_b."""
    return _sum_of(_plain(a) + _plain(b), (a, None), (b, None))


def subtract(a, b) -> Jet:
    """J_a − J_b."""
    return _sum_of(_plain(a) - _plain(b), (a, None), (b, -1.0))


def multiply(a, b) -> Jet:
    """diag(b) J_a + diag(a) J_b."""
    return _sum_of(_plain(a) * _plain(b), (a, _plain(b)), (b, _plain(a)))


def divide(a, b) -> Jet:
    """(J_a − diag(a/b) J_b) / b."""
    y = _plain(a) / _plain(b)
    return _sum_of(y, (a, 1 / _plain(b)), (b, -y / _plain(b)))


def negative(a) -> Jet:
    """−J."""
    return _sum_of(-a.plain, (a, -1.0))


def addcmul(a, b, c) -> Jet:
    """The rules of a + b ∘ c."""
    return add(a, multiply(b, c) if isinstance(b, Jet) or isinstance(c, Jet) else b * c)


def addcmul_(a, b, c) -> Jet:
    """`addcmul` in the place of a."""
    new = addcmul(a, b, c)
    if not isinstance(a, Jet):
        raise Unsupported
    a.plain, a.jacobian = new.plain, new.jacobian
    return a


def linear(x, weight, bias=None) -> Jet:
    """W J."""
    _fixed(weight, bias)
    return Jet.of(torch.nn.functional.linear(x.plain, weight, bias), mapped(weight, x.jacobian), x.keep)


def matmul(x, matrix) -> Jet:
    """Mᵀ J, for x M."""
    _fixed(matrix)
    if not isinstance(x, Jet) or matrix.ndim != 2:
        raise Unsupported
    return Jet.of(x.plain @ matrix, mapped(matrix.T, x.jacobian), x.keep)


def total(x, dim, keepdim=False) -> Jet:
    """1ᵀ J, where the sum over the columns stays a column."""
    if dim not in (1, -1) or not keepdim:
        raise Unsupported
    return Jet.of(x.plain.sum(1, keepdim=True), mapped(x.plain.new_ones(1, x.shape[1]), x.jacobian), x.keep)


def cat(parts, dim=0) -> Jet:
    """(J; K), stacked."""
    y, place, terms = torch.cat([_plain(part) for part in parts], dim), 0, []
    if dim not in (1, -1):
        raise Unsupported
    for part in parts:
        wide = part.shape[1]
        if isinstance(part, Jet):
            into = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)[:, place : place + wide]
            terms.append(Jet.of(y, mapped(into, part.jacobian), part.keep))
        place += wide
    jacobian = terms[0].jacobian
    for term in terms[1:]:
        jacobian = added(jacobian, term.jacobian)
    return Jet.of(y, jacobian, terms[0].keep)


def same(func: Callable[..., Tensor]) -> Callable[..., Jet]:
    """The rule of what changes neither shape nor numbers, such as a cast to the dtype that x already has."""

    def rule(x, *args, **kwargs) -> Jet:
        _fixed(*args)
        y = func(x.plain, *args, **kwargs)
        if y.shape != x.plain.shape or y.dtype != x.plain.dtype:
            raise Unsupported
        return x

    return rule


def _named(names: str) -> list[Callable[..., Tensor]]:
    places = (torch, Tensor, torch.nn.functional)
    return [getattr(place, name) for name in names.split() for place in places if hasattr(place, name)]


SMOOTH = (
    "tanh sigmoid relu silu gelu softplus elu selu celu mish softsign leaky_relu hardtanh logsigmoid hardswish exp expm1 log "
    "log1p sin cos tan atan sinh cosh asinh erf sqrt rsqrt reciprocal square abs clamp clip pow __pow__"
)


def table(elementwise: Callable, **rules: Callable) -> dict[Callable, Callable]:
    """The rule of every function of torch that there is one for, by the names that the function goes by.

    >>> torch.add in table(elementwise, add=add), torch.add in table(elementwise)
    (True, False)
    """
    smooth = {func: elementwise(func) for func in _named(SMOOTH)}
    kept = {func: same(func) for func in _named("to contiguous flatten reshape view view_as")}
    return smooth | kept | {func: rule for name, rule in rules.items() for func in _named(NAMES.get(name, name))}


NAMES = {
    "add": "add __add__ __radd__",
    "subtract": "sub subtract __sub__",
    "reverse_subtract": "__rsub__",
    "multiply": "mul multiply __mul__ __rmul__",
    "divide": "div divide true_divide __truediv__",
    "reverse_divide": "__rdiv__",
    "negative": "neg negative __neg__",
    "matmul": "matmul mm __matmul__",
    "cat": "cat concat",
}
Jet.rules = table(
    elementwise, add=add, subtract=subtract, multiply=multiply, divide=divide, negative=negative, matmul=matmul,
    reverse_subtract=lambda a, b: subtract(b, a), reverse_divide=lambda a, b: divide(b, a),
    linear=linear, addcmul=addcmul, addcmul_=addcmul_, sum=total, cat=cat,
)  # fmt: skip

# What is read of x without following it: shapes, kinds, constants of its shape, comparisons.
READ = {
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "dtype", "device", "ndim", "is_cuda", "layout", "requires_grad")
    ),
    *_named("size dim numel __len__ stride is_floating_point is_complex element_size get_device"),
    *_named("new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like"),
    *_named("eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__ isfinite isnan"),
}
