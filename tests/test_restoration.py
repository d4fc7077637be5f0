import pytest
import torch
from torch import nn

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.edit_inputs import Condition
from ldm_edu.latent import LatentDiffusion
from ldm_edu.measurement import downsample, masked
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.objectives import DiffusionObjective
from ldm_edu.restoration import PictureConditioned, posterior_mean, posterior_sample, restore, time_of
from ldm_edu.schedule import cosine, linear, variance_exploding

f64 = torch.float64
VARIANCE = 0.09


def seed(number):
    return torch.Generator().manual_seed(number)


def gaussian(schedule, mean=0.1):
    means = torch.full((1, 1, 8, 8), mean, dtype=f64)
    return mixture_denoiser(means, torch.tensor([VARIANCE], dtype=f64), torch.ones(1), schedule)


@pytest.mark.parametrize("schedule", [cosine(), linear(), variance_exploding()])
def test_the_time_of_a_noise_level_is_where_sigma_is_nearest(schedule):
    for t in (1, 10, 500, 900):
        assert time_of(schedule.sigma[t].item(), schedule) == t
    level = 0.37
    away = (schedule.sigma - level).abs()
    assert away[time_of(level, schedule)] == away[1:].min()


def test_the_posterior_mean_of_gaussian_data_shrinks_towards_their_mean():
    schedule = cosine()
    t = 250
    level = schedule.sigma[t].item()
    y = 0.1 + torch.randn(4, 1, 8, 8, dtype=f64, generator=seed(0))
    expected = 0.1 + VARIANCE / (VARIANCE + level**2) * (y - 0.1)
    torch.testing.assert_close(posterior_mean(gaussian(schedule), y, level, schedule), expected)


def test_a_posterior_sample_has_the_posterior_and_twice_the_squared_error():
    schedule = cosine()
    level = schedule.sigma[300].item()
    x_0 = 0.1 + VARIANCE**0.5 * torch.randn(300, 1, 8, 8, dtype=f64, generator=seed(1))
    y = x_0 + level * torch.randn(x_0.shape, dtype=f64, generator=seed(2))
    exact = gaussian(schedule)
    mean = posterior_mean(exact, y, level, schedule)
    sample = posterior_sample(exact, y, level, schedule, steps=300, generator=seed(3))
    spread = VARIANCE * level**2 / (VARIANCE + level**2)
    assert abs((sample - mean).square().mean() / spread - 1) < 0.03
    ratio = (sample - x_0).square().mean() / (mean - x_0).square().mean()
    assert abs(ratio - 2) < 0.05


def test_without_fresh_noise_the_sample_is_a_function_of_y():
    schedule = cosine()
    y = torch.randn(2, 1, 8, 8, dtype=f64, generator=seed(4))
    a, b = (posterior_sample(gaussian(schedule), y, 0.3, schedule, eta=0.0, generator=seed(s)) for s in (1, 2))
    assert torch.equal(a, b)


class ExactV(nn.Module):
    """A network that answers v of Gaussian pixels exactly."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.exact = schedule, gaussian(schedule)

    def forward(self, x, t, cond=None):
        x0_hat, eps_hat = self.exact(x, int(t[0]))
        signal, noise = (getattr(self.schedule, name)[t].view(-1, 1, 1, 1).to(x) for name in ("signal", "noise"))
        return signal * eps_hat - noise * x0_hat


UNET = UNetConfig(in_channels=1, out_channels=1, width=16, multipliers=(1,), middle_attention=False)


def pixel_model():
    schedule = cosine(200)
    model = LatentDiffusion(ModelConfig(8, 1, UNET), schedule)
    model.unet = ExactV(schedule)
    return model.eval()


def test_restoring_with_an_exact_pixel_model_gives_the_posterior():
    mask = torch.ones(1, 8, 8)
    mask[:, 2:6, 2:6] = 0
    x_0 = 0.1 + VARIANCE**0.5 * torch.randn(1, 1, 8, 8, generator=seed(5))
    y = (x_0 * mask).expand(400, 1, 8, 8)
    restored = restore(
        pixel_model(), y, masked(mask), noise_level=0.05, steps=100, eta=0.0, generator=seed(6), batch=150
    )
    assert restored.shape == (400, 1, 8, 8)
    assert restored.dtype == torch.float32
    hole = mask[0] == 0
    share = VARIANCE / (VARIANCE + 0.05**2)
    assert (restored.mean(0)[0][~hole] - (0.1 + share * (x_0[0, 0] - 0.1))[~hole]).abs().max() < 0.015
    assert (restored.mean(0)[0][hole] - 0.1).abs().max() < 0.06  # 4 standard errors
    assert abs(restored[:, 0, hole].std() / VARIANCE**0.5 - 1) < 0.05


def test_a_latent_model_is_drawn_towards_the_measurement():
    torch.manual_seed(0)
    coder = AutoencoderConfig(in_channels=1, latent_channels=2, width=8, multipliers=(1, 1), middle_attention=False)
    config = ModelConfig(
        16,
        1,
        UNetConfig(2, 2, width=16, multipliers=(1,), middle_attention=False, num_classes=3),
        coder,
        "v",
        tuple("abc"),
    )
    model = LatentDiffusion(config, cosine(200)).eval().requires_grad_(False)
    labels = torch.tensor([0, 1, 2])
    y = downsample(model.decode(torch.randn(3, 2, 8, 8, generator=seed(7))), 2)

    def misfit(pictures):
        return (downsample(pictures, 2) - y).square().mean().item()

    free = model.generate(3, labels=labels, steps=50, eta=1.0, generator=seed(8))
    told = Condition(labels, guidance=2.0)
    drawn = restore(model, y, lambda x: downsample(x, 2), told, steps=50, generator=seed(8))
    assert drawn.shape == (3, 1, 16, 16)
    assert misfit(drawn) < 0.3 * misfit(free)
    assert torch.equal(drawn, restore(model, y, lambda x: downsample(x, 2), told, steps=50, generator=seed(8)))


def test_a_network_that_sees_a_picture_depends_on_it_and_trains():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PictureConditioned(
            UNet(UNetConfig(2, 1, width=16, multipliers=(1,), middle_attention=False, zero_init=False))
        )
    x, cond = torch.randn(2, 3, 1, 8, 8, generator=seed(9))
    t = torch.tensor([1, 50, 90])
    out = net(x, t, cond)
    assert out.shape == x.shape
    assert not torch.allclose(out, net(x, t, -cond))
    schedule = cosine(100)
    loss = DiffusionObjective(net, schedule, "v")(x, t, torch.randn(x.shape, generator=seed(10)), cond)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_bad_input_is_refused_with_a_reason():
    schedule, model = cosine(), pixel_model()
    y = torch.zeros(1, 1, 8, 8)
    for level in (0.0, -0.1, 1e9):
        with pytest.raises(ValueError, match="noise_level must lie between"):
            time_of(level, schedule)
    with pytest.raises(ValueError, match="steps must be a whole number, 1 or more, got 0"):
        posterior_sample(gaussian(schedule), y, 0.1, schedule, steps=0)
    with pytest.raises(ValueError, match="batch must be a whole number, 1 or more, got 0"):
        restore(model, y, lambda x: x, batch=0)
    with pytest.raises(ValueError, match="no classes"):
        restore(model, y, lambda x: x, Condition(torch.tensor([0])))
    net = PictureConditioned(UNet(UNetConfig(2, 1, width=16, multipliers=(1,), middle_attention=False)))
    for cond in (None, torch.zeros(1, 1, 4, 4), torch.zeros(2, 1, 8, 8), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match="enlarge it first"):
            net(y, 5, cond)
