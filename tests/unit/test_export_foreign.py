"""diffusers and azula: the same samples there, the same denoiser here, and a wrong meaning seen."""

import json
import sys
from functools import partial

import pytest
import torch

import scorefield as sf
from scorefield import export
from scorefield.errors import DamagedError, ExportError, RangeError, RunError
from scorefield.export import importing
from scorefield.recipes.drawing import Drawing
from scorefield.samplers import Ancestral

diffusers = pytest.importorskip("diffusers")
SHAPE = (1, 8, 8)


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), add_attention=False,
        ).eval()  # fmt: skip


SCHEDULERS = {
    "ddpm": lambda: diffusers.DDPMScheduler(),
    "ddim, v": lambda: diffusers.DDIMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear"),
    "pndm, sample": lambda: diffusers.DDIMScheduler(prediction_type="sample", beta_schedule="squaredcos_cap_v2"),
    "dpm, 100 steps": lambda: diffusers.DPMSolverMultistepScheduler(num_train_timesteps=100, beta_end=0.1),
    "zero snr": lambda: diffusers.DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "edm": lambda: diffusers.EDMEulerScheduler(sigma_data=0.6),
    "edm, v": lambda: diffusers.EDMEulerScheduler(prediction_type="v_prediction"),
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
}


@pytest.fixture(scope="module")
def network():
    return small()


def saved(folder, network, scheduler):
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_model_is_read_as_its_scheduler_means_it(name, network, tmp_path):
    found = export.from_diffusers(saved(tmp_path, network, SCHEDULERS[name]()))
    assert found.error < 2e-5
    assert found.shape == SHAPE
    model = found.model
    x, t = torch.randn(3, *SHAPE), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = model.noise.at(t, x)
    torch.testing.assert_close(alpha * model(x, t) + sigma * model.epsilon(x, t), x, atol=1e-4, rtol=1e-4)
    assert torch.allclose(model(x[1:2], t[1]), model(x, t)[1:2], atol=1e-5)
    assert sf.sample(model, 2, steps=3).shape == (2, *SHAPE)


def test_ddim_there_is_ddim_here(network, tmp_path):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    model = export.from_diffusers(saved(tmp_path, network, scheduler)).model
    scheduler.set_timesteps(10)
    n = len(model.noise.table)
    times = torch.tensor([(int(k) + 1) / n for k in scheduler.timesteps] + [0.0], dtype=torch.float64)
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    *_, last = Ancestral(eta=0.0).walk(model, x, times)
    with torch.no_grad():
        for k in scheduler.timesteps:
            x = scheduler.step(network(x, k).sample, k, x, eta=0.0).prev_sample
    torch.testing.assert_close(last.x, x, atol=2e-4, rtol=1e-4)


def test_a_wrong_meaning_is_seen(network, tmp_path, monkeypatch):
    found = export.from_diffusers(saved(tmp_path, network, diffusers.DDPMScheduler()))
    settings = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    wrong = export.Stepped(found.model.network, found.model.noise, sf.models.velocity)
    with pytest.raises(ExportError, match="differs from what DDPMScheduler predicts"):
        importing.verify(wrong, settings)
    late = export.Tabulated(tuple(2 * b for b in found.model.noise.table))
    with pytest.raises(ExportError, match="nothing was written"):
        importing.verify(export.Stepped(found.model.network, late), settings)


class Knows(torch.nn.Module):
    """The exact prediction for data N(0, ¼), of one kind."""

    shape = (2,)

    def __init__(self, noise, predict):
        super().__init__()
        self.noise, self.predict = noise, predict

    def forward(self, x, step):
        t = (step.double() + 1) / len(self.noise.table)
        alpha, sigma = (scale.float()[:, None] for scale in self.noise.scales(t))
        clean = 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * x
        c_skip, c_out, _, _ = self.predict(alpha, sigma)
        return (clean - c_skip * x) / c_out


@pytest.mark.parametrize("true", list(importing.MEANINGS))
def test_data_tell_what_a_network_predicts(true):
    table = diffusers.DDPMScheduler().alphas_cumprod.double()
    noise = export.Tabulated(tuple((-table.log()).tolist()))
    network = Knows(noise, importing.MEANINGS[true])
    data = 0.5 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    for stated, predict in importing.MEANINGS.items():
        model = export.Stepped(network, noise, predict)
        if stated == true:
            importing._require_meaning(model, {"prediction_type": stated}, data)
        else:
            with pytest.raises(ExportError, match=f"says prediction_type '{stated}'.*better as '{true}'"):
                importing._require_meaning(model, {"prediction_type": stated}, data)


def test_the_chain_of_steps_is_a_noise_like_others():
    table = diffusers.DDPMScheduler().alphas_cumprod.double()
    noise = export.Tabulated(tuple((-table.log()).tolist()))
    t = torch.linspace(0.013, 1, 60, dtype=torch.float64)
    torch.testing.assert_close(noise.time(noise.ratio(t)), t, atol=1e-9, rtol=0)
    assert bool((noise.ratio(t).diff() > 0).all())
    assert bool((noise.rates(t)[1] > 0).all())
    vp = sf.VP(0.1, 20.0)  # of which DDPM's linear betas are the steps
    assert float((noise.scales(t)[0] / vp.scales(t)[0] - 1).abs().max()) < 0.05
    assert sf.describe.build(sf.describe.describe(noise)) == noise
    with pytest.raises(RangeError, match="must rise"):
        export.Tabulated((0.2, 0.1))


def lively(module):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return module.eval()


def ours():
    network = sf.UNet(size=8, width=8, multipliers=(1, 2), blocks=1, classes=3)
    return lively(sf.Preconditioned(network, sf.EDM(20.0), partial(sf.models.edm, data_std=0.5)))


HOW = Drawing(None, 4, classes=3, weight=1.5, low=0.3, high=4.0)


def test_diffusers_draws_the_same_samples_and_the_way_back_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model, scaling = ours(), sf.data.Scaling.pixels()
    folder = tmp_path / "hub"
    export.to_diffusers(model, folder, how=HOW, shape=SHAPE, scaling=scaling, run="tiny")
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True)
    drawn = pipe(batch_size=5, seed=3, output_type="pt").images
    assert torch.equal(drawn, scaling.to_data(HOW.sample(model, 5, shape=SHAPE, seed=3)))
    torch.testing.assert_close(pipe(batch_size=2, seed=3, output_type="pt").images, drawn[:2], atol=0.01, rtol=1e-4)
    pictures = pipe(batch_size=2, seed=3, num_inference_steps=2, class_label=1).images
    assert pictures[0].size == (8, 8)
    x, t, label = torch.randn(2, *SHAPE), torch.tensor(0.1), torch.tensor([0, 2])
    assert torch.equal(pipe.denoiser(x, t, label), model(x, t, label=label))
    back = export.from_diffusers(folder)
    assert back.how == HOW
    assert back.scaling == scaling
    assert torch.equal(back.model(x, t, label=label), model(x, t, label=label))
    for name in [name for name in sys.modules if name.startswith("diffusers_modules")]:
        del sys.modules[name]


def test_tensors_in_a_pt_file(tmp_path):
    model = ours()
    weights, about = export.to_pt(model, tmp_path, how=HOW, shape=SHAPE, scaling=sf.data.Scaling.pixels())
    other = sf.describe.build(json.loads(about.read_text())["model"])
    other.load_state_dict(torch.load(weights, weights_only=True))
    x = torch.randn(2, *SHAPE)
    assert torch.equal(other.eval()(x, torch.tensor(0.2)), model(x, torch.tensor(0.2)))


def test_folders_that_are_no_models_are_told(network, tmp_path):
    with pytest.raises(RunError, match=r"no unet/config.json"):
        export.from_diffusers(tmp_path / "nowhere")
    folder = saved(tmp_path / "a", network, diffusers.DDPMScheduler())
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match="truncated or altered"):
        export.from_diffusers(folder)
    weights.rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(RunError, match="only safetensors are read"):
        export.from_diffusers(folder)
    weights.write_bytes(whole)
    config = json.loads((folder / "unet" / "config.json").read_text())
    for change, words in (
        ({"_class_name": "UNet2DConditionModel"}, "is no UNet2DModel"),
        ({"num_class_embeds": 4}, "conditioned on classes"),
        ({"out_channels": 2}, "as many channels out as in"),
    ):
        (folder / "unet" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(RunError, match=words):
            export.from_diffusers(folder)
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"block_out_channels": [8, 12]}))
    with pytest.raises(DamagedError, match="not those of the model"):
        export.from_diffusers(folder)
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(DamagedError, match="this is not JSON"):
        export.from_diffusers(folder)
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text(json.dumps({"_class_name": "ScoreSdeVeScheduler"}))
    with pytest.raises(RunError, match="has no table of betas"):
        export.from_diffusers(folder)
    settings.write_text(json.dumps({"_class_name": "DDPMScheduler", "beta_schedule": "linear", "prediction_type": "u"}))
    with pytest.raises(RunError, match="prediction_type 'u' is not known"):
        export.from_diffusers(folder)
    settings.unlink()
    with pytest.raises(RunError, match="says what the network predicts"):
        export.from_diffusers(folder)


@pytest.mark.parametrize("kind", ["SimpleDenoiser", "KarrasDenoiser"])
@pytest.mark.parametrize("schedule", ["VPSchedule", "VESchedule", "RectifiedSchedule", "CosineSchedule"])
def test_an_azula_denoiser_is_a_denoiser(kind, schedule):
    denoise, noise = pytest.importorskip("azula.denoise"), pytest.importorskip("azula.noise")

    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2)

        def forward(self, x, t):
            return torch.tanh(self.linear(torch.cat([x, t.expand(len(x))[:, None]], 1)))

    theirs = getattr(denoise, kind)(Backbone(), getattr(noise, schedule)())
    ours = export.Azula(theirs, (2,))
    x = torch.randn(4, 2)
    for level in (0.02, 0.5, 2.0, 20.0):
        t = ours.noise.time(torch.tensor(level, dtype=torch.float64))
        at = ours._time(torch.tensor(level, dtype=torch.float64))
        alpha, sigma = theirs.schedule(at)
        assert float(sigma / alpha) == pytest.approx(level, rel=1e-6)
        mine = ours(ours.noise.at(t, x)[0] * x, t)
        torch.testing.assert_close(mine, theirs((alpha * x).float(), at.float()).mean, atol=2e-5, rtol=1e-4)
    assert sf.sample(ours, 3, steps=4).shape == (3, 2)


def test_azulas_exact_denoiser_gives_exact_samples():
    denoise, noise = pytest.importorskip("azula.denoise"), pytest.importorskip("azula.noise")
    from azula.linalg.covariance import IsotropicCovariance

    theirs = denoise.GaussianDenoiser(
        torch.tensor([1.0, -2.0]), IsotropicCovariance(torch.tensor(0.25)), noise.VPSchedule()
    )
    drawn = sf.sample(export.Azula(theirs, (2,)), 2000, steps=30)
    assert ((drawn.mean(0) - torch.tensor([1.0, -2.0])).abs() < 5 * 0.5 / 2000**0.5 + 0.01).all()
    assert ((drawn.std(0) - 0.5).abs() < 5 * 0.5 / 4000**0.5 + 0.01).all()
