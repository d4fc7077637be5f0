"""What the command sweep does: captions obeyed over guidance and steps, as a table and as JSON. Notebook 08."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ldm_edu.checkpoint import read_json, write_json
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.pretrained import find_model
from ldm_edu.profile import pick_device
from ldm_edu.progress import sampler_bar
from ldm_edu.sweep import sweep


def run_sweep(
    checkpoint: str,
    guidances: Sequence[float],
    steps: Sequence[int],
    *,
    count: int,
    sampler: SamplerName,
    seed: int,
    device: str,
    write: Path | None = None,
) -> None:
    """Print a row for each setting as it is there; write all of them as JSON if asked.

    Raises:
        ValueError: as `sweep`, or a model that was not trained on `scenes`.
    """
    folder = find_model(checkpoint)
    card = read_json(folder / "card.json") if (folder / "card.json").exists() else {}
    if (data := card.get("data", "scenes")) != "scenes":
        raise ValueError(f"{checkpoint}: trained on {data}; the exact reader knows the pictures of scenes only")
    if write is not None and (write.is_dir() or not write.parent.is_dir()):  # told before an hour of drawing
        raise ValueError(f"--write {write}: " + ("a folder has this name" if write.is_dir() else "no such folder"))
    model = LatentDiffusion.load(folder, pick_device(device))
    bar = sampler_bar(2 * len(guidances) * sum(steps) * -(-count // 64))
    points = []
    for point in sweep(model, guidances, steps, count=count, sampler=sampler, seed=seed, after_step=bar):
        if not points:
            print(f"{'guidance':>8} {'steps':>6} {'obeyed':>7} {'unseen':>7}")
        print(f"{point.guidance:8g} {point.steps:6d} {point.seen:7.1%} {point.unseen:7.1%}", flush=True)
        points.append(asdict(point))
    if write is not None:
        settings = {"count": count, "sampler": sampler, "seed": seed, "weights": card.get("weights", "float32")}
        write_json(write, settings | {"points": points})
