"""The noise slider at the speed of a hand, for every law: drawn without the server, equal to the server, never older than it says."""

import pytest

from conftest import ready, until

LAWS = ["mixture", "moons", "rings", "spirals", "checkerboard", "table"]
LEVELS = [0.02, 0.05, 0.077, 0.08, 0.3, 1.0, 5.0]
CSV = "a,b\n" + "\n".join(f"{(37 * k) % 101 / 10},{(k * k) % 97}" for k in range(400))

COMPARE = """async ([name, sigma, wrong]) => {
    const {post, unpack} = await import("/lib/api.js");
    const laws = await import("/lib/laws.js"), closed = await import("/lib/densities.js");
    const lattice = (law, s, n, order) => (law.kind === "modes" ? closed.field(law.modes, s, n) : laws.lattice(law, s, n, order));
    const table = name === "table" ? (await post("/api/tables", {text: wrong.csv, name})).id : "";
    const density = name === "mixture" ? {name, modes: wrong.modes.map(([x, y, std, weight]) => ({x, y, std, weight}))} : {name, table};
    const law = name === "mixture" ? {kind: "modes", modes: wrong.modes} : laws.read(await post("/api/field/law", {density}));
    const server = await post("/api/field", {density, sigma, show: "divergence", n: 40, fine: 30});
    const compared = (law) => {
        const ours = lattice(law, sigma, 40, 1).score, fine = lattice(law, sigma, 30, 2), s = unpack(server.score);
        const largest = server.largest, log = unpack(server.log_density), map = unpack(server.map);
        let score = 0, density = 0, divergence = 0;
        for (let p = 0; p < 1600; p += 1) {
            const off = Math.hypot(ours[2 * p] - s[2 * p], ours[2 * p + 1] - s[2 * p + 1]);
            score = Math.max(score, off / (Math.hypot(s[2 * p], s[2 * p + 1]) + 1e-3 * largest));
        }
        const size = map.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
        for (let p = 0; p < 900; p += 1) {
            density = Math.max(density, Math.abs(fine.logDensity[p] - log[p]) / (1 + Math.abs(log[p])));
            divergence = Math.max(divergence, Math.abs(fine.divergence[p] - map[p]) / size);
        }
        return {score, density, divergence};
    };
    const off = {modes: () => ({...law, modes: law.modes.map(([x, y, s, w]) => [x, y, s + 0.1, w])}),
                 cloud: () => ({...law, std: law.std + 0.1}), rings: () => ({...law, std: 2 * law.std}),
                 checkerboard: () => ({...law, side: 1.1 * law.side})}[law.kind]();
    return {right: compared(law), wrong: compared(off)};
}"""
MODES = [[-1.2, -0.7, 0.3, 1.0], [1.1, 0.4, 0.12, 2.5], [0.3, 1.9, 0.8, 0.2]]


@pytest.mark.parametrize("name", LAWS)
def test_the_field_under_the_hand_is_the_servers(visit, name):
    """Score, log-density and divergence within 1e-3 wherever an arrow is, at every noise level; another law is far off."""
    page = visit("/#/sources")
    for sigma in LEVELS:
        found = page.evaluate(COMPARE, [name, sigma, {"csv": CSV, "modes": MODES}])
        assert max(found["right"].values()) < 1e-3, (sigma, found["right"])
        assert max(found["wrong"].values()) > 1e-2 or sigma >= 1, (sigma, found["wrong"])


def opened(visit, name, more=""):
    """The field of a law, after the page has learned the law."""
    page = visit(f"/#/field?density={name}{more}")
    if name == "table":
        page.set_input_files("input[type=file]", {"name": "own.csv", "mimeType": "text/csv", "buffer": CSV.encode()})
        until(page, "location.hash.includes('table=')")
    until(page, "document.querySelector('.plot').dataset.sigma !== undefined")
    ready(page)
    return page


HELD = "document.querySelector('.slider output').textContent"
SEEN = "document.querySelector('.plot').dataset.sigma"
COUNT = """() => {
    window.painted = 0;
    const inner = document.querySelector(".plot canvas").getContext("2d"), fill = inner.fillRect.bind(inner);
    inner.fillRect = (...all) => { window.painted += 1; fill(...all); };
}"""


def grasp(page):
    """Takes the noise slider in hand: a function that moves it to a place between 0 and 1."""
    box = page.locator("input[type=range]").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.mouse.down()
    return lambda share: page.mouse.move(box["x"] + (0.05 + 0.9 * share) * box["width"], y)


class Held:
    """Every answer of /api/field, held back until it is let go."""

    def __init__(self, page):
        self.page, self.waiting, self.holding = page, [], True
        page.route("**/api/field", lambda route: self.waiting.append(route) if self.holding else route.continue_())

    def let_go(self):
        """Lets what waits go, once something does, and all that comes."""
        until(self.page, lambda: self.waiting)
        self.holding = False
        for route in self.waiting:
            route.continue_()


@pytest.mark.parametrize(
    ("name", "show"),
    [*((name, "density") for name in LAWS), ("mixture", "divergence"), ("spirals", "speed"), ("table", "error")],
)
def test_the_noise_is_dragged_without_the_server(visit, name, show):
    """With every answer held back, each move of the hand is drawn, at the noise level that the slider says."""
    page = opened(visit, name, f"&show={show}")
    held = Held(page)
    move, levels = grasp(page), set()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        move(share)
        until(page, f"{SEEN} === {HELD}")
        levels.add(page.evaluate(SEEN))
        told = page.eval_on_selector(".numbers td", "cell => cell.textContent")
        assert told == page.evaluate(HELD)
    assert len(levels) == 5
    page.mouse.up()
    held.let_go()
    ready(page)
    assert page.evaluate(SEEN) == page.evaluate(HELD)


@pytest.mark.parametrize("name", LAWS)
def test_the_frames_of_a_drag_are_counted(visit, name):
    """1,600 arrows over their density while the noise is dragged; how many a second depends on the machine, and is printed."""
    page = opened(visit, name)
    page.evaluate(COUNT)
    move, rates = grasp(page), []
    for _ in range(3):
        began, before = page.evaluate("[performance.now(), window.painted]")
        for k in range(60):
            move((k % 30) / 30 if k < 30 else 1 - (k % 30) / 30)
        ended, after = page.evaluate("[performance.now(), window.painted]")
        rates.append(1000 * (after - before) / (ended - began))
        assert after > before
    page.mouse.up()
    ready(page)
    print(f"{name}: painted frames a second while σ is dragged:", *(f"{rate:.0f}" for rate in rates))


def test_a_learned_field_says_its_own_noise_level_and_ends_at_the_last(visit):
    """Only the server can draw a run: what is seen meanwhile tells the level of its own, and what is drawn last was asked last."""
    page = opened(visit, "moons", "&method=run")
    before, held = page.evaluate(SEEN), Held(page)
    move = grasp(page)
    for share in (0.2, 0.5, 0.8):
        move(share)
        page.wait_for_timeout(30)
    assert page.evaluate(HELD) != before
    assert page.evaluate(SEEN) == before
    assert page.eval_on_selector(".numbers td", "cell => cell.textContent") == before
    page.mouse.up()
    held.let_go()
    until(page, f"{SEEN} === {HELD}")
    ready(page)
    assert page.evaluate(SEEN) == page.evaluate(HELD)


def test_an_answer_that_comes_after_another_choice_is_not_drawn(visit):
    page = opened(visit, "moons", "&method=run")
    held, names = Held(page), page.locator("select").first
    names.select_option("checkerboard")
    until(page, lambda: held.waiting)
    names.select_option("rings")
    page.evaluate(
        """() => {
            window.told = [];
            const canvas = document.querySelector(".plot canvas");
            new MutationObserver(() => window.told.push(canvas.getAttribute("aria-label")))
                .observe(canvas, {attributes: true, attributeFilter: ["aria-label"]});
        }"""
    )
    held.let_go()
    until(page, "window.told.some((words) => words.includes('Rings'))")
    ready(page)
    assert not [words for words in page.evaluate("window.told") if "Checkerboard" in words]
