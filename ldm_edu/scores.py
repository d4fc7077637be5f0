"""How good a trained model is: every figure beside the one that real held-out pictures get. Notebook 13."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ldm_edu.classifier import in_batches, train_classifier
from ldm_edu.data.pictures import Pictures, at_once, spread, to_float
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion
from ldm_edu.metrics import frechet_distance, nearest_distance, psnr, recognition

SCORES = {
    "reconstruction_psnr_db": "PSNR of reconstructed held-out pictures, dB",
    "held_out_accuracy": "held-out real pictures that a classifier trained apart recognises",
    "held_out_confident": "the same, with a probability of at least 0.9",
    "samples_accuracy": "samples it recognises as the class asked for",
    "samples_confident": "the same, with a probability of at least 0.9",
    "samples_classes": "classes recognised among the samples",
    "captions_obeyed": "training captions whose picture obeys them in every word, by the exact reader",
    "held_out_captions_obeyed": "the same of captions with combinations never seen in training",
    "reconstructions_obey": "the same of reconstructed held-out pictures: what the autoencoder allows",
    "samples_frechet": "Fréchet distance of samples to held-out pictures, in the classifier's features",
    "unseen_frechet": "the same of samples for held-out captions",
    "train_frechet": "the same of as many training pictures: what a perfect model reaches",
    "samples_nearest_median": "distance of a sample to its nearest training picture (RMSE of pixels, median)",
    "unseen_nearest_median": "the same of samples for held-out captions",
    "held_out_nearest_median": "the same of real held-out pictures",
    "samples_copies": "samples nearer to a training picture than half of what 95% of held-out pictures keep",
}


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the scored samples are drawn."""

    count: int = 500
    steps: int = 50
    guidance: float = 2.0
    seed: int = 0


@torch.no_grad()
def draw_samples(
    model: LatentDiffusion, sampling: Sampling, captions: tuple[str, ...] = ()
) -> tuple[Tensor, Tensor | None]:
    """Samples (count, C, H, W) and their labels: the classes in turn, or None for a model without classes.

    Args:
        captions: what a model with text draws; see `spread`.
    """
    classes = len(model.config.classes)
    labels = torch.arange(sampling.count) % classes if classes else None
    prompts = None
    if model.config.text is not None and captions:
        prompts = [captions[i] for i in spread(sampling.count, len(captions))]
    pictures = model.generate(
        sampling.count,
        labels=labels,
        prompts=prompts,
        steps=sampling.steps,
        guidance=sampling.guidance if labels is not None or prompts is not None else 1.0,
        generator=seeded(sampling.seed, "samples"),
        batch=at_once(64, (model.config.size, model.config.size)),
    )
    return pictures, labels


@torch.no_grad()
def score(
    model: LatentDiffusion,
    samples: Tensor,
    labels: Tensor | None,
    train: Pictures,
    held_out: Pictures,
    unseen: Tensor | None = None,
) -> dict[str, float | int]:
    """Score samples and reconstructions; every figure stands beside the one that real held-out pictures get.

    Args:
        samples, labels: (N, C, H, W) in [-1, 1] and (N,) or None, as `draw_samples` gives them.
        unseen: (M, C, H, W), what the model drew for the held-out captions, where there are captions.
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
        if unseen is not None:
            scores["unseen_frechet"] = frechet_distance(unseen, real, classifier)
        part = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[: len(samples)]
        scores["train_frechet"] = frechet_distance(training[part], real, classifier)
    near, _ = nearest_distance(samples, training)
    near_real, _ = nearest_distance(real, training)
    scores["samples_nearest_median"] = near.median().item()
    if unseen is not None:
        scores["unseen_nearest_median"] = nearest_distance(unseen, training)[0].median().item()
    scores["held_out_nearest_median"] = near_real.median().item()
    scores["samples_copies"] = (near < near_real.quantile(0.05) / 2).sum().item()
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in scores.items()}


def caption_scores(
    model: LatentDiffusion, samples: Tensor, unseen: Tensor, train: Pictures, held_out: Pictures
) -> dict[str, float]:
    """How often pictures of `scenes` obey their captions, as the exact reader sees it.

    Args:
        samples, unseen: (N, C, H, W) in [-1, 1], what the model drew for the training captions and for the held-out
            ones, as `draw_samples` does.
    """
    from ldm_edu.data.shapes import obeys

    def share(pictures: Tensor, captions: tuple[str, ...]) -> float:
        asked = [captions[i] for i in spread(len(pictures), len(captions))]
        return round(obeys(pictures.cpu(), asked).float().mean().item(), 4)

    scores = {
        "captions_obeyed": share(samples, train.captions),
        "held_out_captions_obeyed": share(unseen, held_out.captions),
    }
    if model.autoencoder is not None:
        some = spread(min(len(samples), len(held_out)), len(held_out))
        real = to_float(held_out.pixels[some]).to(model.latent_mean.device)
        back = in_batches(lambda x: model.decode(model.encode(x)), real)
        scores["reconstructions_obey"] = share(back, held_out.captions)  # as many pictures, so the same captions
    return scores
