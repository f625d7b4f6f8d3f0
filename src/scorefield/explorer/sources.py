"""Where what the explorer shows is written down: papers, each once, and citations of a place in one.

The same papers are on the documentation's page of sources, which a test compares; equations are numbered as in the version that
the link leads to.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paper:
    """A paper: authors, year, title, and the address of a version that anyone can read; ``number`` is its arXiv or doi.

    >>> TWEEDIE.year
    2011
    """

    authors: str
    year: int
    title: str
    venue: str
    number: str = ""

    @property
    def address(self) -> str:
        """The link, or nothing where a paper has no number."""
        kind, _, name = self.number.partition(":")
        return {"arXiv": f"https://arxiv.org/abs/{name}", "doi": f"https://doi.org/{name}"}.get(kind, "")

    @property
    def short(self) -> str:
        """The surnames of one or two authors, or the first's and the others.

        >>> LANGEVIN.short
        'Roberts & Tweedie'
        """
        names = [name.strip().rpartition(". ")[2] for name in self.authors.split(",")]
        return f"{names[0]} et al." if len(names) > 2 else " & ".join(names)

    def at(self, place: str) -> "Citation":
        """This paper, at an equation, a section or an algorithm."""
        return Citation(self, place)

    def plain(self) -> dict[str, Any]:
        """As the page gets it."""
        return {**vars(self), "address": self.address}


@dataclass(frozen=True)
class Citation:
    """A place in a paper.

    >>> str(TWEEDIE.at("eq. 1.4")), str(EDM.at("eq. 7"))
    ('Efron (2011), eq. 1.4', 'Karras et al. (2022), eq. 7')
    """

    paper: Paper
    place: str

    def __str__(self) -> str:
        return f"{self.paper.short} ({self.paper.year}), {self.place}"

    def plain(self) -> dict[str, Any]:
        """As the page gets it: the short form, and the paper."""
        return {"text": str(self), "place": self.place, "paper": self.paper.plain()}


HYVARINEN = Paper(
    "A. Hyvärinen", 2005, "Estimation of non-normalized statistical models by score matching", "JMLR 6, 695–709"
)
VINCENT = Paper(
    "P. Vincent",
    2011,
    "A connection between score matching and denoising autoencoders",
    "Neural Computation 23(7)",
    "doi:10.1162/NECO_a_00142",
)
TWEEDIE = Paper(
    "B. Efron",
    2011,
    "Tweedie's formula and selection bias",
    "JASA 106(496)",
    "doi:10.1198/jasa.2011.tm11181",
)
SLICED = Paper(
    "Y. Song, S. Garg, J. Shi, S. Ermon",
    2019,
    "Sliced score matching: a scalable approach to density and score estimation",
    "UAI",
    "arXiv:1905.07088",
)
KERNELS = Paper("Y. Zhou, J. Shi, J. Zhu", 2020, "Nonparametric score estimators", "ICML", "arXiv:2005.10099")
NCSN = Paper(
    "Y. Song, S. Ermon",
    2019,
    "Generative modeling by estimating gradients of the data distribution",
    "NeurIPS",
    "arXiv:1907.05600",
)
DDPM = Paper(
    "J. Ho, A. Jain, P. Abbeel", 2020, "Denoising diffusion probabilistic models", "NeurIPS", "arXiv:2006.11239"
)
SDE = Paper(
    "Y. Song, J. Sohl-Dickstein, D. P. Kingma, A. Kumar, S. Ermon, B. Poole",
    2021,
    "Score-based generative modeling through stochastic differential equations",
    "ICLR",
    "arXiv:2011.13456",
)
DDIM = Paper("J. Song, C. Meng, S. Ermon", 2021, "Denoising diffusion implicit models", "ICLR", "arXiv:2010.02502")
EDM = Paper(
    "T. Karras, M. Aittala, T. Aila, S. Laine",
    2022,
    "Elucidating the design space of diffusion-based generative models",
    "NeurIPS",
    "arXiv:2206.00364",
)
FREE = Paper("J. Ho, T. Salimans", 2022, "Classifier-free diffusion guidance", "arXiv", "arXiv:2207.12598")
LANGEVIN = Paper(
    "G. O. Roberts, R. L. Tweedie",
    1996,
    "Exponential convergence of Langevin distributions and their discrete approximations",
    "Bernoulli 2(4)",
    "doi:10.2307/3318418",
)
BLIND = Paper(
    "L. K. Wenliang, H. Kanagawa",
    2020,
    "Blindness of score-based methods to isolated components and mixing proportions",
    "arXiv",
    "arXiv:2008.10087",
)
SYMMETRY = Paper(
    "G. Raya, L. Ambrogioni",
    2023,
    "Spontaneous symmetry breaking in generative diffusion models",
    "NeurIPS",
    "arXiv:2305.19693",
)
CONSERVATIVE = Paper(
    "C.-H. Chao, W.-F. Sun, B.-W. Cheng, C.-Y. Lee",
    2023,
    "On investigating the conservative property of score-based generative models",
    "ICML",
    "arXiv:2209.12753",
)
COPIES = Paper(
    "N. Carlini, J. Hayes, M. Nasr, M. Jagielski, V. Sehwag, F. Tramèr, B. Balle, D. Ippolito, E. Wallace",
    2023,
    "Extracting training data from diffusion models",
    "USENIX Security",
    "arXiv:2301.13188",
)
EVALUATION = Paper(
    "L. Theis, A. van den Oord, M. Bethge",
    2016,
    "A note on the evaluation of generative models",
    "ICLR",
    "arXiv:1511.01844",
)
STEIN = Paper(
    "Q. Liu, J. D. Lee, M. I. Jordan",
    2016,
    "A kernelized Stein discrepancy for goodness-of-fit tests",
    "ICML",
    "arXiv:1602.03253",
)
REDUCE = Paper(
    "Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet, W. Grathwohl",
    2023,
    "Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC",
    "ICML",
    "arXiv:2302.11552",
)
MOMENTS = Paper(
    "F. Rozet, G. Andry, F. Lanusse, G. Louppe",
    2024,
    "Learning diffusion priors from observations by expectation maximization",
    "NeurIPS",
    "arXiv:2405.13712",
)
REPAINT = Paper(
    "A. Lugmayr, M. Danelljan, A. Romero, F. Yu, R. Timofte, L. Van Gool",
    2022,
    "RePaint: inpainting using denoising diffusion probabilistic models",
    "CVPR",
    "arXiv:2201.09865",
)
BAOAB = Paper(
    "B. Leimkuhler, C. Matthews",
    2013,
    "Rational construction of stochastic numerical methods for molecular sampling",
    "Applied Mathematics Research eXpress 2013(1)",
    "arXiv:1203.5428",
)
DEIS = Paper(
    "Q. Zhang, Y. Chen",
    2023,
    "Fast sampling of diffusion models with exponential integrator",
    "ICLR",
    "arXiv:2204.13902",
)
SOLVER = Paper(
    "C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu",
    2022,
    "DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps",
    "NeurIPS",
    "arXiv:2206.00927",
)
UNIFIED = Paper(
    "W. Zhao, L. Bai, Y. Rao, J. Zhou, J. Lu",
    2023,
    "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
    "NeurIPS",
    "arXiv:2302.04867",
)
PAIR = Paper(
    "P. Bogacki, L. F. Shampine",
    1989,
    "A 3(2) pair of Runge–Kutta formulas",
    "Applied Mathematics Letters 2(4)",
    "doi:10.1016/0893-9659(89)90079-7",
)

PAPERS = (
    HYVARINEN,
    VINCENT,
    TWEEDIE,
    SLICED,
    NCSN,
    DDPM,
    SDE,
    DDIM,
    EDM,
    FREE,
    LANGEVIN,
    BLIND,
    SYMMETRY,
    CONSERVATIVE,
    COPIES,
    EVALUATION,
    STEIN,
    REDUCE,
    MOMENTS,
    REPAINT,
    BAOAB,
    DEIS,
    SOLVER,
    UNIFIED,
    PAIR,
)
