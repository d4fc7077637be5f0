"""The model that a training starts with: a new one, made to fit the pictures, or a trained one, as in fine-tuning.

Used by train.py.
"""

from __future__ import annotations

import dataclasses
from typing import get_args

import torch
from torch import Tensor

from ldm_edu import schedule as schedules
from ldm_edu.checkpoint import read_json
from ldm_edu.config import DERIVED, ScheduleName, TrainConfig
from ldm_edu.data.pictures import Pictures
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.text import NOTHING, tokenize, vocabulary
from ldm_edu.pretrained import find_model
from ldm_edu.run_folder import flatten


def model_config_for(config: TrainConfig, pictures: Pictures) -> ModelConfig:
    """The model's configuration: the sizes asked for, the channels and the classes or words that the data have.

    Raises:
        ValueError: pictures of another size, sizes that do not fit together, or captions without a word to read.
    """
    if pictures.size != config.size:
        raise ValueError(f"the pictures are {pictures.size} pixels wide, the configuration says {config.size}")
    text = None
    if config.conditional and pictures.captions:
        words = vocabulary(pictures.captions, config.least_words)
        if not words:
            raise ValueError(
                f"no word stands in the captions of {config.data} {config.least_words} times or more (least_words), so "
                "none would be read; lower it, or train without captions (--no-conditional)"
            )
        text = dataclasses.replace(config.text, words=words)
    classes = pictures.classes if config.conditional and pictures.labels is not None and text is None else ()
    autoencoder = dataclasses.replace(config.autoencoder, in_channels=pictures.channels) if config.latent else None
    inside = autoencoder.latent_channels if autoencoder else pictures.channels
    unet = dataclasses.replace(
        config.unet,
        in_channels=inside,
        out_channels=inside,
        num_classes=len(classes) or None,
        context_dim=text.width if text else None,
    )
    return ModelConfig(config.size, pictures.channels, unet, autoencoder, config.target, classes, text)


def conditions_for(model_config: ModelConfig, pictures: Pictures) -> tuple[Tensor | None, int]:
    """What the model is told of each picture, (N,) labels or (N, L) tokens or None, and the number for "nothing"."""
    if model_config.text is not None:
        return tokenize(pictures.captions, model_config.text), NOTHING
    return (pictures.labels, len(model_config.classes)) if model_config.classes else (None, 0)


def follow(flat: dict) -> dict:
    """Settings that name a model to start from, with those that follow from it put in.

    Args:
        flat: settings as in train.json, "start_from" among them or not.
    Raises:
        ValueError: a setting contradicts the model's, or there is no such model.
        CheckpointError: the model's files are damaged.
    """
    if not flat.get("start_from"):
        return flat
    model = LatentDiffusion.load(find_model(flat["start_from"]))
    return flat | _agree(flat, _settings(model), flat["start_from"])


def starting_model(config: TrainConfig, pictures: Pictures) -> LatentDiffusion | None:
    """The model to start from, or None where the configuration names none.

    Raises:
        ValueError: the configuration or the pictures do not fit it; `follow` makes a configuration fit.
    """
    if not config.start_from:
        return None
    model = LatentDiffusion.load(find_model(config.start_from))
    _agree(flatten(config), _settings(model), config.start_from)
    about = model.config
    if (pictures.size, pictures.channels) != (about.size, about.channels):
        raise ValueError(
            f"{config.start_from} is a model of {about.channels}×{about.size}×{about.size} pictures; "
            f"these are {pictures.channels}×{pictures.size}×{pictures.size}"
        )
    if about.text and not pictures.captions:
        raise ValueError(f"{config.start_from} is told captions, and {config.data} has none")
    if about.classes and about.classes != pictures.classes:
        raise ValueError(f"{config.start_from} knows the classes {about.classes}, {config.data} has {pictures.classes}")
    return model


def origin_of(start: str) -> dict:
    """What a card says of the model that its training started from."""
    path = find_model(start) / "card.json"
    card = read_json(path) if path.exists() else {}
    return {"name": start} | {k: card[k] for k in ("data", "credit", "provenance") if k in card}


def _settings(model: LatentDiffusion) -> dict:
    """The settings of a training, flat, that its model tells."""
    about, signal = model.config, model.schedule.signal
    known = {n: getattr(schedules, n)(model.schedule.T).signal for n in get_args(ScheduleName)}
    name = next((n for n, other in known.items() if torch.allclose(other, signal)), None)
    if name is None:
        raise ValueError(f"the model's schedule is none of {', '.join(known)}, and no training here can go on with it")
    settings = {
        "size": about.size,
        "latent": about.autoencoder is not None,
        "conditional": bool(about.text or about.classes),
        "schedule": name,
        "T": model.schedule.T,
        "target": about.target,
    }
    for part in ("autoencoder", "text", "unet"):
        if (own := getattr(about, part)) is not None:
            settings |= {k: v for k, v in flatten(own, f"{part}.").items() if k not in DERIVED}
    return settings


def _agree(flat: dict, settings: dict, start: str) -> dict:
    """`settings`, after a look that nothing in `flat` contradicts them; JSON has lists where Python has tuples."""
    for key, value in settings.items():
        given = flat.get(key, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise ValueError(f"start_from keeps the networks of {start}: {key} is {value!r} there, not {given!r}")
    return settings
