"""Training images a second: ours eager, compiled and with CUDA graphs, against diffusers' same network, eager.

On a GPU both sides compute in bfloat16, where it has that, and each row also says images a second, share of the GPU's
peak and memory; on the CPU it is the ratio of the eager steps. Used in notebook 16.
"""

from __future__ import annotations

import copy
import gc
import itertools
import re
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from ldm_edu.bench import ours, theirs
from ldm_edu.bench.comparisons import twins
from ldm_edu.bench.ours import Choices
from ldm_edu.bench.pairs import Work, costs_in_turn, ratio_of
from ldm_edu.bench.rows import Gap, Row
from ldm_edu.bench.setting import Setting, describe_batch, size_of
from ldm_edu.fit import out_of_memory
from ldm_edu.profile import has_bfloat16

MODES = {"eager": None, "compiled": "default", "compiled, with CUDA graphs": "reduce-overhead"}
"""How ours runs -> mode of torch.compile."""

CPU_BATCH = 4
WARM_UP = 3  # steps: the first compiles, the second records a graph, the third is the first to play it
PEAK = {
    r"NVIDIA H100 80GB HBM3": 989e12,
    r"NVIDIA H200": 989e12,
    r"NVIDIA A100[\w -]+": 312e12,
}
"""GPU's name -> FLOP/s of its tensor cores on dense matrices of bfloat16. Source: NVIDIA's data sheets of the H100 SXM,
the H200 SXM and the A100; where one tells only the rate with sparsity, half of that."""


def throughput(setting: Setting) -> Iterator[Row | Gap]:
    """A training step of the latents' network and of a larger one on pixels, at several batch sizes."""
    s, device = setting.sizes, setting.device
    gpu = device == "cuda"
    half = gpu and has_bfloat16(device)
    precision = "bfloat16" if half else "float32"
    counts, modes = (s.batches, MODES) if gpu else ((CPU_BATCH,), ("eager",))
    for name, config, side in (("latents", s.latent, s.latent_side), ("pixels, larger", s.large, s.pixel_side)):
        net, peer = twins(config, side, "cpu")
        flops = flops_of(ours.training_step(net, 1, side, device, Choices(autocast=half)))
        for count, how in itertools.product(counts, modes):
            choices = Choices(autocast=half, compile=MODES[how])
            steps = (
                partial(ours.training_step, net, count, side, device, choices),
                partial(theirs.training_step, copy.deepcopy(peer), count, side, device, "bf16" if half else "no"),
            )
            title = f"training step, same network, {name}, batch {count}, {precision}, ours {how}"
            words = (
                f"ours, {how}, {describe_batch(config, count, side)}",
                "diffusers' UNet2DConditionModel with the same weights, trained as its examples do, eager",
            )
            try:
                costs, measured, mib = _measure(*steps, setting)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                yield Gap("throughput", title, *words, "out of memory")
                continue
            if gpu:
                words = [w + rate(count, c, m, flops) for w, c, m in zip(words, costs, mib, strict=True)]
            ratio = ratio_of(*costs, seconds=measured)
            yield Row("throughput", title, *words, ratio, (size_of(net), size_of(peer)))


def _measure(
    mine: Callable[[], Work], others: Callable[[], Work], setting: Setting
) -> tuple[tuple[list[float], list[float]], float, list[int]]:
    """Costs of a step of each in turn, seconds measured in all, and the MiB that each took of a GPU at most."""
    if setting.device == "cuda":
        torch.compiler.reset()  # else graphs of earlier rows keep their memory
        gc.collect()
        torch.cuda.empty_cache()
    works, mib = [], []
    for make in (mine, others):
        before = torch.cuda.memory_allocated()
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        works.append(make())
        for _ in range(WARM_UP):
            works[-1]()
        mib.append((torch.cuda.max_memory_allocated() - before) // 2**20)
    return *costs_in_turn(*works, seconds=setting.seconds, clock=setting.clock), mib


def flops_of(work: Work) -> int:
    """Floating-point operations of eager work's matrix products and convolutions; a product and its sum are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def peak_of(name: str) -> float | None:
    """FLOP/s that a GPU of this name can do in bfloat16; None where it is not known."""
    return next((flops for pattern, flops in PEAK.items() if re.fullmatch(pattern, name)), None)


def rate(count: int, costs: list[float], mib: int, flops: int) -> str:
    """What a batch's seconds say: images a second, share of the GPU's peak, memory.

    Args:
        flops: of one image.
    """
    images = count / statistics.median(costs)
    peak = peak_of(torch.cuda.get_device_name())
    share = "" if peak is None else f", {images * flops / peak:.0%} of the GPU's peak"
    return f"; {images:,.0f} images/s{share}, {mib:,} MiB"
