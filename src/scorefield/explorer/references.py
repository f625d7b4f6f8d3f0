"""The page of sources: what each view draws, as a formula, and the place where it is written down."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from .exercises import EXERCISES
from .sources import (
    BLIND,
    CONSERVATIVE,
    DDIM,
    DDPM,
    EDM,
    FREE,
    HYVARINEN,
    MOMENTS,
    NCSN,
    PAPERS,
    REPAINT,
    SDE,
    SLICED,
    TWEEDIE,
    VINCENT,
    Citation,
)
from .walks_code import WRITTEN

router = APIRouter(prefix="/api/sources")


@dataclass(frozen=True)
class Fact:
    """What a view draws: in words, as a formula, and where it is written down."""

    view: str
    what: str
    formula: str
    source: Citation

    def plain(self) -> dict[str, Any]:
        """As the page gets it."""
        return {"view": self.view, "what": self.what, "formula": self.formula, "source": self.source.plain()}


FACTS = (
    Fact("field", "The arrows", "s_σ(x) = ∇log p_σ(x),   p_σ = p ∗ N(0, σ²I)", NCSN.at("section 4.1")),
    Fact("field", "Divergence", "J(s) = E[½|s|² + div s]", HYVARINEN.at("eq. 4")),
    Fact("field", "Curl, zero for every score", "∮ s·dx = 0   ⇔   s = ∇log p", CONSERVATIVE.at("abstract")),
    Fact("field", "Error against the truth", "F = E_p ½|s − ∇log p|²", HYVARINEN.at("eq. 2")),
    Fact("point", "Denoised estimate", "E[x₀ | x] = x + σ² ∇log p_σ(x)", TWEEDIE.at("eq. 1.4")),
    Fact("point", "Target and its mean", "E[(x₀ − x)/σ² | x] = ∇log p_σ(x)", VINCENT.at("section 4.2")),
    Fact("point", "Noise and score", "ε̂ = −σ s,   E|ε − ε̂|²", DDPM.at("eq. 12")),
    *(Fact("walk", kind.__name__, formula, source) for kind, (formula, source) in WRITTEN.items()),
    Fact("walk", "Probability flow", "dx = (f x − ½ g² s) dt", SDE.at("eq. 13")),
    Fact("walk", "Relative weights", "invisible to the score between far modes", BLIND.at("section 1")),
    Fact("train", "Exact score matching", "E[½|s|² + div s]", HYVARINEN.at("eq. 4")),
    Fact("train", "Sliced score matching", "E[½(v·s)² + v·∇(v·s)]", SLICED.at("eq. 7")),
    Fact("train", "Denoising score matching", "E ½|s(x + σz) + z/σ|²", VINCENT.at("section 4.2")),
    Fact("images", "Predicted clean image", "x̂ = E[x₀ | x_t] = x_t + σ² s", EDM.at("eq. 2–3")),
    Fact("images", "Guidance", "x̂ + w (x̂(label) − x̂)", FREE.at("eq. 6")),
    Fact("images", "Completion, moments", "x̂ + (σ²/α) Jᵀ Aᵀ (s²I + A C Aᵀ)⁻¹ (y − A x̂)", MOMENTS.at("section 4")),
    Fact("images", "Completion, replacement", "x_s ← x_s + A⁺(α_s y + σ_s A z − A x_s)", SDE.at("appendix I.2")),
    Fact("images", "Completion, resampling", "each step walked several times", REPAINT.at("algorithm 1")),
    Fact("images", "The way between two images", "data → noise → great circle → data", DDIM.at("section 4.3")),
)


@router.get("")
def sources() -> dict[str, Any]:
    """Facts of the views, formulas of the exercises, and the papers, by year."""
    exercises = [
        {"key": each.key, "title": each.title, "formula": each.formula, "source": each.source.plain()}
        for each in EXERCISES
    ]
    papers = sorted(PAPERS, key=lambda paper: (paper.year, paper.authors))
    return {
        "facts": [each.plain() for each in FACTS],
        "exercises": exercises,
        "papers": [each.plain() for each in papers],
    }
