"""A training's state comes back whole, and no other file is taken for one."""

import copy

import pytest
import torch
from tiny import assert_same
from torch import nn

from ldm_edu.checkpoint import CheckpointError, read_tensors, write_tensors
from ldm_edu.fit_state import Parts, Standing, restore_state, save_state
from ldm_edu.muon import Muon

IDENTITY = {"fit": {"steps": 9}, "name": "x", "seed": 0}


def parts(seed=0, width=4, steps=3, muon=False):
    """A net with channels-last weights and the optimiser's state of a few steps."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, width, 3), nn.Conv2d(width, 1, 3)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    optimizer = Muon(net, 1e-3, (0.9, 0.99), 0.01) if muon else torch.optim.AdamW(net.parameters(), fused=True)
    for _ in range(steps):
        net(torch.randn(1, 2, 5, 5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return Parts(net, average, optimizer, None)


@pytest.mark.parametrize("muon", [False, True])
def test_everything_comes_back(tmp_path, muon):
    saved, fresh = parts(muon=muon), parts(seed=1, steps=0, muon=muon)
    save_state(tmp_path / "x", saved, IDENTITY, Standing(3, 1.5, 2))
    assert restore_state(tmp_path / "x", fresh, IDENTITY) == Standing(3, 1.5, 2)
    assert_same(fresh.objective.state_dict(), saved.objective.state_dict())
    assert_same(fresh.average.state_dict(), saved.average.state_dict())
    for a, b in zip(saved.objective.parameters(), fresh.objective.parameters(), strict=True):
        assert_same(saved.optimizer.state[a], fresh.optimizer.state[b])
        assert all(v.stride() == b.stride() for k, v in fresh.optimizer.state[b].items() if k != "step")


@pytest.fixture
def saved(tmp_path):
    save_state(tmp_path / "x", parts(), IDENTITY, Standing(3, 1.5, 2))
    return tmp_path / "x"


def test_a_state_of_another_version_is_said_to_be_one(saved):
    with pytest.raises(CheckpointError, match="saved by another version of ldm_edu; train anew into another folder"):
        restore_state(saved, parts(), IDENTITY | {"processes": 1})


def test_another_training_is_refused_by_name(saved):
    with pytest.raises(CheckpointError, match=r"other settings: seed was 0, now 7$"):
        restore_state(saved, parts(), IDENTITY | {"seed": 7})


def test_a_setting_that_came_later_counts_as_its_default(saved):
    now = IDENTITY | {"fit": {"steps": 9, "optimizer": "adamw"}}
    with pytest.raises(CheckpointError, match=r"other settings: fit\.optimizer was None, now adamw$"):
        restore_state(saved, parts(), now)
    assert restore_state(saved, parts(), now, {"fit": {"steps": 1, "optimizer": "adamw"}}) == Standing(3, 1.5, 2)
    with pytest.raises(CheckpointError, match=r"other settings: fit\.optimizer was adamw, now muon$"):
        restore_state(saved, parts(), IDENTITY | {"fit": {"steps": 9, "optimizer": "muon"}}, now)


@pytest.mark.parametrize("muon", [False, True])
def test_a_state_before_the_first_step_is_a_state(tmp_path, muon):
    untouched = parts(steps=0, muon=muon)
    save_state(tmp_path / "x", untouched, IDENTITY, Standing(0, 0.0, 1))
    fresh = parts(seed=1, steps=0, muon=muon)
    assert restore_state(tmp_path / "x", fresh, IDENTITY) == Standing(0, 0.0, 1)
    torch.manual_seed(2)
    x = torch.randn(1, 2, 5, 5)
    for each in (untouched, fresh):
        each.objective(x).square().sum().backward()
        each.optimizer.step()
    assert_same(untouched.objective.state_dict(), fresh.objective.state_dict())


def test_another_net_is_refused(saved):
    with pytest.raises(CheckpointError, match=r"0\.weight has shape \(4, 2, 3, 3\), expected \(8, 2, 3, 3\)"):
        restore_state(saved, parts(width=8), IDENTITY)


def test_a_file_of_weights_only_is_refused(tmp_path):
    write_tensors(tmp_path / "x", parts().objective.state_dict())
    with pytest.raises(CheckpointError, match="is no training state of ours"):
        restore_state(tmp_path / "x", parts(), IDENTITY)


@pytest.mark.parametrize("change", ["drop", "reshape"])
def test_an_optimiser_that_does_not_fit_is_refused(saved, change):
    tensors, about = read_tensors(saved)
    name = "optimizer.1.bias.exp_avg"
    if change == "drop":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3, 1)
    write_tensors(saved, tensors, about)
    with pytest.raises(CheckpointError, match=r"optimiser's exp_avg of 1\.bias is missing or of another shape"):
        restore_state(saved, parts(), IDENTITY)
