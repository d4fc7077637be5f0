"""The state of one training as one file: weights, moving average, optimiser, step. Used by fit.py; notebook 04."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ldm_edu.checkpoint import CheckpointError, load_weights, read_tensors, write_tensors
from ldm_edu.muon import state_names


class Parts(NamedTuple):
    """The objects that a training changes."""

    objective: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None


class Standing(NamedTuple):
    """Where a training stands.

    Args:
        step: steps done.
        seconds: time that they took, in all the processes that the training had.
        pieces: in how many pieces a batch is taken; more than was asked for where memory was short.
    """

    step: int
    seconds: float
    pieces: int


def save_state(path: str | Path, parts: Parts, identity: dict, standing: Standing) -> None:
    """Write the state after a step.

    Args:
        identity: which training this is: its settings, name and seed. Only the same may go on from the file.
    """
    tensors = {f"net.{k}": v for k, v in parts.objective.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in parts.average.state_dict().items()}
    for key, names in state_names(parts.optimizer, parts.objective).items():
        kept = parts.optimizer.state[parts.objective.get_parameter(key)]
        for k in names:  # nothing is kept before the first step, and fp16 leaves out steps: as much as zeros
            fresh = torch.zeros(()) if k == "step" else torch.zeros_like(parts.objective.get_parameter(key))
            tensors[f"optimizer.{key}.{k}"] = kept.get(k, fresh)
    scaler = parts.scaler.state_dict() if parts.scaler is not None else None
    write_tensors(path, tensors, identity | standing._asdict() | {"scaler": scaler})


def restore_state(path: str | Path, parts: Parts, identity: dict, defaults: dict | None = None) -> Standing:
    """Read what `save_state` wrote into fresh objects.

    Args:
        defaults: in the form of identity, what held for settings that the file, written before they existed, lacks.
    Raises:
        CheckpointError: the file is damaged, foreign, or of a training with another identity.
    """
    tensors, about = read_tensors(path)
    if not {"step", "seconds", "scaler"} <= about.keys():
        raise CheckpointError(f"{path}: is no training state of ours")
    defaults = defaults or {}
    if not identity.keys() <= about.keys() | defaults.keys():
        raise CheckpointError(f"{path}: was saved by another version of ldm_edu; train anew into another folder")
    was, now = _flat(defaults) | _flat(about), _flat(identity)
    different = [f"{k} was {was.get(k)}, now {v}" for k, v in now.items() if was.get(k) != v]
    if different:
        raise CheckpointError(f"{path}: was saved by a training with other settings: {'; '.join(different)}")
    split: dict[str, dict] = {"net": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        split.setdefault(part, {})[rest] = value
    load_weights(parts.objective, split["net"], path)
    load_weights(parts.average, split["average"], path)
    for key, names in state_names(parts.optimizer, parts.objective).items():
        parameter = parts.objective.get_parameter(key)
        for k in names:
            saved, shape = split["optimizer"].get(f"{key}.{k}"), () if k == "step" else parameter.shape
            if saved is None or saved.shape != shape:
                raise CheckpointError(f"{path}: the optimiser's {k} of {key} is missing or of another shape")
            # The parameter's own memory format: the fused optimiser walks both side by side.
            # A fused optimiser counts its steps on the device; any other on the CPU, where it need not wait for them.
            place = parameter.device if parts.optimizer.defaults["fused"] else "cpu"
            fresh = saved.to(place) if k == "step" else torch.empty_like(parameter).copy_(saved).detach()
            parts.optimizer.state[parameter][k] = fresh
    if parts.scaler is not None and about["scaler"]:
        parts.scaler.load_state_dict(about["scaler"])
    return Standing(about["step"], about["seconds"], about.get("pieces", 1))


def _flat(settings: dict) -> dict:
    """A dictionary of dictionaries as one: {"fit": {"steps": 9}} as {"fit.steps": 9}."""
    deep = {f"{k}.{inner}": v for k, d in settings.items() if isinstance(d, dict) for inner, v in d.items()}
    return {k: v for k, v in settings.items() if not isinstance(v, dict)} | deep
