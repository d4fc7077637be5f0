"""A checkpoint's card: where it comes from and how good it is, all measured by the program that trained it."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from pathlib import Path

import torch
from torch import Tensor

from ldm_edu.checkpoint import write_atomic, write_json
from ldm_edu.classifier import in_batches, train_classifier
from ldm_edu.data.pictures import Pictures, to_float
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion
from ldm_edu.metrics import frechet_distance, nearest_distance, psnr, recognition
from ldm_edu.plot import save_rows


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the scored samples are drawn."""

    count: int = 500
    steps: int = 50
    guidance: float = 2.0
    seed: int = 0


@torch.no_grad()
def draw_samples(model: LatentDiffusion, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """Samples (count, C, H, W), the classes in turn, and their labels (None for an unconditional model)."""
    classes = len(model.config.classes)
    labels = torch.arange(sampling.count) % classes if classes else None
    pictures = model.generate(
        sampling.count,
        labels=labels,
        steps=sampling.steps,
        guidance=sampling.guidance if classes else 1.0,
        generator=seeded(sampling.seed, "samples"),
    )
    return pictures, labels


@torch.no_grad()
def score(
    model: LatentDiffusion, samples: Tensor, labels: Tensor | None, train: Pictures, held_out: Pictures
) -> dict[str, float | int]:
    """Score samples and reconstructions; every figure stands beside the one that real held-out pictures get.

    Returns:
        name -> number; what each is, SCORES says.
    """
    device = model.latent_mean.device
    real, training = to_float(held_out.pixels).to(device), to_float(train.pixels).to(device)
    scores: dict[str, float | int] = {}
    classifier = None
    if model.autoencoder is not None:
        scores["reconstruction_psnr_db"] = psnr(in_batches(lambda x: model.decode(model.encode(x)), real), real)
    if train.labels is not None and held_out.labels is not None:
        with torch.enable_grad():
            classifier = train_classifier(train, seed=1, device=device)
        seen = recognition(real, held_out.labels, classifier)
        scores["held_out_accuracy"], scores["held_out_confident"] = seen.accuracy, seen.confident
        if labels is not None:
            seen = recognition(samples, labels, classifier)
            scores["samples_accuracy"], scores["samples_confident"] = seen.accuracy, seen.confident
            scores["samples_classes"] = seen.classes
    if classifier is not None and min(len(real), len(training)) > 1:  # a covariance needs two
        scores["samples_frechet"] = frechet_distance(samples, real, classifier)
        part = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[: len(samples)]
        scores["train_frechet"] = frechet_distance(training[part], real, classifier)
    near, _ = nearest_distance(samples, training)
    near_real, _ = nearest_distance(real, training)
    scores["samples_nearest_median"] = near.median().item()
    scores["held_out_nearest_median"] = near_real.median().item()
    scores["samples_copies"] = (near < near_real.quantile(0.05) / 2).sum().item()
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in scores.items()}


SCORES = {
    "reconstruction_psnr_db": "PSNR of reconstructed held-out pictures, dB",
    "held_out_accuracy": "held-out real pictures that a classifier trained apart recognises",
    "held_out_confident": "the same, with a probability of at least 0.9",
    "samples_accuracy": "samples it recognises as the class asked for",
    "samples_confident": "the same, with a probability of at least 0.9",
    "samples_classes": "classes recognised among the samples",
    "samples_frechet": "Fréchet distance of samples to held-out pictures, in the classifier's features",
    "train_frechet": "the same of as many training pictures: what a perfect model reaches",
    "samples_nearest_median": "distance of a sample to its nearest training picture (RMSE of pixels, median)",
    "held_out_nearest_median": "the same of real held-out pictures",
    "samples_copies": "samples nearer to a training picture than half of what 95% of held-out pictures keep",
}


def provenance(command: str, seconds: dict[str, float], device: torch.device, processes: int = 1) -> dict:
    """Where a checkpoint comes from: command, code, machine, time."""
    from ldm_edu import __version__

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    return {
        "command": command,
        "version": __version__,
        "commit": _commit(),
        "device": name if processes == 1 else f"{name}, processes: {processes}",
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
    """Write card.json, and the same for people as CARD.md."""
    folder = Path(folder)
    write_json(folder / "card.json", card)
    write_atomic(folder / "CARD.md", card_text(card).encode())


def card_text(card: dict) -> str:
    """The card as a Markdown page."""
    return f"# {card['name']}\n\n{card_body(card)}\n![real, reconstructed and drawn pictures](samples.png)\n"


def card_body(card: dict) -> str:
    """The card without title and picture, to stand in another page."""
    origin, sampling = card["provenance"], card["sampling"]
    size = "×".join(str(n) for n in card["latent_shape"])
    lines = [
        f"Data: {card['data']}, {card['pictures']} pictures of {card['size']}×{card['size']}; seed {card['seed']}.",
        f"Parameters: {card['parameters']['unet']:,} in the U-Net, {card['parameters']['autoencoder']:,} in the "
        f"autoencoder; it diffuses {size}.",
        "",
        f"Made by `{origin['command']}`, version {origin['version']}, commit {origin['commit'] or 'unknown'}, "
        f"on {origin['device']}, Python {origin['python']}, torch {origin['torch']}.",
        "Seconds: " + ", ".join(f"{k} {v}" for k, v in origin["seconds"].items()) + ".",
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


def overview(model: LatentDiffusion, samples: Tensor, held_out: Pictures, path: str | Path, columns: int = 20) -> None:
    """Write the picture of a run: real, their reconstructions, samples."""
    real = to_float(held_out.pixels[: 2 * columns]).to(model.latent_mean.device)
    rows = {"Real pictures, held out": real}
    if model.autoencoder is not None:
        with torch.no_grad():
            f = model.config.factor
            rows[f"Their reconstructions from {f}× smaller latents"] = model.decode(model.encode(real))
    rows["Drawn by the model"] = samples[: 5 * columns]
    save_rows(rows, path, columns)
