"""The training loop: AdamW or Muon, warm-up and cosine learning rate, clipping, moving average, on Accelerate.

All that is random in a step is a function of (seed, step): every process makes the whole batch and takes its share.
So a run cut anywhere and resumed gives the weights of an unbroken run, two processes give what one gives with twice
the batch, and a step that ran out of memory is done again in smaller pieces: with the same gradient, where the loss is
a mean over examples. Derived in notebook 04.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ldm_edu.fit_state import Parts, Standing, restore_state, save_state
from ldm_edu.kinds import check_whole
from ldm_edu.muon import Muon

if TYPE_CHECKING:
    from accelerate import Accelerator

Batch = tuple[Tensor, ...]


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not a number, or a single example does not fit in memory."""


@dataclass(frozen=True)
class FitConfig:
    """How one network is trained.

    Args:
        steps: optimiser steps.
        batch: examples a step and process.
        learning_rate: peak learning rate, reached after the warm-up; a cosine takes it to 1% at the end.
        warmup: steps of linear warm-up.
        weight_decay: of both optimisers.
        beta2: AdamW's β₂.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights; 0 is off.
        accumulate: pieces that a batch is split into, to save memory.
        optimizer: adamw, or muon for the weight matrices inside the network; see `ldm_edu.muon`.
    Raises:
        ValueError: a number out of its range.
    """

    steps: int = 1000
    batch: int = 64
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.995
    accumulate: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"

    def __post_init__(self):
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer must be adamw or muon, got {self.optimizer!r}")
        check_whole(1, steps=self.steps, batch=self.batch, accumulate=self.accumulate)
        check_whole(0, warmup=self.warmup)
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}")
        if not (0 <= self.ema < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"ema and beta2 must lie in [0, 1), got {self.ema} and {self.beta2}")
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate = {self.accumulate} splits a batch of {self.batch} into empty pieces")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class Progress:
    """Where a training stands: the mean loss since the last report, examples/s, and seconds left."""

    step: int
    steps: int
    loss: float
    rate: float
    seconds_left: float


def seeded(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on the seed and on what it is for."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def fit(
    objective: nn.Module,
    make_batch: Callable[[int, torch.Generator], Batch],
    config: FitConfig,
    *,
    accelerator: Accelerator,
    name: str = "fit",
    seed: int = 0,
    inputs: Mapping[str, int | str] | None = None,
    state_path: str | Path | None = None,
    save_every: int = 1000,
    report_every: int = 20,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    after_save: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:
    """Train a module whose forward is its loss:  loss = objective(*batch), a mean over the batch.

    Args:
        objective: the module; its parameters are trained in place.
        make_batch: make_batch(n, generator) -> tensors of n examples each, all randomness from the generator.
        config: steps, batch, optimiser.
        accelerator: device, precision and processes.
        name: tells the random numbers of two trainings of one run apart.
        inputs: what the batches are made of, such as how many pictures; with other inputs no state goes on.
        state_path: where the state is saved, and resumed from if it is there; None saves nothing.
        save_every: steps between saves. The last step always saves.
        report, notice: called on the main process with the progress, and with a sentence about what happened.
        after_save: after_save(step, averaged) on the main process, once the state is on disk.
    Returns:
        the module with averaged weights and its buffers as they are at the end, in evaluation mode.
    Raises:
        TrainingError: the loss or the gradient is not finite, or memory is short for one example; the state on disk is
            from before that.
        CheckpointError: the state on disk is damaged, of another run, or cannot be written.
    """
    device, main = accelerator.device, accelerator.is_main_process
    objective.to(device).to(memory_format=torch.channels_last)
    objective.train()
    # Not torch's AveragedModel, which counts on the device: each step would wait for the GPU.
    average = copy.deepcopy(objective).requires_grad_(False)
    optimizer = make_optimizer(objective, config)
    parts = Parts(objective, average, optimizer, accelerator.scaler)
    identity = {"fit": asdict(config), "name": name, "seed": seed, "processes": accelerator.num_processes}
    identity["inputs"] = dict(inputs or {})
    start, spent, pieces = 0, 0.0, 1
    model, prepared = accelerator.prepare(objective, optimizer)
    # After prepare, which would take the optimizer's step counts to the GPU, where each step would wait for them.
    if state_path is not None and Path(state_path).exists():
        older = {"fit": asdict(FitConfig()), "inputs": identity["inputs"]}  # what states without an entry had
        start, spent, pieces = restore_state(state_path, parts, identity, older)
    world, rank = accelerator.num_processes, accelerator.process_index
    pieces = max(config.accumulate, pieces)

    averaged, current = list(average.parameters()), list(objective.parameters())
    buffers = list(zip(average.buffers(), objective.buffers(), strict=True))
    losses = torch.zeros((), device=device)
    unfit = torch.zeros((), device=device)
    since, began = start, time.perf_counter()
    for step in range(start, config.steps):
        for group in prepared.param_groups:
            group["lr"] = config.rate_at(step)
        whole = make_batch(config.batch * world, seeded(seed, f"{name}/{step}", device))
        mine = tuple(t[rank * config.batch : (rank + 1) * config.batch] for t in whole)
        counted = [b.clone() for b in objective.buffers()]  # what the forward pass counts, counts once
        while True:
            try:
                loss = _backward(model, mine, pieces, accelerator)
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                prepared.zero_grad()
                for buffer, before in zip(objective.buffers(), counted, strict=True):
                    buffer.copy_(before)
                if pieces >= config.batch or world > 1:  # several processes would have to agree on the pieces
                    raise TrainingError(
                        f"out of memory at step {step + 1} with {-(-config.batch // pieces)} examples at a time; "
                        "use a smaller batch, more pieces (accumulate), a smaller model or half precision"
                    ) from error
                pieces = min(2 * pieces, config.batch)
            torch.cuda.empty_cache()
            if notice is not None and main:
                notice(f"out of memory: going on with {-(-config.batch // pieces)} examples at a time, same batch")
        norm = accelerator.clip_grad_norm_(model.parameters(), config.clip)
        prepared.step()
        prepared.zero_grad()
        decay = min(config.ema, (1 + step) / (10 + step)) if step > 0 else 0.0  # the random start is soon forgotten
        get_ema_multi_avg_fn(decay)(averaged, current, None)
        for kept, now in buffers:  # counts and running statistics, which no average of theirs would be
            kept.copy_(now)
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        losses += torch.where(finite, loss, 0)
        unfit += ~finite

        done = step + 1
        saving = state_path is not None and (done % save_every == 0 or done == config.steps)
        if done % report_every == 0 or saving or done in (start + 1, config.steps):  # the first: show life early
            _check_finite(unfit, done - since, done, accelerator, state_path)
            taken = (done - since) * world - accelerator.reduce(unfit, "sum").item()  # fp16 leaves steps out
            total = accelerator.reduce(losses, "sum").item()
            mean = total / taken if taken else math.nan
            seconds = time.perf_counter() - began
            if report is not None and main:
                rate = (done - start) * config.batch * world / seconds
                report(Progress(done, config.steps, mean, rate, seconds / (done - start) * (config.steps - done)))
            losses, unfit, since = torch.zeros_like(losses), torch.zeros_like(unfit), done
        if saving and main:
            standing = Standing(done, spent + time.perf_counter() - began, pieces)
            save_state(state_path, parts, identity, standing)
            if after_save is not None:
                after_save(done, average)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return average.eval()


def make_optimizer(module: nn.Module, config: FitConfig) -> torch.optim.AdamW:
    """The optimiser that config asks for, over all parameters of the module."""
    rate, betas, decay = config.learning_rate, (0.9, config.beta2), config.weight_decay
    if config.optimizer == "muon":
        return Muon(module, rate, betas, weight_decay=decay)
    fused = all(p.device.type in ("cpu", "cuda") for p in module.parameters())
    return torch.optim.AdamW(module.parameters(), rate, betas, weight_decay=decay, fused=fused)


def out_of_memory(error: Exception) -> bool:
    """Whether the device lacks memory; a convolution, each of whose engines wants some, may say that it finds none.

    For a CPU torch raises a plain RuntimeError, whose words differ between systems but for the allocator's name.
    """
    signs = ("unable to find an engine", "DefaultCPUAllocator")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def _backward(model: nn.Module, batch: Batch, pieces: int, accelerator: Accelerator) -> Tensor:
    """Add up the gradient over the batch's pieces; the loss of the whole batch."""
    size, total = len(batch[0]), 0.0
    chunks = list(zip(*(t.chunk(pieces) for t in batch), strict=True))
    for i, chunk in enumerate(chunks):
        if i + 1 < len(chunks):
            with accelerator.no_sync(model):
                loss = model(*chunk) * (len(chunk[0]) / size)
                accelerator.backward(loss)
        else:
            loss = model(*chunk) * (len(chunk[0]) / size)
            accelerator.backward(loss)
        total = total + loss.detach()
    return total


def _check_finite(unfit: Tensor, steps: int, done: int, accelerator: Accelerator, state_path) -> None:
    """Stop where a step was not finite. fp16 leaves such steps out by itself, each time with a smaller loss scale."""
    failed = accelerator.reduce(unfit, "sum").item() > 0
    if failed and accelerator.scaler is not None:
        failed = accelerator.scaler.get_scale() < 1  # from 65,536: seventeen steps left out, and none went well
    if failed:
        kept = state_path is not None and Path(state_path).exists()
        raise TrainingError(
            f"the loss or its gradient was not finite in the {steps} steps up to step {done}; lower the learning rate "
            "or use bf16 or full precision"
            + (f"; the state saved before that is whole in {state_path}" if kept else "")
        )
