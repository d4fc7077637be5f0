"""Attention maps: the recorded weights reproduce the layers' own output, and recording changes nothing."""

import pytest
import torch

from ldm_edu.attention_maps import attention_weights, watch, word_maps
from ldm_edu.nets.attention import Attention
from ldm_edu.nets.unet import UNet, UNetConfig

CONFIG = UNetConfig(width=16, multipliers=(1, 2), attention=(0,), heads=4, context_dim=12, zero_init=False)
PLACES = 5


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return UNet(CONFIG).eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    return x, torch.tensor([3, 40]), torch.randn(2, PLACES, 12, generator=generator)


@pytest.mark.parametrize("context_dim", [6, None])
def test_the_weights_reproduce_the_layers_output(context_dim):
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(3)
    layer = Attention(16, 4, context_dim, bias=True)
    x = 2 * torch.randn(3, 9, 16, generator=generator)
    context = None if context_dim is None else torch.randn(3, PLACES, context_dim, generator=generator)
    weights = attention_weights(layer, x, context)
    assert weights.shape == (3, 4, 9, 9 if context is None else PLACES)
    v = layer.to_v(x if context is None else context).unflatten(2, (4, -1)).transpose(1, 2)
    by_hand = layer.to_out((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, layer(x, context))
    torch.testing.assert_close(weights.sum(3), torch.ones(3, 4, 9))


@torch.no_grad()
def test_watching_changes_nothing_and_ends(net, inputs):
    plain = net(*inputs)
    with watch(net) as seen:
        watched = net(*inputs)
    assert torch.equal(plain, watched)
    count = len(seen)
    net(*inputs)
    assert len(seen) == count
    assert not any(m._forward_hooks for m in net.modules())


@torch.no_grad()
def test_every_cross_attention_is_recorded_and_sums_to_one(net, inputs):
    with watch(net) as seen:
        net(*inputs)
        net(*inputs)
    # One way down and two up at level 0 (8×8), one in the middle (4×4); twice.
    assert [tuple(m.shape) for m in seen] == 2 * [(2, 5, 8, 8), (2, 5, 4, 4), (2, 5, 8, 8), (2, 5, 8, 8)]
    for m in seen:
        torch.testing.assert_close(m.sum(1), torch.ones(2, *m.shape[2:]))
    maps = word_maps(seen, 2)
    assert maps.shape == (2, PLACES, 8, 8)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 8, 8))


@torch.no_grad()
def test_hooks_go_when_the_drawing_fails(net, inputs):
    with pytest.raises(ZeroDivisionError), watch(net):
        raise ZeroDivisionError
    assert not any(m._forward_hooks for m in net.modules())


def test_maps_lie_where_the_pixels_are():
    """A query that looks at place 1 in one corner only."""
    net = UNet(CONFIG)
    layer = net.middle.attn[0].blocks[0].cross_attn
    with torch.no_grad():
        layer.to_q.weight.copy_(torch.eye(32))
        layer.to_k.weight.zero_()
        layer.to_k.weight[:, 0] = 1.0
    x = torch.zeros(1, 16, 32)
    x[0, 4 * 1 + 3] = 9.0  # row 1, column 3 of a 4×4 map
    context = torch.zeros(1, PLACES, 12)
    context[0, 1, 0] = 1.0
    with watch(net) as seen:
        layer(x, context)
    (only,) = seen
    assert only[0, 1, 1, 3] > 0.99
    others = torch.ones(4, 4, dtype=torch.bool)
    others[1, 3] = False
    torch.testing.assert_close(only[0, 1][others], torch.full((15,), 1 / PLACES))


def test_the_mean_is_over_layers_and_steps_of_the_last_pictures():
    coarse = torch.full((3, 2, 2, 2), 0.2)
    fine = torch.full((3, 2, 4, 4), 0.6)
    coarse[0], fine[0] = 9.0, 9.0  # the half without a condition
    maps = word_maps([coarse, fine, fine, fine], 2)
    torch.testing.assert_close(maps, torch.full((2, 2, 4, 4), 0.5))


def test_nothing_recorded_is_said():
    with pytest.raises(ValueError, match="no cross-attention was recorded"):
        word_maps([])
