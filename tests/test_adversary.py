"""The discriminator, and that each side of the adversarial loss gets its own gradient and no other."""

import copy
import dataclasses
import os

import pytest
import torch
from tiny import TINY, assert_same, blobs, finished, python, weights
from torch import nn

from ldm_edu.adversary import Adversary, Balance, discriminator_loss, generator_loss
from ldm_edu.checkpoint import read_tensors
from ldm_edu.data.pictures import to_float
from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.autoencoder import Autoencoder
from ldm_edu.nets.discriminator import PatchDiscriminator
from ldm_edu.objectives import AutoencoderObjective
from ldm_edu.train import Hooks, train

WITH = dataclasses.replace(TINY, adversarial=0.5, adversarial_start=1)


def made(start=0, weight=0.5, adversarial=True, **size):
    """A small objective with random weights, and a batch."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(dataclasses.replace(TINY.autoencoder, in_channels=1, zero_init=False, **size))
    adversary = Adversary(PatchDiscriminator(1, width=8), weight, start) if adversarial else None
    x = to_float(blobs(6).pixels)
    return AutoencoderObjective(autoencoder, 0.3, 0.01, adversary=adversary), x, torch.randn(6, 2, 4, 4)


def gradients(objective, *batch):
    objective.zero_grad()
    objective(*batch).backward()
    return {name: p.grad.clone() for name, p in objective.named_parameters()}


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (16, 1), (64, 3)])
def test_there_is_one_score_for_each_four_pixels_along_a_side(size, channels):
    scores = PatchDiscriminator(channels)(torch.zeros(2, channels, size, size))
    assert scores.shape == (2, 1, size // 4, size // 4)


def test_a_score_does_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(0)
    net, x = PatchDiscriminator(3), torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]), rtol=1e-4, atol=1e-5)


def test_a_score_looks_at_26_pixels():
    net = PatchDiscriminator(1)
    net.norm2, net.norm3 = nn.Identity(), nn.Identity()  # these see the whole map, if only its mean and deviation
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[0, 0, 8, 8], x)
    assert [len(where.unique()) for where in gradient[0, 0].nonzero().T] == [26, 26]


def test_hinge_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(real, fake).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3))
    assert generator_loss(fake).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_second_gradient_is_as_long_as_asked(weight):
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(3, 4, generator=generator, requires_grad=True) for _ in range(3))
    first, second = Balance.apply(x, weight)
    assert torch.equal(first, x)
    assert torch.equal(second, x)
    ((first * a).sum() + 1e-5 * (second * b).sum()).backward()  # however small the second loss is
    torch.testing.assert_close(x.grad, a + weight * a.norm() * b / b.norm())


def test_a_second_gradient_of_zero_adds_nothing():
    x = torch.ones(3, requires_grad=True)
    first, second = Balance.apply(x, 0.5)
    (first.sum() + 0 * second.sum()).backward()
    assert torch.equal(x.grad, torch.ones(3))


def test_one_backward_gives_what_two_separate_ones_give():
    objective, x, z = made()
    got = gradients(objective, x, z)
    net, judge = objective.autoencoder, objective.adversary.discriminator
    code = net.encode(x)
    answer = net.decode(code.mean + torch.exp(0.5 * code.logvar) * z)

    for name, expected in zip(
        (n for n in got if n.startswith("adversary")),
        torch.autograd.grad(discriminator_loss(judge(x), judge(answer.detach())), list(judge.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-7)

    error = answer - x
    (g,) = torch.autograd.grad(error.square().mean() + 0.3 * error.abs().mean(), answer, retain_graph=True)
    (h,) = torch.autograd.grad(generator_loss(judge(answer)), answer, retain_graph=True)
    pull = g + 0.5 * g.norm() * h / h.norm()
    total = (answer * pull.detach()).sum() + 0.01 * code.kl().mean() / z[0].numel()  # its gradient at answer is `pull`
    for name, expected in zip(
        (n for n in got if n.startswith("autoencoder")), torch.autograd.grad(total, list(net.parameters())), strict=True
    ):
        torch.testing.assert_close(got[name], expected, rtol=1e-3, atol=1e-6)


def test_a_scaled_loss_has_the_gradients_scaled_as_fp16_needs():
    objective, x, z = made()
    expected = gradients(objective, x, z)
    objective.zero_grad()
    (2.0**16 * objective(x, z)).backward()
    for name, p in objective.named_parameters():
        torch.testing.assert_close(p.grad / 2**16, expected[name], rtol=1e-4, atol=1e-7)


def test_each_side_gets_something():
    plain, x, z = made(adversarial=False)
    before, after = gradients(plain, x, z), gradients(made()[0], x, z)
    changed = [n for n, g in before.items() if not torch.allclose(g, after[n], rtol=1e-3)]
    assert "autoencoder.decoder.conv_out.weight" in changed
    assert all(after[n].abs().max() > 0 for n in after if n.startswith("adversary") and "bias" not in n)


def test_before_its_start_nothing_changes_and_the_start_is_counted_in_examples():
    (late, x, z), (plain, _, _) = made(start=12), made(adversarial=False)
    late.train()
    expected = gradients(plain, x, z)
    for seen in (6, 12):
        got = gradients(late, x, z)
        assert late.adversary.seen == seen
        assert all(not got[n].any() for n in got if n.startswith("adversary"))
        assert_same({n: g for n, g in got.items() if n.startswith("autoencoder")}, expected)
    assert gradients(late, x, z)["adversary.discriminator.last.weight"].any()


def test_looking_is_not_training():
    objective, x, z = made(start=100)
    objective.eval()
    objective(x, z)
    assert objective.adversary.seen == 0


def test_without_it_the_objective_is_what_it_was():
    plain, x, z = made(adversarial=False)
    assert not [n for n in plain.state_dict() if not n.startswith("autoencoder.")]
    code = plain.autoencoder.encode(x)
    error = plain.autoencoder.decode(code.mean + torch.exp(0.5 * code.logvar) * z) - x
    expected = error.square().mean() + 0.3 * error.abs().mean() + 0.01 * code.kl().mean() / z[0].numel()
    assert torch.equal(plain(x, z), expected)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken run with a discriminator."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(WITH, blobs(), out)
    return out


def test_a_run_cut_in_its_first_stage_ends_in_the_same_bits(whole, tmp_path):
    def stop(stage, progress):
        if (stage, progress.step) == ("autoencoder", 4):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(WITH, blobs(), tmp_path, hooks=Hooks(progress=stop))
    assert read_tensors(tmp_path / "autoencoder.state")[0]["net.adversary.seen"] == 16
    train(WITH, blobs(), tmp_path, resume=True)
    assert_same(weights(tmp_path), weights(whole))
    a, b = (read_tensors(folder / "autoencoder.state")[0] for folder in (tmp_path, whole))
    assert_same(a, b)


def test_the_discriminator_is_trained_and_stays_out_of_the_model(whole, tmp_path):
    state = read_tensors(whole / "autoencoder.state")[0]
    torch.manual_seed(0)
    name = "adversary.discriminator.last.weight"
    assert not torch.equal(state[f"net.{name}"], state[f"average.{name}"])
    assert not [n for n in weights(whole) if "adversary" in n]
    train(TINY, blobs(), tmp_path)
    plain, other = weights(tmp_path), weights(whole)
    assert plain.keys() == other.keys()
    assert not torch.equal(plain["autoencoder.decoder.conv_out.weight"], other["autoencoder.decoder.conv_out.weight"])
    LatentDiffusion.load(whole)


def test_steps_before_the_start_are_those_of_the_plain_autoencoder(tmp_path):
    states = {}
    for name, config in (("plain", TINY), ("late", dataclasses.replace(WITH, adversarial_start=3))):

        def stop(stage, progress):
            if progress.step == 4:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            train(dataclasses.replace(config, save_every=1), blobs(), tmp_path / name, hooks=Hooks(progress=stop))
        states[name] = read_tensors(tmp_path / name / "autoencoder.state")[0]
    for name, value in states["plain"].items():
        if name.startswith("net."):
            torch.testing.assert_close(states["late"][name], value, rtol=1e-5, atol=1e-7)


def test_bf16_trains(tmp_path):
    losses = []
    config = dataclasses.replace(WITH, precision="bf16", save_every=100)
    model, _ = train(config, blobs(), tmp_path, hooks=Hooks(progress=lambda stage, now: losses.append(now.loss)))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert torch.isfinite(torch.tensor(losses)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adversarial": -1.0}, "adversarial must be 0 or more, got -1"),
        ({"adversarial": 0.5, "adversarial_start": 4}, "must be less than the autoencoder's 4 steps, .* got 4"),
        ({"adversarial": 0.5, "latent": False}, "are losses of the autoencoder, and --no-latent trains none"),
        ({"perceptual": 0.5, "latent": False}, "are losses of the autoencoder"),
        ({"perceptual": 0.5, "size": 8}, "perceptual needs pictures of 16 pixels or more, got size 8"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.slow
def test_a_compiled_objective_gives_the_same_gradients():
    objective, x, z = made(multipliers=(1,), stem=4)  # few layers are soon compiled
    compiled = copy.deepcopy(objective)
    compiled.compile(dynamic=False)
    expected, got = gradients(objective, x, z), gradients(compiled, x, z)
    assert compiled.adversary.seen == objective.adversary.seen == 6
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-5)


TWO = """
import sys
from test_adversary import WITH
from tiny import blobs
from ldm_edu.train import train

model, _ = train(WITH, blobs(), sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="torchrun needs Linux or macOS")
def test_two_processes_train_with_one_discriminator(whole, tmp_path):
    (tmp_path / "two.py").write_text(TWO, "utf-8")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    code, _, err = finished(python(*torchrun, tmp_path / "two.py", tmp_path / "run"))
    assert code == 0, err
    one, two = (read_tensors(folder / "autoencoder.state")[0] for folder in (whole, tmp_path / "run"))
    assert one.keys() == two.keys()
    assert all(torch.isfinite(t).all() for t in two.values())
