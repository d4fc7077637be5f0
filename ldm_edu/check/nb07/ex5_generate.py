"""Exercise 7.5, from noise to a picture: how its answers are checked."""

from __future__ import annotations

from itertools import pairwise

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(
    start=lambda x, shift, scale: x,
    end=lambda x, shift, scale: x * scale + shift,
    pairs=pairwise,
    look=lambda t, s: t,
    guess=lambda x0: x0,
    see=lambda x, x_T: x,
    take=lambda x, x0, x_T: x,
):
    """Sampling and decoding with one thing done differently."""

    def generate(predict, decode, x_T, ts, alpha_bar, shift, scale):
        signal, noise = alpha_bar.sqrt().tolist(), (1 - alpha_bar).sqrt().tolist()
        x = x0_hat = start(x_T, shift, scale)
        for t, s in pairs(ts):
            eps_hat = predict(see(x, x_T), look(t, s))
            x0_hat = guess((x - noise[t] * eps_hat) / signal[t])
            x = signal[s] * x0_hat + noise[s] * eps_hat
        return decode(end(take(x, x0_hat, x_T), shift, scale))

    return generate


_generate = _made()


def _says(text):
    def sentence(case, got, want):
        off = (got - want).square().mean().sqrt().item()
        return text.format(off=f"{off:.4f}", T=case.ts[0], count=len(case.ts) - 1, before=case.ts[-2])

    return sentence


_KNOWN = (
    Known(
        _made(end=lambda x, shift, scale: x),
        _says("Your picture is off by {off} (rms): the decoder was given latents of variance 1, which it never wrote."),
    ),
    Known(
        _made(end=lambda x, shift, scale: (x - shift) / scale),
        _says("Your picture is off by {off} (rms): the latents are normalised a second time; it must be undone."),
    ),
    Known(
        _made(end=lambda x, shift, scale: (x + shift) * scale),
        _says("Your picture is off by {off} (rms): shift and scale are undone in the wrong order."),
    ),
    Known(
        _made(end=lambda x, shift, scale: x * scale),
        _says("Your picture is off by {off} (rms): the scale is undone, the shift is not."),
    ),
    Known(
        _made(end=lambda x, shift, scale: x + shift),
        _says("Your picture is off by {off} (rms): the shift is undone, the scale is not."),
    ),
    Known(
        _made(take=lambda x, x0, x_T: x_T),
        _says("Your picture is off by {off} (rms): it was x at t = {T} that was decoded, pure noise."),
    ),
    Known(
        _made(start=lambda x, shift, scale: x * scale + shift, end=lambda x, shift, scale: x),
        _says(
            "Your picture is off by {off} (rms): x_T is brought to the decoder's scale, and the network never saw that."
        ),
    ),
    Known(
        _made(start=lambda x, shift, scale: (x - shift) / scale),
        _says("Your picture is off by {off} (rms): x_T is normalised, and it has variance 1 already: codes need that."),
    ),
    Known(
        _made(guess=lambda x0: x0.clamp(-1, 1)),
        _says("Your picture is off by {off} (rms): x̂_0 is clipped to [−1, 1], and latents have no such bound."),
    ),
    Known(
        _made(pairs=lambda ts: pairwise(ts[:-1])),
        _says("Your picture is off by {off} (rms): the last step, from t = {before} to 0, is not taken."),
    ),
    Known(
        _made(pairs=lambda ts: ((t, t - 1) for t in ts[:-1])),
        _says("Your picture is off by {off} (rms): each of the {count} steps goes to t − 1, not to the next time."),
    ),
    Known(
        _made(look=lambda t, s: s),
        _says("Your picture is off by {off} (rms): predict is told s, and the x that it sees is one of t."),
    ),
    Known(
        _made(see=lambda x, x_T: x_T),
        _says("Your picture is off by {off} (rms): predict is shown x_T in all {count} steps."),
    ),
)


def _predict(x, t):
    """Some network: it looks at x and at t."""
    return torch.tanh(x) * (0.6 + 0.1 * t) + 0.05 * t


def _decode(latent):
    """Some decoder: twice as high and wide, one channel, not linear."""
    grey = (torch.sin(latent) + 0.2 * latent).sum(1, keepdim=True)
    return grey.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _case(shape, ts, seed, dtype=f64):
    channels = shape[1]
    shift, scale = (normal(channels, 1, 1, seed=seed + i, dtype=dtype) for i in (1, 2))
    return {
        "predict": _predict, "decode": _decode, "x_T": normal(*shape, seed=seed, dtype=dtype), "ts": ts,
        "alpha_bar": alpha_bars(ts[0], seed), "shift": shift + 0.5, "scale": 0.5 + scale.abs(),
    }  # fmt: skip


def _try(generate):
    cases = [
        _case((3, 4, 2, 3), [9, 6, 3, 0], 1),
        _case((2, 1, 3, 3), [5, 4, 2, 1, 0], 11),
        _case((1, 2, 4, 2), [7, 0], 21),
        _case((2, 3, 2, 2), [6, 3, 0], 31, torch.float32),
    ]
    compare(generate, _generate, cases, _KNOWN, ("the picture",))


generate = Exercise(
    title="From noise to a picture",
    kind="implement",
    answers=("generate",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "Three things in order: DDIM over the latents, back to the decoder's scale, one decoding.",
        "The loop goes over pairs of neighbours in ts, with (6.11) at η = 0. After it x is x_0, normalised.",
        "decode(x * scale + shift) after: for t, s in zip(ts, ts[1:]): ε̂ = predict(x, t), "
        "x̂_0 = (x − noise_t ε̂)/signal_t, x = signal_s x̂_0 + noise_s ε̂.",
    ),
)  # fmt: skip
