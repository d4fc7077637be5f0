"""A checkpoint's card: where it comes from and how good it is, all measured by the program that trained it."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch
from torch import Tensor

from ldm_edu.checkpoint import write_atomic, write_json
from ldm_edu.data.pictures import Pictures, spread, to_float
from ldm_edu.latent import LatentDiffusion
from ldm_edu.metrics import nearest_distance
from ldm_edu.plot import save_rows
from ldm_edu.scores import SCORES


def provenance(
    command: str, seconds: dict[str, float], device: torch.device, processes: int = 1, precision: str = "no"
) -> dict:
    """Where a checkpoint comes from: command, code, machine, time; precision as Accelerate names it."""
    from ldm_edu import __version__

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    return {
        "command": command,
        "version": __version__,
        "commit": _commit(),
        "device": name
        + (f", processes: {processes}" if processes > 1 else "")
        + (f", mixed precision: {precision}" if precision != "no" else ""),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
    }


def _commit() -> str | None:
    """The commit of the source tree, marked where files were changed since; None outside a checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        run = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_card(folder: str | Path, card: dict) -> None:
    """Write CARD.md for people, and the same as card.json."""
    folder = Path(folder)
    write_atomic(folder / "CARD.md", card_text(card).encode())
    write_json(folder / "card.json", card)  # last: where it is, the run is finished


def card_text(card: dict) -> str:
    """The card as a Markdown page."""
    return f"# {card['name']}\n\n{card_body(card)}\n![real, reconstructed and drawn pictures](samples.png)\n"


def card_body(card: dict) -> str:
    """The card without title and picture, to stand in another page."""
    origin, sampling = card["provenance"], card["sampling"]
    size = "×".join(str(n) for n in card["latent_shape"])
    lines = [
        f"Data: {card['data']}, {card['pictures']} pictures of {card['size']}×{card['size']}; seed {card['seed']}. "
        + card["credit"],
        f"Parameters: {card['parameters']['unet']:,} in the U-Net, {card['parameters']['autoencoder']:,} in the "
        f"autoencoder; it diffuses {size}. Stored as {card['weights']}.",
        "",
        f"Made by `{origin['command']}`, version {origin['version']}, commit {origin['commit'] or 'unknown'}, "
        f"on {origin['device']}, Python {origin['python']}, torch {origin['torch']}.",
        _seconds(origin),
        *_started(origin),
        "",
        f"Scores of {sampling['count']} samples, {sampling['steps']} DDIM steps, guidance {sampling['guidance']}, "
        f"seed {sampling['seed']}:",
        "",
        "| score | value |",
        "|---|---|",
        *(f"| {SCORES[k]} | {v} |" for k, v in card["scores"].items()),
        "",
    ]
    return "\n".join(lines)


def _seconds(origin: dict) -> str:
    return "Seconds: " + ", ".join(f"{k} {v}" for k, v in origin["seconds"].items()) + "."


def _started(origin: dict) -> list[str]:
    """What the training started from, and that one from, as far back as cards say."""
    lines = []
    while start := origin.get("start"):
        lines += ["", f"Started from the model {start['name']}, of which no card is known."]
        data = f"{start.get('data', 'unknown')}. {start.get('credit', '')}".strip()
        if origin := start.get("provenance", {}):
            lines[-1] = (
                f"Started from the model {start['name']} (data: {data}), made by "
                f"`{origin['command']}`, commit {origin['commit'] or 'unknown'}, on {origin['device']}. "
                + _seconds(origin)
            )
    return lines


def overview(
    model: LatentDiffusion,
    samples: Tensor,
    unseen: Tensor | None,
    training: Pictures,
    held_out: Pictures,
    path: str | Path,
    columns: int = 20,
) -> None:
    """Write the picture of a run: real, their reconstructions, samples, and the training pictures nearest to some.

    Args:
        samples: (N, C, H, W) in [-1, 1], what the model drew for its classes, or for the training captions.
        unseen: (M, C, H, W), what it drew for the held-out captions, as `draw_samples` does; None without captions.
    """
    device = model.latent_mean.device
    trained_on = to_float(training.pixels).to(device)

    def nearest_to(pictures: Tensor) -> Tensor:
        return trained_on[nearest_distance(pictures, trained_on)[1]]

    number = len(held_out) if unseen is None else len(unseen)
    some = torch.tensor(spread(min(2 * columns, number), number))
    real = to_float(held_out.pixels[torch.tensor(spread(number, len(held_out)))[some]]).to(device)
    rows = {"Real pictures, held out": real}
    if model.autoencoder is not None:
        with torch.no_grad():
            f = model.config.factor
            rows[f"Their reconstructions from {f}× smaller latents"] = model.decode(model.encode(real))
    if unseen is not None:
        rows["Drawn for the captions of these held-out pictures"] = unseen[some]
        rows["In the training set nearest to the first row drawn for held-out captions"] = nearest_to(
            unseen[some[:columns]]
        )
        samples = samples[spread(min(4 * columns, len(samples)), len(samples))]
    rows["Drawn by the model" if unseen is None else "Drawn for captions of training"] = samples[: 4 * columns]
    rows["In the training set nearest to the first row of these"] = nearest_to(samples[:columns])
    save_rows(rows, path, columns)
