"""Pictures show the numbers they were given."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from scorefield import plots
from scorefield.errors import DataError, ShapeError, StorageError
from scorefield.plots import curves, fields


def swirl(x: Tensor) -> Tensor:
    return torch.stack([-x[:, 1], 2 * x[:, 0]], dim=1)


def quiver(picture: Figure) -> matplotlib.quiver.Quiver:
    return next(c for c in picture.axes[0].collections if isinstance(c, matplotlib.quiver.Quiver))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_arrows_point_along_the_score_and_are_coloured_by_its_size():
    arrows = quiver(plots.field(swirl, limits=(-1.0, 2.0, -2.0, 1.0), n=6))
    place = torch.tensor(np.stack([arrows.X, arrows.Y], axis=1))
    assert place.min(0).values.tolist() == [-1, -2]
    assert place.max(0).values.tolist() == [2, 1]
    s, drawn = swirl(place), torch.tensor(np.stack([arrows.U, arrows.V], axis=1))
    torch.testing.assert_close(torch.tensor(np.asarray(arrows.get_array())), s.norm(dim=1), rtol=1e-6, atol=1e-6)
    unit = drawn / drawn.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit, s / s.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
    order = s.norm(dim=1).argsort()
    assert bool((drawn.norm(dim=1)[order].diff() >= -1e-6).all())


def test_arrows_do_not_overlap_and_axes_do_not_lie():
    """Arrow lengths are in data units: the longest spans little more than one step of the grid."""
    picture = plots.field(swirl, limits=(-1.0, 1.0, -1.0, 1.0), n=11)
    arrows = quiver(picture)
    assert np.hypot(arrows.U, arrows.V).max() / arrows.scale == pytest.approx(1.1 * 0.2)
    assert (arrows.angles, arrows.scale_units) == ("xy", "xy")
    assert picture.axes[0].get_aspect() == 1


def test_a_score_of_zero_is_drawn():
    assert np.hypot(*(lambda q: (q.U, q.V))(quiver(plots.field(torch.zeros_like, n=3)))).max() == 0


def test_field_draws_points_and_contours_into_a_panel_of_ones_own():
    picture = Figure()
    ax = picture.add_subplot(1, 2, 2)
    points = torch.tensor([[0.0, 1.0], [0.5, -0.25]])
    drawn = plots.field(
        lambda x: -x, points=points, log_density=lambda x: -x.square().sum(1) / 2, ax=ax, title="N(0, I)"
    )
    assert drawn is picture
    assert ax.get_title() == "N(0, I)"
    contours = next(c for c in ax.collections if isinstance(c, matplotlib.contour.QuadContourSet))
    assert contours.levels[-2] == pytest.approx(-0.3, abs=0.01)
    edge = contours.get_paths()[-1].vertices
    assert np.hypot(edge[:, 0], edge[:, 1]).max() == pytest.approx(np.sqrt(0.6), abs=0.02)
    dots = next(c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection))
    np.testing.assert_array_equal(dots.get_offsets(), points)
    with pytest.raises(ShapeError, match="must be alike"):
        plots.field(lambda x: x[:, :1])
    adrift = Figure().add_subplot()
    adrift.remove()
    with pytest.raises(DataError, match="no figure"):
        plots.field(lambda x: x, ax=adrift)


def test_scatter_shows_samples_beside_data_on_the_same_axes():
    data = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.cat([data[:20], torch.tensor([[9.0, 9.0]])])
    picture = plots.scatter(samples, data, title="two")
    left, right = picture.axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert left.get_title() == "data (n = 50)"
    assert right.get_title() == "samples (n = 21, 1 outside)"
    np.testing.assert_allclose(left.collections[0].get_offsets(), data)
    np.testing.assert_allclose(right.collections[0].get_offsets(), samples)
    assert len(plots.scatter(samples).axes) == 1


def test_embedding_draws_arrows_at_their_points_and_colours_by_label():
    generator = torch.Generator().manual_seed(0)
    points, arrows = torch.randn(30, 2, generator=generator), torch.randn(30, 2, generator=generator)
    labels = torch.arange(30) % 3
    picture = plots.embedding(points, arrows, labels)
    drawn = quiver(picture)
    np.testing.assert_allclose(drawn.XY, points)
    np.testing.assert_allclose(np.stack([drawn.U, drawn.V], 1), arrows)
    dots = [c for c in picture.axes[0].collections if c is not drawn]
    for k in range(3):
        np.testing.assert_allclose(dots[k].get_offsets(), points[k::3])
    assert [t.get_text() for t in picture.axes[0].get_legend().get_texts()] == ["0", "1", "2"]
    assert picture.axes[0].get_legend() is not None
    assert plots.embedding(points, arrows).axes[0].get_legend() is None


def test_around_ignores_a_thousandth_on_either_side_of_large_samples():
    x = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    x[0] = 1000
    left, right, bottom, top = plots.around(x, 0.0)
    assert -0.001 < left < 0.003
    assert 0.997 < right < 1.001
    assert (bottom, top) == pytest.approx((left, right), abs=0.003)
    assert fields.lattice((0.0, 1.0, 0.0, 2.0), 3)[:4].tolist() == [[0, 0], [0.5, 0], [1, 0], [0, 1]]


def test_mosaic_places_images_and_undoes_the_scaling():
    pixels = torch.arange(5 * 3 * 4 * 6).reshape(5, 3, 4, 6) % 256
    sheet = plots.mosaic(pixels / 127.5 - 1, columns=2, gap=1)
    assert sheet.shape == (3 * 5 - 1, 2 * 7 - 1, 3)
    for k in range(5):
        top, left = k // 2 * 5, k % 2 * 7
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 6], pixels[k].permute(1, 2, 0))
    assert (sheet[4] == 255).all()
    assert (sheet[10:, 7:] == 255).all()


def test_mosaic_clips_and_refuses():
    assert plots.mosaic(torch.tensor([-3.0, 0.0, 7.0]).reshape(1, 1, 1, 3))[0, :, 0].tolist() == [0, 128, 255]
    for shape in ((2, 2, 4, 4), (0, 1, 4, 4)):
        with pytest.raises(ShapeError, match="1 or 3"):
            plots.mosaic(torch.zeros(shape))


def test_grid_and_sheet_show_the_mosaic(tmp_path):
    images = torch.rand(7, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = plots.mosaic(images, columns=4)
    picture = plots.grid(images, columns=4, title="seven")
    np.testing.assert_array_equal(picture.axes[0].images[0].get_array(), expected)
    assert picture.axes[0].get_title() == "seven"
    path = plots.sheet(images, tmp_path / "new" / "sheet.png", columns=4, zoom=3)
    np.testing.assert_array_equal(pixels_of(path), expected.repeat(3, axis=0).repeat(3, axis=1))


def test_walk_of_images_shows_first_and_last_state_and_their_times():
    states = [torch.full((5, 1, 3, 3), v) for v in torch.linspace(0.9, -1, 21).tolist()]
    picture = plots.walk(states, times=torch.linspace(1, 0, 21).tolist(), rows=2, columns=3)
    pixels = picture.axes[0].images[0].get_array()
    assert pixels.shape == (2 * 5 - 2, 3 * 5 - 2, 3)
    assert pixels[0, [0, 5, 10], 0].tolist() == [round(127.5 * 1.9), round(127.5 * 0.95), 0]
    assert [t.get_text() for t in picture.axes[0].get_xticklabels()] == ["t = 1", "t = 0.5", "t = 0"]


def test_walk_scales_noise_into_view():
    noise = torch.tensor([-40.0, 40.0]).reshape(1, 1, 1, 2)
    pixels = plots.walk([noise, noise / 80]).axes[0].images[0].get_array()
    assert pixels[0, :2, 0].tolist() == [0, 255]
    assert pixels[0, 4:6, 0].tolist() == [64, 191]


def test_walk_of_points_has_a_panel_a_state():
    states = [k * torch.tensor([[1.0, 2.0], [3.0, -1.0]]) for k in (3.0, 2.0, 1.0)]
    picture = plots.walk(states, times=[1.0, 0.5, 0.0])
    for ax, state, head in zip(picture.axes, states, ("t = 1", "t = 0.5", "t = 0")):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), state)
        assert ax.get_title() == head
        assert ax.get_xlim() == picture.axes[0].get_xlim()
    with pytest.raises(DataError, match="no states"):
        plots.walk([])
    with pytest.raises(ShapeError, match="walk of states"):
        plots.walk([torch.zeros(3, 5)])


def test_smoothing_is_a_weighted_mean_of_what_came_so_far():
    values, beta = [4.0, 1.0, 7.0, 2.0], 0.9
    weights = np.array([beta ** (3 - k) for k in range(4)])
    assert curves.smoothed(values, beta)[-1] == pytest.approx(np.dot(weights, values) / weights.sum())
    assert curves.smoothed([5.0, float("nan"), 5.0], beta) == pytest.approx([5, 5, 5])
    assert np.isnan(curves.smoothed([float("inf")], beta)[0])


def test_losses_draw_every_record():
    log = [{"step": k, "loss": 10.0 / k} for k in range(1, 9)]
    log[3]["held_out"] = {0.1: 2.0, 1.0: 4.0}
    log[7]["held_out"] = {0.1: 1.0, 1.0: 2.0}
    picture = plots.losses(log, smooth=0.5)
    left, right = picture.axes
    raw, smooth, held = left.get_lines()
    np.testing.assert_allclose(raw.get_ydata(), [10.0 / k for k in range(1, 9)])
    np.testing.assert_allclose(smooth.get_ydata(), curves.smoothed([10.0 / k for k in range(1, 9)], 0.5))
    np.testing.assert_allclose(held.get_xydata(), [[4, 3], [8, 1.5]])
    np.testing.assert_allclose([line.get_ydata() for line in right.get_lines()], [[2, 1], [4, 2]])
    assert [left.get_yscale(), right.get_yscale()] == ["log", "log"]


def test_losses_that_are_negative_have_a_linear_axis():
    picture = plots.losses([{"step": 1, "loss": 2.0}, {"step": 2, "loss": -1.0, "held_out": -0.5}])
    assert len(picture.axes) == 1
    assert picture.axes[0].get_yscale() == "linear"
    np.testing.assert_allclose(picture.axes[0].get_lines()[2].get_xydata(), [[2, -0.5]])
    with pytest.raises(DataError, match="nothing to draw"):
        plots.losses([{"step": 1}])


def test_levels_show_the_model_beside_the_baseline():
    picture = plots.levels([0.1, 1.0, 10.0], [5.0, 3.0, 1.0], [6.0, 6.0, 6.0], errors=[0.5, 0.2, 0.1])
    ax = picture.axes[0]
    baseline, model = ax.get_lines()[:2]
    np.testing.assert_allclose(baseline.get_xydata(), [[0.1, 6], [1, 6], [10, 6]])
    np.testing.assert_allclose(model.get_xydata(), [[0.1, 5], [1, 3], [10, 1]])
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in bars], [[4.5, 5.5], [2.8, 3.2], [0.9, 1.1]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert plots.levels([0.0, 1.0], [1.0, 2.0]).axes[0].get_xscale() == "linear"
    with pytest.raises(ShapeError, match="same length"):
        plots.levels([0.1, 1.0], [5.0])


def test_compare_writes_its_numbers_beside_the_bars():
    picture = plots.compare(["a", "b", "c"], [3.0, 1.25, 0.4], [0.3, 0.04, 0.02], best=0.3)
    ax = picture.axes[0]
    bars = next(c for c in ax.containers if isinstance(c, matplotlib.container.BarContainer))
    assert [b.get_width() for b in bars] == [3.0, 1.25, 0.4]
    np.testing.assert_allclose(bars.errorbar.lines[2][0].get_segments()[1][:, 0], [1.21, 1.29])
    assert [t.get_text() for t in ax.texts] == ["3.0 ± 0.3", "1.25 ± 0.04", "0.40 ± 0.02"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.yaxis_inverted()
    assert ax.get_lines()[-1].get_xdata() == [0.3, 0.3]
    assert ax.get_xlim()[1] > 3.3
    assert [t.get_text() for t in plots.compare(["a"], [1.5]).axes[0].texts] == ["1.5"]


def test_save_writes_whole_files_or_none(tmp_path):
    picture = plots.grid(torch.zeros(1, 1, 4, 4))
    path = plots.save(picture, tmp_path / "made" / "picture.png")
    width, height = picture.get_size_inches() * picture.dpi
    assert pixels_of(path).shape[:2] == (int(height), int(width))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not supported"):
        plots.save(picture, tmp_path / "made" / "picture.nonsense")
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
    assert path.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        plots.save(picture, tmp_path / "file" / "picture.png")


def test_nothing_global_is_touched():
    import subprocess
    import sys

    code = (
        "import sys, torch; from scorefield import plots; assert 'matplotlib' not in sys.modules; "
        "plots.grid(torch.zeros(1, 1, 4, 4)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
