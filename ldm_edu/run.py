"""What the commands do: train with progress, score and card; generate to files; show a card."""

from __future__ import annotations

import json
import math
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ldm_edu.card import Sampling, card_body, card_text, draw_samples, overview, provenance, score, write_card
from ldm_edu.checkpoint import CheckpointError, read_about, read_json
from ldm_edu.config import TrainConfig
from ldm_edu.data.load import load_pictures
from ldm_edu.data.pictures import Pictures
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.model_config import read_config
from ldm_edu.nets.text import TextConfig, unread
from ldm_edu.options import typed_options
from ldm_edu.plot import grid, save_png
from ldm_edu.pretrained import find_model
from ldm_edu.progress import StageProgress, sampler_bar
from ldm_edu.readme import write_block
from ldm_edu.run_folder import check_folder, read_settings, replace_flat, run_status
from ldm_edu.train import Hooks, make_accelerator, train


def run_training(given: dict, out: Path, *, resume: bool) -> None:
    """Train as asked, with progress; then score, and write card and picture where they are not there yet.

    Args:
        given: the fields of TrainConfig that were typed, flat.
    """
    going_on = resume and (out / "train.json").exists()
    config = replace_flat(read_settings(out, TrainConfig()) if going_on else TrainConfig(), given)
    check_folder(out, config, resume)
    if going_on and finished(out):
        print(card_text(read_json(out / "card.json")))
        print(f"This run is finished; it is in {out}, and its pictures in {out / 'samples.png'}")
        return
    accelerator = make_accelerator(config, out)
    with accelerator.main_process_first():  # one process downloads, the others find it done
        pictures, held_out = load_both(config)
    progress = StageProgress()
    hooks = Hooks()
    if accelerator.is_main_process:
        hooks = Hooks(progress.update, progress.note, lambda step, model: write_samples(out, step, model))
    try:
        model, seconds = train(config, pictures, out, accelerator=accelerator, hooks=hooks, resume=resume)
    finally:
        progress.close()
    if not accelerator.is_main_process:
        return
    if not finished(out):
        progress.note("Scoring …")
        finish(model, config, out, pictures, held_out, seconds, accelerator.num_processes)
    print(card_text(read_json(out / "card.json")))
    print(f"The checkpoint, its card and its pictures are in {out}; look at {out / 'samples.png'}")
    print(f"Draw with it: ldm-edu generate --model {out}")


def finished(out: Path) -> bool:
    """Whether a run has all that it leaves: weights, card, picture. The card is written last."""
    return all((out / name).exists() for name in ("model.safetensors", "samples.png", "card.json"))


def write_samples(out: Path, step: int, model: LatentDiffusion) -> None:
    """Write a grid of what a model draws at a step of its training."""
    pictures, _ = draw_samples(model, Sampling(count=40, steps=fitting_steps(20, model)))
    save_png(grid(pictures, 10, 2), out / "samples" / f"step-{step:06d}.png")


def fitting_steps(steps: int, model: LatentDiffusion) -> int:
    """Sampler steps for a model of few steps: half of its own at most."""
    return min(steps, model.schedule.T // 2)


def finish(
    model: LatentDiffusion,
    config: TrainConfig,
    out: Path,
    pictures: Pictures,
    held_out: Pictures,
    seconds: dict[str, float],
    processes: int = 1,
) -> None:
    """Score a trained model; write its picture and, last, its card."""
    sampling = Sampling(steps=fitting_steps(50, model), seed=config.seed)
    samples, labels = draw_samples(model, sampling)
    card = {
        "name": out.resolve().name,
        "data": config.data,
        "pictures": len(pictures),
        "size": config.size,
        "seed": config.seed,
        "latent_shape": list(model.config.latent_shape),
        "parameters": {
            "unet": _count(model.unet),
            "autoencoder": _count(model.autoencoder) if model.autoencoder else 0,
        },
        "sampling": asdict(sampling),
        "provenance": provenance(
            shlex.join(["ldm-edu", "train", "--out", str(out), *typed_options(config, TrainConfig())]),
            seconds,
            model.latent_mean.device,
            processes,
        ),
        "scores": score(model, samples, labels, pictures, held_out),
    }
    overview(model, samples, held_out, out / "samples.png")
    write_card(out, card)


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
    prompt: str,
    checkpoint: str | Path,
    out: Path,
    *,
    count: int,
    label: str | None,
    negative: str,
    steps: int,
    sampler: SamplerName,
    eta: float,
    guidance: float,
    interval: tuple[int, ...] | None,
    seed: int,
    batch: int,
    scale: int,
    device: str,
) -> None:
    """Draw pictures and write them as one grid (.png) or as single files (a folder)."""
    if count < 1 or scale < 1 or batch < 1:
        raise ValueError(f"--count, --scale and --batch must be 1 or more, got {count}, {scale} and {batch}")
    if not math.isfinite(guidance):
        raise ValueError(f"--guidance must be a number, got {guidance}")
    one_file = bool(out.suffix) and not out.is_dir()
    if one_file and out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as .png, or as single files into a folder")
    if interval is not None and len(interval) != 2:
        raise ValueError(f"--interval takes two times, LOW,HIGH, got {','.join(map(str, interval))}")
    if prompt and Path(prompt).is_dir():
        raise ValueError(f"{prompt} is a folder, not a prompt; draw with its checkpoint by --model {prompt}")
    model = LatentDiffusion.load(find_model(checkpoint), pick_device(device))
    labels = pick_labels(label, count, model.config.classes)
    prompts = pick_prompts(prompt, negative, count, model.config.text)
    step = sampler_bar(steps * -(-count // batch))
    pictures = model.generate(
        count,
        labels=labels,
        prompts=prompts,
        negative=negative,
        steps=steps,
        sampler=sampler,
        eta=eta,
        guidance=guidance if labels is not None or prompts is not None else 1.0,
        interval=interval,
        generator=seeded(seed, "generate"),
        batch=batch,
        after_step=lambda x, s: (step(), x)[1],
    )
    if one_file:
        columns = min(count, len(model.config.classes) if 1 < len(model.config.classes) <= 12 and label is None else 8)
        save_png(grid(pictures, columns, scale), out)
    else:
        for i, picture in enumerate(pictures):
            name = "" if labels is None else "-" + model.config.classes[labels[i]].replace(" ", "-").replace("/", "-")
            save_png(grid(picture[None], 1, scale, padding=0), out / f"{i:04d}{name}.png")
    print(f"{count} picture{'s' if count > 1 else ''} written to {out}")


def show_info(checkpoint: Path, *, as_json: bool = False, write: Path | None = None) -> str:
    """The card of a checkpoint, or where its run stands.

    Args:
        write: a Markdown file that gets the card too, between its markers.
    Raises:
        CheckpointError: no such folder, nothing of ours in it, or a damaged file.
    """
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: no such folder")
    if (checkpoint / "card.json").exists():
        card = read_json(checkpoint / "card.json")
        read_config(checkpoint)
        read_about(checkpoint / "model.safetensors")  # the card of weights that are cut short would be no help
        try:
            body, text = card_body(card), card_text(card)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{checkpoint}/card.json: not a card of ours ({error!r})") from None
        if write is not None:
            write_block(write, "demo", body)
        return json.dumps(card, indent=2, ensure_ascii=False) + "\n" if as_json else text
    if write is not None:
        raise CheckpointError(f"{checkpoint}: has no card to write into {write}")
    if (checkpoint / "train.json").exists():
        read_settings(checkpoint, TrainConfig())
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


def pick_prompts(prompt: str, negative: str, count: int, text: TextConfig | None) -> list[str] | None:
    """The prompt for each picture, or None without one; says on standard error what the model cannot read.

    Raises:
        ValueError: a prompt for a model without text, or a negative prompt alone.
    """
    if text is None:
        if prompt or negative:
            raise ValueError(f"{prompt or negative!r}: this checkpoint takes no text; leave the prompt out")
        return None
    if negative and not prompt:
        raise ValueError("--negative leads away from something on the way to a prompt; give a prompt too")
    for said in (prompt, negative):
        unknown, cut = unread(said, text)
        if unknown:
            known = " ".join(text.words[:40]) + (" …" if len(text.words) > 40 else "")
            print(f"Words that this model does not know: {' '.join(unknown)}. It knows: {known}", file=sys.stderr)
        if cut:
            print(f"Only {text.length} words are read; left out: {' '.join(cut)}", file=sys.stderr)
    return [prompt] * count if prompt else None


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
