"""The three targets: their definitions, the round trips, errors."""

import pytest
import torch

from ldm_edu.forward import q_sample
from ldm_edu.schedule import cosine, from_betas, linear, scaled_linear, straight, variance_exploding
from ldm_edu.target import to_prediction, training_target

f64 = torch.float64
SCHEDULES = {
    "linear": linear(),
    "scaled_linear": scaled_linear(),
    "cosine": cosine(),
    "exploding": variance_exploding(),
    "straight": straight(),
}
TARGETS = ("eps", "x0", "v")


def batch(n, dtype=f64):
    return torch.randn(2, n, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("target", TARGETS)
def test_round_trip(schedule, target):
    """The answer's x̂_0 and ε̂ are the x_0 and ε that went in; dividing by signal or noise loses that many digits."""
    last = schedule.T - 1 if target == "eps" and schedule.signal[-1] == 0 else schedule.T
    t = torch.arange(1, last + 1)
    x_0, eps = batch(len(t))
    x_t = q_sample(x_0, t, eps, schedule)
    prediction = to_prediction(training_target(x_0, t, eps, schedule, target), x_t, t, schedule, target)
    sigma = schedule.sigma[t].view(-1, 1, 1)
    lost = {"eps": 1 + sigma, "x0": 1 + 1 / sigma, "v": torch.ones_like(sigma)}[target]
    assert ((prediction.x0 - x_0).abs() / lost).max() < 1e-12
    assert ((prediction.eps - eps).abs() / lost).max() < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("target", TARGETS)
def test_any_answer_gives_a_pair_that_makes_x_t(schedule, target):
    t = torch.tensor([1, 10, 500, 900, 999])
    x_t, out = batch(5)
    x0_hat, eps_hat = to_prediction(out, x_t, t, schedule, target)
    made = q_sample(x0_hat, t, eps_hat, schedule)
    torch.testing.assert_close(made, x_t, rtol=1e-9, atol=1e-9)
    again = training_target(x0_hat, t, eps_hat, schedule, target)
    torch.testing.assert_close(again, out, rtol=1e-9, atol=1e-9)


def test_definitions():
    schedule = linear()
    x_0, eps = batch(4)
    t = torch.tensor([0, 1, 500, 1000])
    assert training_target(x_0, t, eps, schedule, "eps") is eps
    assert training_target(x_0, t, eps, schedule, "x0") is x_0
    root, rest = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
    v = root.view(-1, 1, 1) * eps - rest.view(-1, 1, 1) * x_0
    torch.testing.assert_close(training_target(x_0, t, eps, schedule, "v"), v, rtol=1e-11, atol=1e-12)


def test_v_is_the_derivative_of_x_along_the_circle():
    """With signal = cos φ and noise = sin φ, v = dx/dφ (Salimans and Ho, Appendix D)."""
    schedule, t = cosine(), 400
    x_0, eps = batch(1)
    angle = torch.atan2(schedule.noise[t], schedule.signal[t]).requires_grad_()
    slope = torch.autograd.functional.jvp(lambda a: a.cos() * x_0 + a.sin() * eps, angle, torch.ones_like(angle))[1]
    torch.testing.assert_close(training_target(x_0, t, eps, schedule, "v"), slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_one_int_means_the_same_as_a_batch(target):
    schedule = linear(50)
    x_t, out = batch(3, torch.float32)
    one = to_prediction(out, x_t, 20, schedule, target)
    many = to_prediction(out, x_t, torch.full((3,), 20), schedule, target)
    assert torch.equal(one.x0, many.x0)
    assert torch.equal(one.eps, many.eps)
    assert one.x0.dtype == one.eps.dtype == torch.float32


def test_eps_does_not_fix_x_0_where_there_is_no_signal():
    x_t, out = batch(2)
    for t in (10, torch.tensor([3, 10])):
        with pytest.raises(ValueError, match="predict x0 or v instead"):
            to_prediction(out, x_t, t, straight(10), "eps")
    x0_hat, _ = to_prediction(out, x_t, 10, straight(10), "v")
    torch.testing.assert_close(x0_hat, -out)


@pytest.mark.parametrize("t", [25_000, torch.tensor([3, 25_000])])
def test_signal_that_is_nothing_to_the_type_of_x_t_is_not_divided_by(t):
    schedule, (x_t, out) = linear(25_000), batch(2)
    assert schedule.signal[-1] > 0
    assert to_prediction(out, x_t, t, schedule, "eps").x0.isfinite().all()
    x_t, out = x_t.float(), out.float()
    with pytest.raises(
        ValueError, match=r"signal\[t\] is 0 to torch\.float32 at t = .*25000.*; predict x0 or v instead"
    ):
        to_prediction(out, x_t, t, schedule, "eps")
    assert to_prediction(out, x_t, t, schedule, "v").x0.isfinite().all()


def test_noise_that_is_nothing_to_the_type_of_x_t_is_not_divided_by():
    x_t, out = batch(2, torch.float16)
    with pytest.raises(ValueError, match=r"noise\[t\] is 0 to torch\.float16 at t = 1, so .* give t ≥ 1"):
        to_prediction(out, x_t, 1, from_betas([1e-17] * 3), "x0")


def test_x_0_does_not_fix_eps_where_there_is_no_noise():
    x_t, out = batch(2)
    for t in (0, torch.tensor([0, 10])):
        with pytest.raises(ValueError, match="give t ≥ 1"):
            to_prediction(out, x_t, t, linear(10), "x0")


def test_bad_input():
    x, schedule = torch.zeros(2, 3), linear(10)
    for call in (training_target, to_prediction):
        arguments = (x, 1, x) if call is training_target else (x, x, 1)
        with pytest.raises(ValueError, match="got 'score'"):
            call(*arguments, schedule, "score")
    with pytest.raises(ValueError, match="one shape"):
        training_target(x, 1, x[:1], schedule, "eps")
    with pytest.raises(ValueError, match="one shape"):
        to_prediction(x[:1], x, 1, schedule, "eps")
    with pytest.raises(ValueError, match="lie in"):
        training_target(x, 11, x, schedule, "eps")
    with pytest.raises(ValueError, match="lie in"):
        to_prediction(x, x, -1, schedule, "eps")
