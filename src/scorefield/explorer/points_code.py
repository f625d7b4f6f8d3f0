"""The Python of one noisy point: its sources, their weights, and the three arrows that are one."""

from . import fields_code, sources
from .points import PointRequest
from .snippets import Snippet

FORMULA = (
    "∇ log p(x | x₀) = (x₀ − x) / σ² = −ε / σ,   s(x) = Σᵢ wᵢ (yᵢ − x) / σ²,   wᵢ ∝ exp(−‖x − yᵢ‖² / 2σ²)\n"
    "E[x₀ | x] = x + σ² s(x),   E[ε | x] = −σ s(x)"
)


def point(wanted: PointRequest) -> Snippet:
    """The lines for one request; they print the target, the average, the denoised point and the noise.

    >>> "x + sigma**2 * s" in point(PointRequest()).code
    True
    """
    picked = min(wanted.picked, wanted.sources - 1)
    lines = [
        fields_code.head(wanted.density, "from scorefield.tensors import Streams"),
        fields_code.density(wanted.density, wanted.run),
        f"sigma, x = {wanted.sigma:g}, torch.tensor([{list(wanted.at)}], dtype=torch.float64)",
        f"y = density.sample({wanted.sources}, Streams(0, range({wanted.sources}))).double()",
        "",
        "w = (-((x - y) ** 2).sum(1) / (2 * sigma**2)).softmax(0)",
        "s = (w[:, None] * (y - x) / sigma**2).sum(0)",
        f'print("target -eps/sigma of source {picked + 1}", (y[{picked}] - x[0]) / sigma**2)',
        'print("average, the score", s)',
        'print("E[x0 | x]", (x + sigma**2 * s)[0])',
        'print("E[eps | x]", -sigma * s)',
        'print("score of the density", density.score(x, 1.0, sigma)[0])',
    ]
    return Snippet("\n".join(lines), FORMULA, (sources.VINCENT.at("section 4.2"), sources.TWEEDIE.at("eq. 1.4")))
