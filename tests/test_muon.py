"""Muon is what its sources say for matrices, and AdamW for everything else."""

import copy

import pytest
import torch
from torch import nn

from ldm_edu.muon import Muon, orthogonalise, state_names


class Net(nn.Module):
    """An embedding, a first and a last layer, and layers of both kinds between."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.word = nn.Embedding(5, 6)
        self.conv_in = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 4)

    def forward(self, x, words):
        h = self.conv(self.conv_in(x) + self.word(words)[:, :, None, None])
        return self.linear(self.norm(h).mean((2, 3)))


HIDDEN = {"conv.weight", "linear.weight"}


def backward(net):
    g = torch.Generator().manual_seed(1)
    x, words = torch.randn(4, 3, 5, 5, generator=g), torch.tensor([0, 1, 3, 4])
    net(x, words).square().sum().backward()


def steps(net, optimizer, count=3):
    for _ in range(count):
        backward(net)
        optimizer.step()
        optimizer.zero_grad()
    return dict(net.named_parameters())


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 5, 40), (1, 40, 5)])
def test_directions_stay_and_their_sizes_become_nearly_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
    matrices = u @ torch.diag_embed(torch.linspace(1, 0.1, s.shape[-1]).expand_as(s)) @ vt
    (found,) = orthogonalise([matrices])
    assert found.shape == matrices.shape
    assert found.dtype == matrices.dtype
    inside = u.mT @ found @ vt.mT  # in the singular vectors' own axes
    sizes = inside.diagonal(dim1=-2, dim2=-1)
    assert 0.6 < sizes.min()
    assert sizes.max() < 1.25
    assert (inside - torch.diag_embed(sizes)).abs().max() < 1e-3


def test_the_rounds_are_those_of_the_source():
    """Against the iteration on X itself, written out in float64: tall, wide, square, and two stacks of a height."""
    g = torch.Generator().manual_seed(0)
    stacks = [torch.randn(s, generator=g).double() for s in ((2, 6, 30), (3, 40, 6), (1, 8, 8))]
    stacks[0][0, 3] = stacks[0][0, 2] * (1 + 1e-5)  # nearly of lower rank: the smallest direction is lost to rounding
    a, b, c = 3.4445, -4.7750, 2.0315
    for stack, found in zip(stacks, orthogonalise([s.float() for s in stacks]), strict=True):
        for matrix, ours in zip(stack, found, strict=True):
            x = matrix / matrix.norm()
            for _ in range(5):
                x = a * x + b * x @ x.mT @ x + c * x @ x.mT @ x @ x.mT @ x
            torch.testing.assert_close(ours, x.float(), rtol=0, atol=1e-3)


def test_a_zero_gradient_is_no_direction():
    assert orthogonalise([torch.zeros(1, 3, 4)])[0].abs().max() == 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_a_matrix_is_trained_as_torchs_own_muon_does(monkeypatch):
    monkeypatch.setattr(torch, "bfloat16", torch.float32)  # theirs would iterate in bfloat16, which rounds by percents
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    ours, theirs = nn.Linear(12, 7, bias=False), nn.Linear(12, 7, bias=False)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    a = Muon(ours, 0.02, (0.9, 0.99), 0.1)
    b = torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for i in range(5):
        x = torch.randn(6, 12, generator=torch.Generator().manual_seed(i))
        for net, optimizer in ((ours, a), (theirs, b)):
            net(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    moved = (ours.weight - start).square().mean().sqrt()
    apart = (ours.weight - theirs.weight).square().mean().sqrt()
    assert apart < 1e-3 * moved


def test_everything_that_is_no_matrix_inside_is_adamws():
    ours, theirs = Net(), Net()
    hidden = [p for n, p in ours.named_parameters() if n in HIDDEN]
    optimizer = Muon(ours, 1e-2, (0.9, 0.99), 0.1)
    assert {id(p) for g in optimizer.param_groups if g["muon"] for p in g["params"]} == {id(p) for p in hidden}
    backward(ours)
    backward(theirs)
    optimizer.step()
    torch.optim.AdamW(theirs.parameters(), 1e-2, (0.9, 0.99), weight_decay=0.1, fused=True).step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b) == (name not in HIDDEN), name


def test_a_steps_size_is_adamws_usual_one():
    net = nn.Conv2d(16, 24, 3, bias=False)
    before = net.weight.detach().clone()
    net(torch.randn(2, 16, 6, 6)).square().sum().backward()
    Muon(net, 0.01, (0.9, 0.99), 0.0).step()
    size = (net.weight - before).square().mean().sqrt().item()
    assert 0.2 * 0.01 * 0.6 < size < 0.2 * 0.01 * 1.25


def test_channels_last_and_batches_of_one_shape_change_nothing():
    plain, last = Net(), Net().to(memory_format=torch.channels_last)
    for a, b in zip(
        steps(plain, Muon(plain, 1e-2, (0.9, 0.99), 0.1)).values(),
        steps(last, Muon(last, 1e-2, (0.9, 0.99), 0.1)).values(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    stacked = torch.randn(3, 5, 9)
    alone = torch.cat([orthogonalise([m[None]])[0] for m in stacked])
    torch.testing.assert_close(orthogonalise([stacked])[0], alone, rtol=1e-3, atol=1e-3)


def test_each_matrix_takes_its_own_step_at_its_groups_rate():
    """Against one matrix at a time, written out; layers of one shape are stepped together."""
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Conv2d(6, 6, 3, bias=False) for _ in range(4)]).to(memory_format=torch.channels_last)
    optimizer = Muon(net, 1e-2, (0.9, 0.99), 0.1)
    other = optimizer.param_groups[0]["params"].pop(1)
    optimizer.add_param_group({"params": [other], "muon": True, "lr": 3e-2, "weight_decay": 0.5})
    wanted = [p.detach().clone() for p in net.parameters()]
    momenta = [torch.zeros_like(p) for p in wanted]
    for step in range(3):
        for i, p in enumerate(net.parameters()):
            if (i, step) == (3, 1):
                continue  # no gradient this time
            p.grad = torch.randn(p.shape)  # contiguous, as the weight is not
            rate, decay = (3e-2, 0.5) if i == 1 else (1e-2, 0.1)
            momenta[i] = 0.95 * momenta[i] + 0.05 * p.grad
            (update,) = orthogonalise([(0.05 * p.grad + 0.95 * momenta[i]).reshape(1, 6, 54)])
            wanted[i] = (1 - rate * decay) * wanted[i] - rate * 0.2 * 54**0.5 * update.view(p.shape)
        optimizer.step()
    for p, w in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=1e-3, atol=1e-3)
        assert p.is_contiguous(memory_format=torch.channels_last)


def test_parameters_without_a_gradient_stay():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    optimizer = Muon(net, 1e-2, (0.9, 0.99), 0.1)
    net.linear(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"linear.weight", "linear.bias"}


def test_a_closure_is_refused():
    net = Net()
    with pytest.raises(ValueError, match="takes no closure"):
        Muon(net, 1e-2, (0.9, 0.99), 0.1).step(lambda: None)


def test_what_is_kept_of_each_parameter_has_a_name():
    net = Net()
    optimizer = Muon(net, 1e-2, (0.9, 0.99), 0.1)
    steps(net, optimizer)
    for name, kept in state_names(optimizer, net).items():
        assert set(optimizer.state[net.get_parameter(name)]) == set(kept)
        assert (kept == ("step", "momentum")) == (name in HIDDEN)
