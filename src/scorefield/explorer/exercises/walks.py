"""Exercises about walks: steps that explode, modes that are never reached, and noise that may be left out."""

import math

import torch

from ...data import moons
from ...errors import DivergedError
from ...exact import Empirical, Gaussian
from ...grids import logsnr
from ...noises import EDM
from ...samplers import Ancestral, AnnealedLangevin, Heun, Langevin
from ...sampling import sample
from ...tensors import Streams
from ..sources import EDM as KARRAS
from ..sources import LANGEVIN, NCSN, SDE
from .base import Choices, Dial, Estimate, Exercise, Number, Shown
from .pictures import Bars, Curves, Plane, Points, heights
from .scores import pair, row

CHAPTER = "Walking"


def _line(std: float = 1.0) -> Gaussian:
    return Gaussian(torch.zeros(1).double(), torch.tensor([[std**2]]).double())


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _explodes(size: float) -> bool:
    p, sampler = _line(0.5), Langevin(size)
    try:
        list(sampler.walk(p, torch.ones(8, 1).double(), sampler.times(p, 200), _drawn(0)))
    except DivergedError:
        return True
    return False


def _exploding(size: float) -> Shown:
    low, high = 0.0, 1.0
    for _ in range(7):
        half = 0.5 * (low + high)
        low, high = (low, half) if _explodes(half) else (half, high)
    p, sampler = _line(0.5), Langevin(size)
    states = sampler.walk(p, torch.ones(3, 1).double(), sampler.times(p, 25), _drawn(1))
    seen = torch.stack([state.x[:, 0] for state in states], 1)
    lines = tuple((f"particle {k + 1}", line) for k, line in enumerate(seen))
    return Shown(
        high,
        (Number("smallest step that explodes", high), Number("2 × variance", 0.5)),
        (Curves(f"25 steps of size {size:.3g}", "step", "x", torch.arange(26), lines),),
    )


def _stationary(size: float) -> Shown:
    n, p, sampler = 4000, _line(), Langevin(size)
    *_, last = sampler.walk(p, p.sample(n, _drawn(0)), sampler.times(p, 60), _drawn(1))
    variance = float(last.x.square().mean())
    error = variance * math.sqrt(2 / n)
    right = 1 if abs(variance - 1) < 5 * error else 2 if variance > 1 else 0
    return Shown(
        right,
        (Number("variance after 60 steps", variance, "", error), Number("1/(1 − h/2)", 1 / (1 - size / 2))),
        (
            Bars(
                "Variance of the walkers",
                "",
                (
                    ("the density", 1.0, 0.0),
                    ("Langevin, measured", variance, error),
                    ("1/(1 − h/2)", 1 / (1 - size / 2), 0.0),
                ),
            ),
        ),
    )


def _arrived(half: float) -> Shown:
    density, n = pair(half), 300
    start = row(-half, 0.0).expand(n, 2) + 0.0
    sampler = Langevin(0.05)
    *_, last = sampler.walk(density, start, sampler.times(density, 1000), _drawn(0))
    plain = last.x
    share = float((plain[:, 0] > 0).double().mean())
    known = density.denoiser(EDM(10.0))
    annealed = sample(known, n, sampler=AnnealedLangevin(8), times=logsnr(known.noise, 15, floor=0.02), seed=0)
    both = float((annealed[:, 0] > 0).double().mean())
    right = min(range(3), key=lambda k: abs((0.5, 0.2, 0.0)[k] - share))
    contours = heights(density.log_density, half + 2.5).exp()
    return Shown(
        right,
        (
            Number("share on the right after 1,000 steps", share, "", math.sqrt(max(share * (1 - share), 1 / n) / n)),
            Number("share with annealed noise", both, "", math.sqrt(both * (1 - both) / n)),
        ),
        (
            Plane("1,000 steps of Langevin", half + 2.5, values=contours, points=(("walkers", plain),)),
            Plane("From large noise to small", half + 2.5, values=contours, points=(("walkers", annealed.double()),)),
        ),
    )


def _replayed(eta: float) -> Shown:
    known, n = pair().denoiser(EDM(10.0)), 200
    x = known.prior(torch.empty(1, 2, dtype=torch.float64), Streams(3, [0])).expand(n, 2)
    times = logsnr(known.noise, 60, floor=0.01)

    def ends(sampler: Ancestral, rows: int) -> Points:
        *_, last = sampler.walk(known, x[:rows], times, Streams(5, range(rows)))
        return last.x

    flow, noisy = ends(Ancestral(0.0), 2), ends(Ancestral(eta), n)
    apart, spread = float((flow[0] - flow[1]).norm()), float((noisy - noisy.mean(0)).norm(dim=1).mean())
    right = 0 if apart < 1e-9 and spread > 0.1 else 1 if apart > 1e-9 else 2
    contours = heights(pair().log_density, 4.0).exp()
    return Shown(
        right,
        (Number("spread of the flow's ends", apart), Number("spread of the noisy walk's ends", spread)),
        (
            Plane("Probability flow: 200 walks", 4.0, values=contours, points=(("ends", flow[:1]),)),
            Plane(f"With noise η = {eta:.2g}: 200 walks", 4.0, values=contours, points=(("ends", noisy),)),
        ),
    )


def _error(sampler: Ancestral | Heun, steps: int) -> float:
    known = _line().denoiser(EDM(10.0))
    times = logsnr(known.noise, steps, floor=0.01)[:-1]
    x = 10 * torch.linspace(-2, 2, 9).double()[:, None]
    *_, last = sampler.walk(known, x, times)
    exact = x * math.sqrt((1 + 0.01**2) / (1 + 10.0**2))
    return float((last.x - exact).square().mean().sqrt())


def _halved(steps: float) -> Shown:
    n = int(steps)
    euler, heun = (_error(each, n) / _error(each, 2 * n) for each in (Ancestral(0.0), Heun()))
    counts = [8, 16, 32, 64]
    lines = tuple(
        (name, [_error(each, k) for k in counts]) for name, each in (("Euler", Ancestral(0.0)), ("Heun", Heun()))
    )
    return Shown(
        heun,
        (Number("Heun: error falls by", heun, "times"), Number("Euler: error falls by", euler, "times")),
        (Curves("Error at the end of the flow", "steps", "error", counts, lines, True, steps),),
    )


def _memorised(count: float) -> Shown:
    data = moons(int(count), generator=torch.Generator().manual_seed(0)).double()
    drawn = sample(Empirical(data.float()).denoiser(EDM(10.0)), 300, steps=30, seed=0).double()
    fresh = moons(300, generator=torch.Generator().manual_seed(1)).double()
    near, usual = (float(torch.cdist(x, data).amin(1).median()) for x in (drawn, fresh))
    right = 1 if near < 0.05 * usual else 0 if near < 2 * usual else 2
    return Shown(
        right,
        (
            Number("median distance of a sample to the data", near),
            Number("median distance of new data to the data", usual),
        ),
        (Plane("300 samples", 2.5, points=(("samples", drawn), ("data", data))),),
    )


EXERCISES = (
    Exercise(
        "exploding",
        CHAPTER,
        "One step too far",
        "Langevin dynamics, x ← x + h s(x) + √(2h) z, on a Gaussian of standard deviation 0.5. From which step size "
        "h on does it explode?",
        Estimate(0.0, 2.0, 0.01, 0.15, "h"),
        _exploding,
        Dial("step size h", 0.02, 0.7, 0.3, 0.01),
        "Each step multiplies the distance to the mean by 1 − h/σ². Beyond h = 2σ² it overshoots by more than it had"
        " to go, and the next step by more again. The narrowest direction of the density decides for all.",
        "x ← (1 − h/σ²) x + √(2h) z,   stable for |1 − h/σ²| < 1,  h < 2σ² = 0.5",
        LANGEVIN.at("sections 1.4 and 3"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Gaussian\n\n"
        "p, low, high = Gaussian(torch.zeros(1).double(), torch.tensor([[0.25]]).double()), 0.0, 1.0\n"
        "for _ in range(7):\n"
        "    walk = sf.Langevin(half := (low + high) / 2)\n"
        "    try:\n"
        "        list(walk.walk(p, torch.ones(8, 1).double(), walk.times(p, 200), torch.Generator().manual_seed(0)))\n"
        "        low = half\n"
        "    except sf.errors.DivergedError:\n"
        "        high = half\n"
        "print(high)",
        "#/walk?a=Langevin(size%3D0.15)&b=Langevin(size%3D0.215)&evaluations=200",
    ),
    Exercise(
        "bias",
        CHAPTER,
        "Too long a stride",
        "The same walk on a standard Gaussian, with h = 0.5: stable, and run for as long as you like. What is the "
        "variance of the walkers?",
        Choices(("Below 1: they are pulled in too hard.", "1: it is Langevin dynamics, after all.", "Above 1.")),
        _stationary,
        Dial("step size h", 0.02, 1.5, 0.5, 0.02),
        "Only infinitely small steps leave the density as it is. Noise is added for a whole step, and the pull back "
        "is that of the place where the step began. A Metropolis correction removes the bias at any step size.",
        "v = (1 − h)² v + 2h   ⇒   v = 1/(1 − h/2) = 1.33",
        LANGEVIN.at("section 1.4"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Gaussian\n\n"
        "p, walk = Gaussian(torch.zeros(1).double(), torch.eye(1).double()), sf.Langevin(0.5)\n"
        "start, noise = (torch.Generator().manual_seed(k) for k in (0, 1))\n"
        "*_, last = walk.walk(p, p.sample(4000, start), walk.times(p, 60), noise)\n"
        "print(float(last.x.square().mean()))",
        "#/walk?a=Langevin(size%3D0.1)&b=MALA(size%3D0.1)&evaluations=200",
    ),
    Exercise(
        "mixing",
        CHAPTER,
        "The mode next door",
        "300 walkers start in the left of two equal modes, six widths from the middle. After 1,000 steps of Langevin"
        " dynamics with the exact score, how many have reached the right one?",
        Choices(("Half of them, as is right.", "About one in five.", "None.")),
        _arrived,
        Dial("half the distance of the modes", 0.6, 3.0, 3.0, 0.1),
        "To cross, a walker must climb to a place e¹⁸ times less likely, against the score, by noise alone. With "
        "large noise first, the modes are one; walkers are shared out while it is easy, and each then stays in its "
        "mode.",
        "time to cross ∝ exp(log p(mode) − log p(saddle)) = exp(3²/(2·0.5²)) = e¹⁸",
        NCSN.at("section 3.2.2 and algorithm 1"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Mixture\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "walk, x = sf.Langevin(0.05), torch.tensor([[-3.0, 0.0]]).double().repeat(300, 1)\n"
        "*_, last = walk.walk(p, x, walk.times(p, 1000), torch.Generator().manual_seed(0))\n"
        "print(float((last.x[:, 0] > 0).double().mean()))",
        "#/walk?sigma=0.05&a=Langevin(size%3D0.02)&b=AnnealedLangevin(steps%3D5)&evaluations=400&from=point&start=-1.2,-0.7",
    ),
    Exercise(
        "flow",
        CHAPTER,
        "Twice from one start",
        "200 walks from noise to data all begin at the same point. Walked along the probability flow, and walked "
        "with fresh noise at every step: where do they end?",
        Choices(
            (
                "The flow: all at one point. With noise: all over the data.",
                "Both all over the data.",
                "Both at one point: the model is the same.",
            )
        ),
        _replayed,
        Dial("part of the noise η", 0.05, 1.0, 1.0, 0.05),
        "Both have the same density at every moment, though only one of them draws. The flow is a map from noise to "
        "data, with an inverse: it gives likelihoods and lets us interpolate. Noise forgets where a walk began, and "
        "its errors with it.",
        "flow: dx = (f x − ½g² s) dt;   noisy: dx = (f x − g² s) dt + g dw̄",
        SDE.at("eq. 6 and 13"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Mixture\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "model, x = p.denoiser(sf.EDM(10.0)), torch.tensor([[4.0, -9.0]]).double().repeat(2, 1)\n"
        "*_, last = sf.Ancestral(0.0).walk(model, x, sf.grids.logsnr(model.noise, 60), Streams(5, range(2)))\n"
        "print(float((last.x[0] - last.x[1]).norm()))",
        "#/walk?a=Ancestral()&b=Ancestral(eta%3D0)",
    ),
    Exercise(
        "order",
        CHAPTER,
        "Twice as many steps",
        "You walk the probability flow with Heun's method and take twice as many steps. By what factor does the "
        "error at the end fall?",
        Estimate(1.0, 10.0, 0.1, 0.25, "times"),
        _halved,
        Dial("steps, before they are doubled", 8.0, 32.0, 32.0, 8.0),
        "Heun's method is of order two: its error goes as the square of the step. Euler's is of order one. A step of"
        " Heun costs two evaluations of the network, and pays from a few steps on.",
        "error ∝ steps⁻²   ⇒   a factor 2² = 4;   Euler: 2",
        KARRAS.at("algorithm 1"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Gaussian\n\n"
        "model = Gaussian(torch.zeros(1).double(), torch.eye(1).double()).denoiser(sf.EDM(10.0))\n"
        "x = 10 * torch.linspace(-2, 2, 9).double()[:, None]\n\n\n"
        "def error(steps):\n"
        "    *_, last = sf.Heun().walk(model, x, sf.grids.logsnr(model.noise, steps, floor=0.01)[:-1])\n"
        "    return float((last.x - x * ((1 + 0.01**2) / (1 + 10.0**2)) ** 0.5).square().mean().sqrt())\n\n\n"
        "print(error(32) / error(64))",
        "#/walk?a=Ancestral(eta%3D0)&evaluations=20",
    ),
    Exercise(
        "memory",
        CHAPTER,
        "A perfect student",
        "A network with no limits learns the denoising loss on 40 points to its very minimum. You draw 300 samples "
        "from it. What do you get?",
        Choices(
            (
                "New points that lie between the 40.",
                "The 40 points, over and over.",
                "Noise: 40 points are too few.",
            )
        ),
        _memorised,
        Dial("number of data", 5.0, 400.0, 40.0, 5.0),
        "The minimum of the loss is the score of the data as point masses, blurred, and its walks end on the data. "
        "What makes a model useful is that it does not reach this minimum: that it smooths as networks do.",
        "x̂(x) = Σ_i w_i(x) y_i,   w_i ∝ N(x; y_i, σ²I)   →   the nearest y_i as σ → 0",
        KARRAS.at("appendix B.3, eq. 57"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.data import moons\n"
        "from scorefield.exact import Empirical\n\n"
        "y = moons(40, generator=torch.Generator().manual_seed(0))\n"
        "x = sf.sample(Empirical(y).denoiser(sf.EDM(10.0)), 300, steps=30, seed=0)\n"
        "print(float(torch.cdist(x.double(), y.double()).amin(1).median()))",
        "#/train?density=moons&rows=50",
    ),
)
