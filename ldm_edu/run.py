"""What the commands do: train with progress, score and card; generate to files; show a card."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tqdm import tqdm

from ldm_edu.card import Sampling, card_text, draw_samples, overview, provenance, score, write_card
from ldm_edu.checkpoint import CheckpointError, read_json
from ldm_edu.data.load import load_pictures
from ldm_edu.data.pictures import Pictures
from ldm_edu.fit import Progress, seeded
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.plot import grid, save_png
from ldm_edu.train import Hooks, TrainConfig, replace_flat, run_status, train


def run_training(given: dict, out: Path, *, resume: bool, command: str) -> None:
    """Train as asked, with a progress bar; then score, and write card and picture.

    Args:
        given: the fields of TrainConfig that were typed, flat.
    """
    base = TrainConfig()
    if resume and (out / "train.json").exists():
        base = replace_flat(base, read_json(out / "train.json"))
    config = replace_flat(base, given)
    pictures, held_out = load_both(config)
    bar = Bar()
    main = torch.distributed.is_torchelastic_launched() and _rank() > 0
    quiet = Hooks()
    model, seconds = train(config, pictures, out, hooks=quiet if main else bar.hooks(out), resume=resume)
    bar.close()
    if main:
        return
    sampling = Sampling(seed=config.seed)
    samples, labels = draw_samples(model, sampling)
    card = {
        "name": out.name,
        "data": config.data,
        "pictures": len(pictures),
        "size": config.size,
        "seed": config.seed,
        "latent_shape": list(model.config.latent_shape),
        "parameters": {
            "unet": _count(model.unet),
            "autoencoder": _count(model.autoencoder) if model.autoencoder else 0,
        },
        "sampling": sampling.__dict__,
        "provenance": provenance(command, seconds, model.latent_mean.device),
        "scores": score(model, samples, labels, pictures, held_out),
    }
    overview(model, samples, held_out, out / "samples.png")
    write_card(out, card)
    tqdm.write(card_text(card))
    tqdm.write(f"The checkpoint, its card and its pictures are in {out}; look at {out / 'samples.png'}")


def load_both(config: TrainConfig) -> tuple[Pictures, Pictures]:
    """The training part and the held-out part that a configuration names."""
    both = [
        load_pictures(
            config.data,
            config.size,
            train=t,
            root=config.root,
            download=config.download,
            limit=config.limit if t else 0,
        )
        for t in (True, False)
    ]
    return both[0], both[1]


def run_generate(
    checkpoint: Path,
    out: Path,
    *,
    count: int,
    label: str | None,
    steps: int,
    sampler: SamplerName,
    eta: float,
    guidance: float,
    seed: int,
    batch: int,
    scale: int,
    device: str,
) -> None:
    """Draw pictures and write them as one grid (.png) or as single files (a folder)."""
    if count < 1 or scale < 1:
        raise ValueError(f"--count and --scale must be 1 or more, got {count} and {scale}")
    if out.suffix and out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as .png, or as single files into a folder")
    model = LatentDiffusion.load(checkpoint, pick_device(device))
    labels = pick_labels(label, count, model.config.classes)
    bar = tqdm(total=steps * -(-count // batch), unit="step", desc="draw")
    pictures = model.generate(
        count,
        labels=labels,
        steps=steps,
        sampler=sampler,
        eta=eta,
        guidance=guidance if labels is not None else 1.0,
        generator=seeded(seed, "generate"),
        batch=batch,
        after_step=lambda x, s: (bar.update(), x)[1],
    )
    bar.close()
    if out.suffix:
        columns = min(count, len(model.config.classes) if 1 < len(model.config.classes) <= 12 and label is None else 8)
        save_png(grid(pictures, columns, scale), out)
    else:
        for i, picture in enumerate(pictures):
            name = "" if labels is None else "-" + model.config.classes[labels[i]].replace(" ", "-").replace("/", "-")
            save_png(grid(picture[None], 1, scale, padding=0), out / f"{i:04d}{name}.png")
    tqdm.write(f"{count} pictures written to {out}")


def show_info(checkpoint: Path, *, as_json: bool = False) -> str:
    """The card of a checkpoint, or where its run stands."""
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: no such folder")
    if (checkpoint / "card.json").exists():
        card = read_json(checkpoint / "card.json")
        try:
            return json.dumps(card, indent=2, ensure_ascii=False) + "\n" if as_json else card_text(card)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{checkpoint}/card.json: not a card of ours ({error} is missing)") from None
    if (checkpoint / "train.json").exists():
        status = run_status(checkpoint)
        if as_json:
            return json.dumps({"unfinished": status}) + "\n"
        return f"Unfinished run: {status}. Continue it with: ldm-edu train --resume --out {checkpoint}\n"
    raise CheckpointError(f"{checkpoint}: holds neither a card nor a run of ours")


def pick_device(name: str) -> str:
    """The device that a name stands for."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but no CUDA GPU is there; use --device auto or cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def pick_labels(label: str | None, count: int, classes: tuple[str, ...]) -> torch.Tensor | None:
    """Labels for `count` pictures: the class asked for, or all in turn."""
    if label is None:
        return torch.arange(count) % len(classes) if classes else None
    if not classes:
        raise ValueError(f"--label {label}: this checkpoint has no classes")
    if label in classes:
        return torch.full((count,), classes.index(label))
    if label.isdecimal() and int(label) < len(classes):
        return torch.full((count,), int(label))
    raise ValueError(f"--label {label}: not a class of this checkpoint; it has {', '.join(classes)}")


class Bar:
    """A progress bar for each stage, with loss, pictures a second and time left, and sample grids after saves."""

    def __init__(self):
        self.bar, self.stage = None, None

    def hooks(self, out: Path) -> Hooks:
        """What `train` calls."""

        def samples(step: int, model: LatentDiffusion) -> None:
            pictures, _ = draw_samples(model, Sampling(count=40, steps=20))
            save_png(grid(pictures, 10, 2), out / "samples" / f"step-{step:06d}.png")

        return Hooks(self.progress, tqdm.write, samples)

    def progress(self, stage: str, now: Progress) -> None:
        """Move the bar of a stage."""
        if stage != self.stage:
            self.close()
            self.stage = stage
            self.bar = tqdm(total=now.steps, initial=0, desc=stage, unit="step", dynamic_ncols=True)
        self.bar.update(now.step - self.bar.n)
        self.bar.set_postfix_str(f"loss {now.loss:.4f}, {now.rate:.0f} pictures/s")

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
            self.bar = self.stage = None


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _rank() -> int:
    import os

    return int(os.environ.get("RANK", "0"))
