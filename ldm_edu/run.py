"""What the commands train, export and info do: train with progress, score, write and show the card."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ldm_edu.card import card_body, card_text, overview, provenance, write_card
from ldm_edu.checkpoint import CheckpointError, read_about, read_json, read_tensors
from ldm_edu.config import TrainConfig, without_effect
from ldm_edu.data.images import IGNORED
from ldm_edu.data.load import credit_for, load_pictures
from ldm_edu.data.pictures import Pictures, mirrored
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import read_config
from ldm_edu.options import option, typed_options
from ldm_edu.plot import grid, save_png
from ldm_edu.profile import pick_device
from ldm_edu.progress import StageProgress
from ldm_edu.readme import write_block
from ldm_edu.run_folder import check_folder, contents, read_settings, replace_flat, run_status
from ldm_edu.scores import Sampling, caption_scores, draw_samples, score
from ldm_edu.start import follow, origin_of
from ldm_edu.train import Hooks, make_accelerator, train

if TYPE_CHECKING:
    from accelerate import Accelerator


def run_training(given: dict, out: Path, *, recipe: dict, resume: bool) -> None:
    """Train as asked, with progress; then score, and write card and picture where they are not there yet.

    Args:
        given: the fields of TrainConfig that were typed, flat.
        recipe: those of a recipe, flat; what was typed wins.
    Raises:
        ValueError: something typed would do nothing beside --start-from or --no-latent. In a recipe it is left out.
    """
    settings = follow(recipe | given)
    idle = without_effect(settings)
    if typed := [option(key) for key in idle if key in given]:
        why = "--no-latent trains no autoencoder"
        if settings.get("start_from"):
            why = "--start-from trains no autoencoder and keeps the model's words"
        raise ValueError(f"{why}: leave out {', '.join(typed)}, which would do nothing")
    settings = {key: value for key, value in settings.items() if key not in idle}
    going_on = resume and (out / "train.json").exists()
    config = replace_flat(read_settings(out, TrainConfig()) if going_on else TrainConfig(), settings)
    check_folder(out, config, resume)
    if going_on and finished(out):
        if int(os.environ.get("RANK", 0)) == 0:  # of several processes one speaks
            print(show_info(out))
            print(f"This run is finished; it is in {out}, and its pictures in {out / 'samples.png'}")
        return
    accelerator = make_accelerator(config, out)
    start = origin_of(config.start_from) if config.start_from else None  # now: it may be gone when training ends
    with accelerator.main_process_first():  # one process downloads, the others find it done
        pictures, held_out = load_both(config)
    progress = StageProgress()
    hooks = Hooks()
    if accelerator.is_main_process:
        hooks = Hooks(progress.update, progress.note, lambda step, m: write_samples(out, step, m, pictures.captions))
    try:
        model, seconds = train(config, pictures, out, accelerator=accelerator, hooks=hooks, resume=resume)
    finally:
        progress.close()
    if not accelerator.is_main_process:
        return
    if not finished(out):
        progress.note("Scoring …")
        finish(model, config, out, pictures, held_out, seconds, accelerator, start)
    print(card_text(read_json(out / "card.json")))
    print(f"The checkpoint, its card and its pictures are in {out}; look at {out / 'samples.png'}")
    print(f"Draw with it: ldm-edu generate --model {out}")


def finished(out: Path) -> bool:
    """Whether a run has all that it leaves: weights, card, picture. The card is written last."""
    return all((out / name).exists() for name in ("model.safetensors", "samples.png", "card.json"))


def write_samples(out: Path, step: int, model: LatentDiffusion, captions: tuple[str, ...] = ()) -> None:
    """Write a grid of what a model draws at a step of its training."""
    pictures, _ = draw_samples(model, Sampling(count=40, steps=fitting_steps(20, model)), captions)
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
    accelerator: Accelerator,
    start: dict | None,
) -> None:
    """Score a trained model; write its picture and, last, its card.

    Args:
        start: what `origin_of` says of the model that the training began with.
    """
    command = shlex.join(["ldm-edu", "train", "--out", str(out), *typed_options(config, TrainConfig())])
    a = accelerator
    origin = provenance(command, seconds, a.device, a.num_processes, a.mixed_precision)
    if start is not None:
        origin["start"] = start
    write_scores(model, config, out, pictures, held_out, origin)


def write_scores(
    model: LatentDiffusion, config: TrainConfig, out: Path, pictures: Pictures, held_out: Pictures, origin: dict
) -> None:
    """Score a model; write its picture and, last, its card.

    Args:
        origin: what `provenance` says of its training.
    """
    guidance = 3.0 if model.text else 2.0 if model.config.classes else 1.0
    sampling = Sampling(steps=fitting_steps(50, model), guidance=guidance, seed=config.seed)
    samples, labels = draw_samples(model, sampling, pictures.captions)
    seen = mirrored(pictures) if config.flip else pictures  # a mirror image that was trained on can be copied too
    unseen = draw_samples(model, sampling, held_out.captions)[0] if model.text is not None else None
    scores = score(model, samples, labels, seen, held_out, unseen)
    if config.data == "scenes" and unseen is not None:
        scores |= caption_scores(model, samples, unseen, pictures, held_out)
    card = {
        "name": out.resolve().name,
        "data": config.data,
        "credit": credit_for(config.data, config.credit),
        "pictures": len(pictures),
        "size": config.size,
        "seed": config.seed,
        "latent_shape": list(model.config.latent_shape),
        "parameters": {
            "unet": _count(model.unet) + (_count(model.text) if model.text else 0),
            "autoencoder": _count(model.autoencoder) if model.autoencoder else 0,
        },
        "weights": stored_dtype(out),
        "sampling": dataclasses.asdict(sampling),
        "provenance": origin,
        "scores": scores,
    }
    overview(model, samples, unseen, seen, held_out, out / "samples.png")
    write_card(out, card)


def stored_dtype(folder: Path) -> str:
    """The type of a checkpoint's weights, in words such as float16."""
    tensors, _ = read_tensors(folder / "model.safetensors")
    return str(tensors["unet.conv_in.weight"].dtype).removeprefix("torch.")


def export(run: Path, out: Path, *, root: str | None = None, download: bool = False) -> None:
    """Write the model of a finished run in half precision, scored anew as it is stored.

    The folder is there whole or, after a failure, not at all.

    Args:
        root, download: where the run's data lie now, if not where they did, and whether they may be downloaded.
    Raises:
        CheckpointError: no finished run there, or `out` holds something.
    """
    if not finished(run) or not (run / "train.json").exists():
        raise CheckpointError(f"{run}: holds no finished run; export takes the folder of a training that has its card")
    if out.exists() and (not out.is_dir() or contents(out)):
        raise CheckpointError(f"{out}: exists already; choose another folder")
    config, origin = read_settings(run, TrainConfig()), read_json(run / "card.json").get("provenance")
    if not origin:
        raise CheckpointError(f"{run}/card.json: does not say where the model comes from; it is not a card of ours")
    config = dataclasses.replace(config, root=config.root if root is None else root, download=download)
    pictures, held_out = load_both(config)
    final = out.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    # Beside the place where it is to be, so that the folder is there whole or, after a failure, not at all.
    with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as temporary:
        made = Path(temporary) / final.name
        LatentDiffusion.load(run).save(made, torch.float16)
        model = LatentDiffusion.load(made, pick_device("auto"))
        write_scores(model, config, made, pictures, held_out, origin)
        if final.exists():  # it is empty, but for what file managers leave
            for name in IGNORED:
                (final / name).unlink(missing_ok=True)
            final.rmdir()
        made.rename(final)
    print(card_text(read_json(out / "card.json")))


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


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
