"""How often pictures of `scenes` obey their captions, over guidance weights and sampler steps. Notebook 08."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from ldm_edu.data.shapes import captions, leave_unsaid, obeys, sample_scenes
from ldm_edu.fit import seeded
from ldm_edu.kinds import check_whole
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.schedule import timesteps


@dataclass(frozen=True)
class Point:
    """One setting and what it gave.

    Args:
        guidance, steps: the setting.
        seen: share of captions obeyed in every word whose combinations training had.
        unseen: the same of captions with combinations that training never had.
    """

    guidance: float
    steps: int
    seen: float
    unseen: float


def fresh_captions(count: int, seed: int) -> dict[str, list[str]]:
    """Captions of new scenes: "seen" as in training, some words left unsaid; "unseen" with held-out combinations."""
    said = {}
    for name, split, unsaid in (("seen", "train", 0.3), ("unseen", "held_out", 0.0)):
        generator = seeded(seed, f"sweep/{name}")
        drawn = sample_scenes(count, split=split, generator=generator)
        said[name] = captions(leave_unsaid(drawn, unsaid, generator=generator))
    return said


@torch.no_grad()
def sweep(
    model: LatentDiffusion,
    guidances: Sequence[float],
    steps: Sequence[int],
    *,
    count: int = 100,
    sampler: SamplerName = "ddim",
    seed: int = 0,
    after_step: Callable[[], None] | None = None,
) -> Iterator[Point]:
    """Draw `count` captions of each kind at every pair of settings, from the same noise, and read the pictures.

    Args:
        model: one that was trained on `scenes`.
        guidances: weights w; 1 is off.
        steps: numbers of sampler steps.
        after_step: called after every step, for a progress bar.
    Raises:
        ValueError: when the first point is asked for: a model without text, no setting, a weight that is no number,
            more steps than the schedule has, or a count below 1.
    """
    if model.text is None:
        raise ValueError("this model takes no text, so no caption can be obeyed")
    if not guidances or not steps or not all(map(math.isfinite, guidances)):
        raise ValueError(f"need one or more guidance weights and numbers of steps, got {guidances} and {steps}")
    check_whole(1, count=count)
    for n in steps:
        timesteps(model.schedule, n)  # too many are refused before anything is drawn
    asked = fresh_captions(count, seed)

    def share(said: list[str], guidance: float, n: int) -> float:
        pictures = model.generate(
            len(said),
            prompts=said,
            steps=n,
            sampler=sampler,
            guidance=guidance,
            generator=seeded(seed, "sweep/noise"),
            after_step=lambda x, s: (after_step and after_step(), x)[1],
        )
        return round(obeys(pictures.cpu(), said).float().mean().item(), 4)

    for guidance, n in product(guidances, steps):
        yield Point(guidance, n, *(share(asked[name], guidance, n) for name in ("seen", "unseen")))
