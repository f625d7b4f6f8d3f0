"""The gradient and the Laplacian of an energy, in one forward pass and none back.

    h = W x + b         J ↦ W J                       L ↦ W L
    h = φ(x)            J ↦ diag(φ'(x)) J             L ↦ φ'(x) ∘ L + φ''(x) ∘ Σ_k J_k²
    h = a ∘ b           J ↦ diag(b) J_a + diag(a) J_b L ↦ b ∘ L_a + a ∘ L_b + 2 Σ_k J_ak ∘ J_bk

J_k is the derivative by x_k, L = Σ_k ∂²h/∂x_k². The score of an energy is −∇E and its divergence −ΔE, which otherwise cost d
backward passes over a backward pass. The forward Laplacian of Li et al. (2024),
doi:10.1038/s42256-024-00794-x.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .forward import Carrier, Jet, _fixed, _plain, table
from .jacobian import Curved, Unsupported

Columns = Float[Tensor, "_ d width"]
Numbers = Float[Tensor, "_ width"]


class Bend(Carrier):
    """A tensor (batch, width) with its Jacobian, transposed, and its Laplacian by x, of one row where all rows agree."""

    columns: Columns
    laplacian: Numbers

    @staticmethod
    def of(plain: Tensor, columns: Columns, laplacian: Numbers, keep: bool) -> "Bend":
        """The tensor with what it carries."""
        bend = Bend.carrying(plain, keep)
        bend.columns, bend.laplacian = columns, laplacian
        return bend


def gradient(energy: Callable[[Tensor], Tensor], x: Jet) -> Jet:
    """∇E at x with ∇²E as its Jacobian, E the sum of what ``energy`` gives (batch, outputs).

    Raises: Unsupported for an operation without a rule.
    """
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    y = energy(Bend.of(x.plain, eye[None], eye.new_zeros(1, len(eye)), x.keep))
    if not isinstance(y, Bend):
        raise Unsupported
    with torch.set_grad_enabled(x.keep):
        slope = y.columns.sum(2).expand(len(x.plain), -1)
        return Jet.of(slope, Curved(y.laplacian.sum(1), x.jacobian), x.keep)


def elementwise(func: Callable[..., Tensor]) -> Callable[..., Bend]:
    """The rule of h = φ(x), by φ's own two derivatives."""

    def rule(h: Bend, *args, **kwargs) -> Bend:
        if not isinstance(h, Bend) or kwargs.pop("inplace", False):
            raise Unsupported
        _fixed(*args)
        keep = h.keep and h.plain.requires_grad
        with torch.enable_grad():
            leaf = h.plain if keep else h.plain.detach().requires_grad_()
            y = func(leaf, *args, **kwargs)
            if y.shape != leaf.shape:
                raise Unsupported
            (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y), create_graph=True)
            second = torch.zeros_like(slope)
            if slope.requires_grad:
                (second,) = torch.autograd.grad(
                    slope, leaf, torch.ones_like(y), create_graph=keep, allow_unused=True, materialize_grads=True
                )
        if not keep:
            y, slope, second = y.detach(), slope.detach(), second.detach()
        laplacian = torch.addcmul(slope * h.laplacian, second, h.columns.square().sum(1))
        return Bend.of(y, slope[:, None] * h.columns, laplacian, h.keep)

    return rule


def _sum_of(y: Tensor, *parts: tuple) -> Bend:
    """y = g(a, b), linear in each, from (a, ∂y/∂a), (b, ∂y/∂b); a slope of None is 1."""
    bends = [part for part in parts if isinstance(part[0], Bend)]
    columns, laplacian = 0, 0
    for bend, slope in bends:
        if y.ndim != 2 or len(y) != len(bend.plain):
            raise Unsupported
        slope = torch.as_tensor(1.0 if slope is None else slope, dtype=y.dtype, device=y.device)
        slope = slope.expand(len(slope) if slope.ndim == 2 else 1, y.shape[1])
        columns = columns + slope[:, None] * bend.columns
        laplacian = laplacian + slope * bend.laplacian
    if len(bends) == 2 and bends[0][1] is not None and bends[1][1] is not None:
        laplacian = laplacian + 2 * (bends[0][0].columns * bends[1][0].columns).sum(1)
    return Bend.of(y, columns, laplacian, bends[0][0].keep)  # type: ignore[arg-type]


def add(a, b) -> Bend:
    """The sum of both."""
    return _sum_of(_plain(a) + _plain(b), (a, None), (b, None))


def multiply(a, b) -> Bend:
    """The product rule of both orders."""
    return _sum_of(_plain(a) * _plain(b), (a, _plain(b)), (b, _plain(a)))


def negative(a) -> Bend:
    """The sign of everything."""
    return Bend.of(-a.plain, -a.columns, -a.laplacian, a.keep)


def subtract(a, b) -> Bend:
    """a + (−b)."""
    return add(a, negative(b) if isinstance(b, Bend) else -b)


def divide(a, b) -> Bend:
    """a ∘ (1/b)."""
    return multiply(a, elementwise(torch.reciprocal)(b) if isinstance(b, Bend) else 1 / b)


def addcmul(a, b, c) -> Bend:
    """The rules of a + b ∘ c."""
    return add(a, multiply(b, c) if isinstance(b, Bend) or isinstance(c, Bend) else b * c)


def addcmul_(a, b, c) -> Bend:
    """`addcmul` in the place of a."""
    new = addcmul(a, b, c)
    if not isinstance(a, Bend):
        raise Unsupported
    a.plain, a.columns, a.laplacian = new.plain, new.columns, new.laplacian
    return a


def linear(x, weight, bias=None) -> Bend:
    """W J and W L."""
    _fixed(weight, bias)
    return Bend.of(
        torch.nn.functional.linear(x.plain, weight, bias), x.columns @ weight.T, x.laplacian @ weight.T, x.keep
    )


def matmul(x, matrix) -> Bend:
    """`linear`, for x M."""
    _fixed(matrix)
    if not isinstance(x, Bend) or matrix.ndim != 2:
        raise Unsupported
    return linear(x, matrix.T)


def total(x, dim, keepdim=False) -> Bend:
    """The sum over the columns, where it stays a column."""
    if dim not in (1, -1) or not keepdim:
        raise Unsupported
    return linear(x, x.plain.new_ones(1, x.shape[1]))


Bend.rules = table(
    elementwise, add=add, subtract=subtract, multiply=multiply, divide=divide, negative=negative, matmul=matmul,
    reverse_subtract=lambda a, b: subtract(b, a), reverse_divide=lambda a, b: divide(b, a),
    linear=linear, addcmul=addcmul, addcmul_=addcmul_, sum=total,
)  # fmt: skip
