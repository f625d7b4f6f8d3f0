"""Exercises about noise: what it fills, what it merges, and what a denoiser can know."""

import math

import torch

from ...data import moons
from ...exact import Empirical
from ...metrics.estimate import mean
from ...noises import EDM
from ...objectives import Denoising
from ...tensors import Streams, normal
from ..sources import DDPM, NCSN, SYMMETRY, TWEEDIE, VINCENT
from ..sources import EDM as KARRAS
from .base import Choices, Dial, Estimate, Exercise, Number, Shown
from .pictures import Bars, Curves, Plane, Points, arrows, heights, lattice
from .scores import pair, row

CHAPTER = "Noise and denoising"


def _empty(sigma: float) -> Shown:
    density, level = pair(), torch.tensor(sigma).double()
    data = density.sample(200, Streams(0, range(200)))
    one = torch.ones((), dtype=torch.float64)

    def learnt(x: Points) -> Points:
        return Empirical(data).score(x, one, level)

    def error(x: Points) -> float:
        return float((learnt(x) - density.score(x, one, level)).square().sum(1).mean().sqrt())

    fresh = density.sample(1000, Streams(1, range(1000))) + sigma * normal(
        torch.empty(1000, 2), Streams(2, range(1000))
    )
    everywhere = lattice(4.0, 41)
    likely = density.log_density(everywhere, one, level)
    inside, outside = error(fresh), error(everywhere[likely < likely.median()])
    right = 1 if outside > 1.5 * inside else 0 if inside > 1.5 * outside else 2
    wrong = heights(lambda x: (learnt(x) - density.score(x, one, level)).norm(dim=1), 4.0, 41)
    return Shown(
        right,
        (
            Number("error in empty regions", outside),
            Number("error where samples are", inside),
            Number("noise level σ", sigma),
        ),
        (
            Plane("Score of the 200 samples", 4.0, arrows(learnt, 4.0), points=(("samples", data),)),
            Plane("Size of its error", 4.0, values=wrong),
        ),
    )


def _merged(sigma: float) -> Shown:
    density, at = pair(), torch.stack([row(-1e-3, 0.0)[0], row(0.0, 0.0)[0], row(1e-3, 0.0)[0]])

    def valley(level: float) -> bool:
        left, middle, right = density.log_density(at, 1.0, level).tolist()
        return left + right > 2 * middle

    low, high = 0.0, 4.0
    for _ in range(40):
        half = 0.5 * (low + high)
        low, high = (half, high) if valley(half) else (low, half)
    along = torch.linspace(-5, 5, 201).double()
    line = torch.stack([along, torch.zeros_like(along)], 1)
    lines = tuple((f"σ = {s:.3g}", density.log_density(line, 1.0, s)) for s in (0.0, sigma))

    def score(x: Points) -> Points:
        return density.score(x, 1.0, sigma)

    return Shown(
        low,
        (Number("modes merge at σ", low), Number("√(half distance² − width²)", math.sqrt(4 - 0.25))),
        (
            Curves("log density along the line through both modes", "x", "log p", along, lines),
            Plane(
                f"The field at σ = {sigma:.3g}",
                5.0,
                arrows(score, 5.0),
                heights(lambda x: density.log_density(x, 1.0, sigma), 5.0).exp(),
            ),
        ),
    )


def _middle(sigma: float) -> Shown:
    two = Empirical(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    one, level = torch.ones((), dtype=torch.float64), torch.tensor(sigma).double()
    guess = float(two.denoise(row(0.4), one, level))
    right = min(range(3), key=lambda k: abs((1.0, 0.4, 0.1)[k] - guess))
    x = torch.linspace(-3, 3, 121).double()
    lines = (("best estimate of the clean point", two.denoise(x[:, None], one, level)[:, 0]), ("x itself", x))
    return Shown(
        right,
        (Number("E[x₀ | x = 0.4]", guess), Number("probability that it came from +1", 0.5 + 0.5 * guess)),
        (Curves(f"Best denoiser at σ = {sigma:.3g}", "noisy x", "clean x₀", x, lines, mark=0.4),),
    )


def _unfolding(sigma: float) -> Shown:
    data = moons(400, generator=torch.Generator().manual_seed(0)).double()
    one, level = torch.ones((), dtype=torch.float64), torch.tensor(sigma).double()
    noisy = data + level * normal(data, Streams(0, range(len(data))))
    guess = Empirical(data).denoise(noisy, one, level)
    spread = float(guess.std(0).norm() / data.std(0).norm())
    right = 0 if spread < 0.1 else 1 if spread > 0.95 else 2
    return Shown(
        right,
        (Number("spread of the guesses over spread of the data", spread), Number("noise level σ", sigma)),
        (Plane("Data, and the best guesses of them", 2.5, points=(("data", data), ("guesses", guess))),),
    )


def _targets(sigma: float) -> Shown:
    density, n = pair(), 8000
    one, level, at = torch.ones((), dtype=torch.float64), torch.tensor(sigma).double(), row(0.5, 0.4)
    sources = density.sample(n, Streams(0, range(n)))
    targets = (sources - at) / level**2
    weights = (-(sources - at).square().sum(1) / (2 * level**2)).softmax(0)
    average = weights @ targets
    exact = density.score(at, one, level)[0]
    spread = float((weights @ (targets - average).square().sum(1)).sqrt())
    error = spread * float(weights.square().sum().sqrt())
    miss = float((average - exact).norm())
    right = 1 if miss < 6 * error else 2
    likely = weights.multinomial(60, generator=torch.Generator().manual_seed(0))
    rays = tuple(torch.stack([at[0], at[0] + level**2 * targets[k]]) for k in likely)
    return Shown(
        right,
        (
            Number("|average target − score|", miss, "", error),
            Number("spread of single targets", spread),
            Number("|score|", float(exact.norm())),
        ),
        (
            Plane(
                "Sources of one noisy point, drawn as likely as they are",
                4.0,
                values=heights(lambda x: density.log_density(x, 1.0, sigma), 4.0).exp(),
                points=(("sources", sources[likely]), ("the noisy point", at)),
                paths=rays,
                jumps=(torch.cat([at, at + level**2 * exact]),),
            ),
        ),
    )


def _floor(sigma: float) -> Shown:
    density, n = pair(), 8000
    x = density.sample(n, Streams(0, range(n)))
    losses = Denoising(sigma)(lambda y: density.score(y, 1.0, sigma), x, Streams(1, range(n)))
    blind = Denoising(sigma)(torch.zeros_like, x, Streams(1, range(n)))
    found, nothing = mean(losses), mean(blind)
    right = 1 if found.value > 5 * found.error else 0 if abs(found.value) < 5 * found.error else 2
    return Shown(
        right,
        (Number("loss of the exact score", found.value, "nats/length²", found.error), Number("noise level σ", sigma)),
        (
            Bars(
                "Denoising loss",
                "",
                (
                    ("exact score", found.value, found.error),
                    ("no network at all: s = 0", nothing.value, nothing.error),
                ),
            ),
        ),
    )


def _scales(sigma: float) -> Shown:
    noise, n = EDM(80.0), 4000
    z = normal(torch.empty(n, 2, dtype=torch.float64), Streams(0, range(n)))

    def size(level: float) -> float:
        _, sigma = noise.scales(noise.time(torch.tensor(level).double()))
        return float((z / sigma).square().sum(1).mean().sqrt())

    grown = size(sigma) / size(1.0)
    levels = torch.logspace(-3, 1, 41).double()
    lines = (
        ("score target, |z|/σ", [size(float(level)) for level in levels]),
        ("noise target, |z|", [math.sqrt(2)] * len(levels)),
    )
    return Shown(
        grown,
        (Number("growth of the score target", grown), Number("growth of the noise target", 1.0)),
        (
            Curves(
                "Size of what a network must answer", "noise level σ", "root mean square", levels, lines, True, sigma
            ),
        ),
    )


EXERCISES = (
    Exercise(
        "empty",
        CHAPTER,
        "Where nobody has been",
        "You know a density of two modes by 200 samples only, and take their score at a small noise level, σ = 0.3. "
        "Where is it most wrong?",
        Choices(("On the modes, where the density is highest.", "In the empty regions.", "Everywhere alike.")),
        _empty,
        Dial("noise level σ", 0.1, 2.5, 0.3, 0.05),
        "Nothing was seen there, and nothing in the loss asks about it. Every walk starts there nevertheless. More "
        "noise fills the empty regions: turn the dial up, and the error fades. This is why scores are learnt at many"
        " noise levels.",
        "F = E_p ½|s − ∇log p|²   weighs errors by p, and is silent where p ≈ 0",
        NCSN.at("section 3.2.1"),
        "import torch\n"
        "from scorefield.exact import Empirical, Mixture\n"
        "from scorefield.explorer.exercises.pictures import lattice\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "seen, x = Empirical(p.sample(200, Streams(0, range(200)))), lattice(4.0, 41)\n"
        "empty = x[(at := p.log_density(x, 1.0, 0.3)) < at.median()]\n"
        "print(float((seen.score(empty, 1.0, 0.3) - p.score(empty, 1.0, 0.3)).square().sum(1).mean().sqrt()))",
        "#/field?modes=-2,0,0.5;2,0,0.5&method=kernel&show=error",
    ),
    Exercise(
        "merging",
        CHAPTER,
        "Two become one",
        "Two modes of width 0.5 lie 4 apart. At which noise level σ do they merge, so that the middle becomes the "
        "peak?",
        Estimate(0.0, 4.0, 0.05, 0.15, "σ"),
        _merged,
        Dial("noise level σ", 0.0, 4.0, 1.0, 0.05),
        "Two equal Gaussians have one peak as soon as their width reaches half their distance, and noise widens "
        "both. On the way back from noise to data this is the moment at which a walk decides for one of them.",
        "0.5² + σ² = 2²,   σ = √3.75 ≈ 1.94",
        SYMMETRY.at("section 3"),
        "import torch\n"
        "from scorefield.exact import Mixture\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "x = torch.tensor([[-1e-3, 0.0], [0.0, 0.0], [1e-3, 0.0]]).double()\n"
        "low, high = 0.0, 4.0\n"
        "for _ in range(40):\n"
        "    left, middle, right = p.log_density(x, 1.0, half := (low + high) / 2).tolist()\n"
        "    low, high = (half, high) if left + right > 2 * middle else (low, half)\n"
        "print(low)",
        "#/field?modes=-2,0,0.5;2,0,0.5&sigma=1.94",
    ),
    Exercise(
        "posterior-mean",
        CHAPTER,
        "The best guess",
        "The data are two points, −1 and +1. After noise of σ = 2 you see x = 0.4. Which answer has the least "
        "squared error on average?",
        Choices(("1: the nearer of the two.", "0.4: what was seen.", "About 0.1: almost the middle.")),
        _middle,
        Dial("noise level σ", 0.1, 4.0, 2.0, 0.1),
        "The best guess is the average of all sources, weighted by how likely each is. At σ = 2 both are almost "
        "equally likely. It is a point that occurs in no data: a denoiser blurs on purpose. Turn σ down and it makes"
        " up its mind.",
        "x̂(x) = E[x₀ | x] = x + σ² ∇log p_σ(x) = tanh(x/σ²) here",
        TWEEDIE.at("eq. 1.4"),
        "import torch\n"
        "from scorefield.exact import Empirical\n\n"
        "two = Empirical(torch.tensor([[-1.0], [1.0]]).double())\n"
        "x, alpha, sigma = torch.tensor([[0.4]]).double(), torch.tensor(1.0).double(), torch.tensor(2.0).double()\n"
        "print(float(two.denoise(x, alpha, sigma)))",
        "#/point?modes=-1,0,0.05;1,0,0.05&at=0.4,0&sigma=2",
    ),
    Exercise(
        "most-noise",
        CHAPTER,
        "From pure noise",
        "Moons are drowned in noise 20 times their size. A perfect denoiser guesses the clean point of each. Where "
        "do the guesses lie?",
        Choices(("All near the mean of the data.", "On the moons.", "Scattered as widely as the noise.")),
        _unfolding,
        Dial("noise level σ", 0.02, 20.0, 20.0, 0.02),
        "Noise that large says nothing about the source, and the best guess without knowledge is the mean. Turn the "
        "noise down: the guesses spread to a bar, then to two blobs, then to the moons. A sampler walks this road.",
        "σ → ∞:  E[x₀ | x] → E[x₀]",
        KARRAS.at("appendix B.3, eq. 57"),
        "import torch\n"
        "from scorefield.data import moons\n"
        "from scorefield.exact import Empirical\n"
        "from scorefield.tensors import Streams, normal\n\n"
        "x = moons(400, generator=torch.Generator().manual_seed(0)).double()\n"
        "alpha, sigma = torch.tensor(1.0).double(), torch.tensor(20.0).double()\n"
        "guess = Empirical(x).denoise(x + sigma * normal(x, Streams(0, range(400))), alpha, sigma)\n"
        "print(float(guess.std(0).norm() / x.std(0).norm()))",
        "#/point?density=moons&sigma=5",
    ),
    Exercise(
        "targets",
        CHAPTER,
        "A wrong target, a right average",
        "In training, a noisy point x comes with one clean source x₀, and the network is told to answer (x₀ − x)/σ². "
        "Is this target the score at x?",
        Choices(
            (
                "Yes, for every single pair.",
                "No, but averaged over all sources that x may have come from it is.",
                "No, not even on average.",
            )
        ),
        _targets,
        Dial("noise level σ", 0.5, 2.0, 1.0, 0.05),
        "Each pair points to its own source. The network sees many pairs near x, cannot tell them apart, and under "
        "squared error answers their mean. That mean is the score of the noisy density, which no one ever computed.",
        "E[(x₀ − x)/σ² | x] = ∇log p_σ(x)",
        VINCENT.at("section 4.2"),
        "import torch\n"
        "from scorefield.exact import Mixture\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "x0, x = p.sample(8000, Streams(0, range(8000))), torch.tensor([[0.5, 0.4]]).double()\n"
        "w = (-(x0 - x).square().sum(1) / 2).softmax(0)\n"
        "print(float((w @ (x0 - x) - p.score(x, 1.0, 1.0)[0]).norm()))",
        "#/point?modes=-2,0,0.5;2,0,0.5&at=0.5,0.4&sigma=1",
    ),
    Exercise(
        "loss-floor",
        CHAPTER,
        "A perfect network's loss",
        "Your network has learnt the score exactly. What does its denoising loss, ½|s(x + σz) + z/σ|², come to?",
        Choices(("Zero.", "A positive number that no network can go below.", "A negative number.")),
        _floor,
        Dial("noise level σ", 0.1, 2.0, 0.5, 0.05),
        "The target is random given x, and its variance stays. A loss curve that levels off above zero says nothing "
        "about the network; what counts is the distance to this floor, the Fisher divergence.",
        "E ½|s − target|² = F(p_σ‖s) + E ½ Var(target | x)",
        VINCENT.at("section 4.2"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Mixture\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "x = p.sample(8000, Streams(0, range(8000)))\n"
        "print(float(sf.Denoising(0.5)(lambda y: p.score(y, 1.0, 0.5), x, Streams(1, range(8000))).mean()))",
        "#/train?who=denoising",
    ),
    Exercise(
        "two-scales",
        CHAPTER,
        "One arrow, two scales",
        "A network may answer with the noise z, or with the score −z/σ: the same arrow. "
        "As σ falls from 1 to 0.01, by what factor does the score target grow?",
        Estimate(1.0, 200.0, 1.0, 0.15, "times"),
        _scales,
        Dial("noise level σ", 0.001, 1.0, 0.01, 0.001),
        "The noise target has the same size at every level, and one loss weighs all levels alike. The score target "
        "grows without bound: its loss must be multiplied by σ², which is the loss of the noise again.",
        "σ² |s + z/σ|² = |ε̂ − z|²,   ε̂ = −σ s",
        DDPM.at("eq. 12"),
        "import torch\n"
        "from scorefield.noises import EDM\n"
        "from scorefield.tensors import Streams, normal\n\n"
        "noise, z = EDM(80.0), normal(torch.empty(4000, 2).double(), Streams(0, range(4000)))\n"
        "sigma = noise.scales(noise.time(torch.tensor([0.01, 1.0]).double()))[1]\n"
        "size = [float((z / s).square().sum(1).mean().sqrt()) for s in sigma]\n"
        "print(size[0] / size[1])",
        "#/point?sigma=0.1",
    ),
)
