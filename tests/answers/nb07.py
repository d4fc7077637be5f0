"""Answers to the exercises of notebook 07."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from answers import Answers

LOG_TAU = math.log(2 * math.pi)

# two_parts


def parts_by_hand(decoder_variance, gain, variance, mean, x):
    distortion = (LOG_TAU + math.log(decoder_variance)) / 2
    distortion += ((x - gain * mean) ** 2 + gain**2 * variance) / (2 * decoder_variance)
    return distortion, (mean**2 + variance - 1 - math.log(variance)) / 2


def parts_on_a_grid(x, mean, variance, gain, decoder_variance):
    line = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    q, prior = Normal(mean, math.sqrt(variance)), Normal(0.0, 1.0)
    decoder = Normal(gain * line, math.sqrt(decoder_variance))
    weights = q.log_prob(line).exp()
    distortion = torch.trapezoid(-weights * decoder.log_prob(torch.tensor(x)), line)
    return distortion, torch.trapezoid(weights * (q.log_prob(line) - prior.log_prob(line)), line)


def parts_by_torch(x, mean, variance, gain, decoder_variance):
    rate = kl_divergence(Normal(mean, variance**0.5), Normal(0.0, 1.0))
    missed = Normal(torch.tensor(gain * mean), decoder_variance**0.5).log_prob(torch.tensor(x))
    return [-missed + gain**2 * variance / (2 * decoder_variance), rate]


def parts(distortion=None, rate=None):
    """Both parts, one of them made from the right one and the arguments."""

    def two_parts(x, mean, variance, gain, decoder_variance):
        d, r = parts_by_hand(decoder_variance, gain, variance, mean, x)
        if distortion:
            d = distortion(d, variance, gain, decoder_variance)
        return d, rate(r, mean, variance) if rate else r

    return two_parts


def log_q(variance):
    return -(LOG_TAU + 1 + math.log(variance)) / 2


def surprise(mean, variance):
    return (LOG_TAU + mean**2 + variance) / 2


# saving


def by_costs(decoder, steps, factor, share):
    pixels, n = steps * 1.0, 1 / factor**2
    return pixels / (steps * (share * n**2 + (1 - share) * n) + decoder)


def by_adding(share, factor, steps, decoder):
    places = 1 / (factor * factor)
    paid = decoder + sum((1 - share) * places + share * places * places for _ in range(steps))
    return torch.tensor(steps / paid)


def saved(call, whole=lambda call, steps, decoder: steps * call + decoder):
    return lambda share, factor, steps, decoder: steps / whole(call(share, factor), steps, decoder)


def a_call(a, f):
    return (1 - a) / f**2 + a / f**4


# block_flops


def counted(factor, width, height, kernel, channels):
    n = (height // factor) * (width // factor)
    return 2 * kernel * kernel * channels * channels * n, 2 * channels * n * n + 2 * n * n * channels


def counted_in_floats(channels, kernel, height, width, factor):
    n = height * width / factor**2
    return np.array(2.0 * (kernel * channels) ** 2 * n), np.array(4.0 * channels * n**2)


def times(conv=1.0, attention=1.0):
    """The two costs, each times a number that the arguments give."""

    def block_flops(**case):
        numbers = counted(**case)
        factors = (f(**case) if callable(f) else f for f in (conv, attention))
        return tuple(n * f for n, f in zip(numbers, factors, strict=True))

    return block_flops


def ratio(of):
    """Costs at another number of places."""

    def block_flops(channels, kernel, height, width, factor):
        n = of(height, width, factor)
        return 2 * kernel**2 * channels**2 * n, 4 * channels * n**2

    return block_flops


# normalise


def normal_by_flattening(std, mean):
    flat, spread = (x.transpose(0, 1).flatten(1) for x in (mean, std))
    shift = flat.mean(1)
    scale = torch.sqrt(((flat - shift[:, None]) ** 2).mean(1) + (spread**2).mean(1))
    return (mean - shift.view(1, -1, 1, 1)) / scale.view(1, -1, 1, 1), std / scale.view(1, -1, 1, 1)


def normal_by_loops(mean, std):
    mean, std = mean.clone(), std.clone()
    for c in range(mean.shape[1]):
        second = (mean[:, c].double() ** 2 + std[:, c].double() ** 2).mean()
        shift = mean[:, c].double().mean()
        scale = (second - shift**2).sqrt()
        mean[:, c], std[:, c] = (mean[:, c] - shift) / scale, std[:, c] / scale
    return mean, std


EACH = (0, 2, 3)


def scaled(scale, d=EACH):
    def normalise(mean, std):
        size = scale(mean, std, d)
        return (mean - mean.mean(d, keepdim=True)) / size, std / size

    return normalise


def total(mean, std, d):
    return (mean.std(d, correction=0, keepdim=True) ** 2 + (std**2).mean(d, keepdim=True)) ** 0.5


def used(use):
    return lambda mean, std: use(mean, std, mean.mean(EACH, keepdim=True), total(mean, std, EACH))


# generate


def by_ratios(scale, shift, alpha_bar, ts, x_T, decode, predict):
    sigma, signal = (1 / alpha_bar - 1).sqrt(), alpha_bar.sqrt()
    bar_x = x_T / signal[ts[0]]
    for i in range(len(ts) - 1):
        t, s = ts[i], ts[i + 1]
        bar_x = bar_x + (sigma[s] - sigma[t]) * predict(bar_x * signal[t], t)
    return decode(shift + scale * bar_x)


def sampled(start=None, end=None, pairs=None, look=None, guess=None, see=None, last=None):
    """DDIM and one decoding, with one thing in another way."""

    def generate(predict, decode, x_T, ts, alpha_bar, shift, scale):
        x = start(x_T, shift, scale) if start else x_T
        for t, s in pairs(ts) if pairs else pairwise(ts):
            eps_hat = predict(x_T if see else x, look(t, s) if look else t)
            x0_hat = (x - (1 - alpha_bar[t]) ** 0.5 * eps_hat) / alpha_bar[t] ** 0.5
            if guess:
                x0_hat = guess(x0_hat)
            x = alpha_bar[s] ** 0.5 * x0_hat + (1 - alpha_bar[s]) ** 0.5 * eps_hat
        x = x_T if last else x
        return decode(end(x, shift, scale) if end else x * scale + shift)

    return generate


# noisy_latent


def noise_of_code(factor, alpha_bar_t):
    return (1 - alpha_bar_t) ** 0.5 / factor


def noise_of_mean(alpha_bar_t, factor):
    return torch.tensor((1 - alpha_bar_t) * factor**2).sqrt() / factor**2


def latent_by_loops(scale, shift, alpha_bar, eps, t, z, picture, encode):
    mean, std = encode(picture)
    out = []
    for i, step in enumerate(t.tolist()):
        x_0 = (mean[i] + std[i] * z[i] - shift) / scale
        out.append(alpha_bar[step] ** 0.5 * x_0 + (1 - alpha_bar[step]) ** 0.5 * eps[i])
    return torch.stack(out)


def latent(code=None, norm=None, mix=None, see=None, bar_of=None):
    """x_t of a latent with one thing in another way."""

    def noisy_latent(encode, picture, z, t, eps, alpha_bar, shift, scale):
        mean, std = encode(see(picture, alpha_bar[t].view(-1, 1, 1, 1)) if see else picture)
        x = code(mean, std, z) if code else mean + std * z
        x = norm(x, shift, scale) if norm else (x - shift) / scale
        bar = (alpha_bar[bar_of(t)] if bar_of else alpha_bar[t]).view(-1, 1, 1, 1)
        return mix(x, bar, eps, z) if mix else bar**0.5 * x + (1 - bar) ** 0.5 * eps

    return noisy_latent


def latent_normalised_late(encode, picture, z, t, eps, alpha_bar, shift, scale):
    return (latent(norm=lambda x, *_: x)(encode, picture, z, t, eps, alpha_bar, shift, scale) - shift) / scale


def pixels_noised(picture, bar):
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0), dtype=picture.dtype)
    return bar**0.5 * picture + (1 - bar) ** 0.5 * noise


def latent_encoded_twice(encode, picture, z, t, eps, alpha_bar, shift, scale):
    return latent_by_loops(scale, shift, alpha_bar, eps, t, z, picture, lambda x: (encode(x)[0], encode(x)[1]))


def latent_one_by_one(encode, picture, z, t, eps, alpha_bar, shift, scale):
    out = []
    for i, step in enumerate(t):
        one = [x[i : i + 1] for x in (picture, z, eps)]
        out.append(latent()(encode, one[0], one[1], step[None], one[2], alpha_bar, shift, scale))
    return torch.cat(out)


ANSWERS = {
    "two_parts": Answers(
        right=[parts_by_hand, parts_on_a_grid, parts_by_torch],
        wrong=[
            ("for the code's mean alone", parts(lambda d, s2, g, v: d - g**2 * s2 / (2 * v))),
            ("through the decoder's gain", parts(lambda d, s2, g, v: d + (1 - g**2) * s2 / (2 * v))),
            ("lacks the density's own factor", parts(lambda d, s2, g, v: d - (LOG_TAU + math.log(v)) / 2)),
            ("with the minus", parts(lambda d, s2, g, v: -d)),
            ("these are bits", lambda **case: [part / math.log(2) for part in parts_by_hand(**case)]),
            ("the signs are turned round", parts(rate=lambda r, m, s2: -r)),
            ("q(ℓ|x) does not occur in it", parts(rate=lambda r, m, s2: surprise(m, s2))),
            ("the prior p(ℓ) does not occur", parts(rate=lambda r, m, s2: log_q(s2))),
            ("you took it away", parts(rate=lambda r, m, s2: surprise(m, s2) - log_q(s2))),
            ("twice what it should be", parts(rate=lambda r, m, s2: 2 * r)),
            (
                "goes the other way round",
                parts(rate=lambda r, m, s2: kl_divergence(Normal(0.0, 1.0), Normal(m, s2**0.5))),
            ),
            ("log s² enters in full", parts(rate=lambda r, m, s2: r - math.log(s2) / 2)),
            ("the order is distortion", lambda **case: parts_by_hand(**case)[::-1]),
        ],
    ),
    "saving": Answers(
        right=[by_costs, by_adding],
        wrong=[
            ("the cost in latents over that in pixels", lambda **case: 1 / by_costs(**case)),
            ("you average the two savings", saved(lambda a, f: 1 / ((1 - a) * f**2 + a * f**4))),
            ("divides height and width", saved(lambda a, f: (1 - a) / f + a / f**2)),
            ("with another power", saved(lambda a, f: f**-2)),
            ("only attention goes with n²", saved(lambda a, f: f**-4)),
            ("you took it for that of the convolutions", saved(lambda a, f: a / f**2 + (1 - a) / f**4)),
            ("a picture is decoded once", saved(a_call, lambda call, steps, decoder: steps * (call + decoder))),
            ("that is the saving of a call", saved(a_call, lambda call, steps, decoder: steps * call)),
            ("you pay a single call", saved(a_call, lambda call, steps, decoder: call + decoder)),
        ],
    ),
    "block_flops": Answers(
        right=[counted, counted_in_floats],
        wrong=[
            ("you count the pixels", ratio(lambda h, w, f: h * w)),
            ("divides the height and the width", ratio(lambda h, w, f: h * w / f)),
            ("is no square", ratio(lambda h, w, f: (h / f) ** 2)),
            ("Both your costs", times(0.5, 0.5)),
            ("an addition goes with each of its", times(0.5)),
            ("its kernel has two sides", times(lambda kernel, **_: 1 / kernel)),
            ("reads every channel that enters", times(lambda channels, **_: 1 / channels)),
            ("the values have to be weighed", times(attention=0.5)),
            (
                "every place looks at every place",
                times(attention=lambda height, width, factor, **_: factor**2 / (height * width)),
            ),
            (
                "n² products do not",
                times(attention=lambda channels, height, width, factor, **_: channels * factor**2 / (height * width)),
            ),
            ("the order is convolution, attention", lambda **case: counted(**case)[::-1]),
        ],
    ),
    "normalise": Answers(
        right=[normal_by_flattening, normal_by_loops],
        wrong=[
            ("that of the means; draws vary more", scaled(lambda m, s, d: m.var(d, correction=0, keepdim=True) ** 0.5)),
            ("for one picture only", scaled(lambda m, s, d: (s**2).mean(d, keepdim=True) ** 0.5)),
            (
                "deviations do not add",
                scaled(lambda m, s, d: m.var(d, correction=0, keepdim=True) ** 0.5 + s.mean(d, keepdim=True)),
            ),
            (
                "square the deviations first",
                scaled(lambda m, s, d: (m.var(d, correction=0, keepdim=True) + s.mean(d, keepdim=True) ** 2) ** 0.5),
            ),
            (
                "(7.9) adds its square",
                scaled(lambda m, s, d: (m.var(d, correction=0, keepdim=True) + s.mean(d, keepdim=True)) ** 0.5),
            ),
            ("you divide by a variance", scaled(lambda m, s, d: total(m, s, d) ** 2)),
            (
                "take correction=0",
                scaled(lambda m, s, d: (m.var(d, keepdim=True) + (s**2).mean(d, keepdim=True)) ** 0.5),
            ),
            (
                "the distance to 0",
                scaled(lambda m, s, d: ((m**2).mean(d, keepdim=True) + (s**2).mean(d, keepdim=True)) ** 0.5),
            ),
            ("each picture has its own", scaled(total, (2, 3))),
            ("each place got its own scale", scaled(total, (0,))),
            ("one scale for all channels", scaled(total, (0, 1, 2, 3))),
            ("only the means were divided", used(lambda m, s, shift, scale: ((m - shift) / scale, s))),
            (
                "does not change how it varies",
                used(lambda m, s, shift, scale: ((m - shift) / scale, (s - shift) / scale)),
            ),
            ("it was divided, and not shifted", used(lambda m, s, shift, scale: (m / scale, s / scale))),
            ("shift first, then divide", used(lambda m, s, shift, scale: (m / scale - shift, s / scale))),
            ("function returns one Tensor", used(lambda m, s, shift, scale: (m - shift) / scale)),
        ],
    ),
    "generate": Answers(
        right=[by_ratios, sampled()],
        wrong=[
            ("latents of variance 1", sampled(end=lambda x, shift, scale: x)),
            ("normalised a second time", sampled(end=lambda x, shift, scale: (x - shift) / scale)),
            ("in the wrong order", sampled(end=lambda x, shift, scale: (x + shift) * scale)),
            ("the scale is undone, the shift is not", sampled(end=lambda x, shift, scale: x * scale)),
            ("the shift is undone, the scale is not", sampled(end=lambda x, shift, scale: x + shift)),
            ("that was decoded, pure noise", sampled(last=True)),
            (
                "the network never saw that",
                sampled(start=lambda x, shift, scale: x * scale + shift, end=lambda x, shift, scale: x),
            ),
            ("it has variance 1 already", sampled(start=lambda x, shift, scale: (x - shift) / scale)),
            ("latents have no such bound", sampled(guess=lambda x0: x0.clamp(-1, 1))),
            ("is not taken", sampled(pairs=lambda ts: list(pairwise(ts))[:-1])),
            ("not to the next time", sampled(pairs=lambda ts: [(t, t - 1) for t in ts if t > 0])),
            ("predict is told s", sampled(look=lambda t, s: s)),
            ("predict is shown x_T", sampled(see=True)),
        ],
    ),
    "noisy_latent": Answers(
        right=[(noise_of_code, latent_by_loops), (noise_of_mean, latent()), (noise_of_code, latent_one_by_one)],
        wrong=[
            ("the pixels' own deviation", (lambda alpha_bar_t, factor: (1 - alpha_bar_t) ** 0.5, latent())),
            ("is the variance; the deviation", (lambda alpha_bar_t, factor: (1 - alpha_bar_t) / factor**2, latent())),
            (
                "falls by the number of pixels",
                (lambda alpha_bar_t, factor: (1 - alpha_bar_t) ** 0.5 / factor**2, latent()),
            ),
            ("a block has more than", (lambda alpha_bar_t, factor: ((1 - alpha_bar_t) / factor) ** 0.5, latent())),
            ("its root is missing", (lambda alpha_bar_t, factor: (1 - alpha_bar_t) / factor, latent())),
            ("for the sum over a block", (lambda alpha_bar_t, factor: factor * (1 - alpha_bar_t) ** 0.5, latent())),
            ("it takes them without noise", (noise_of_code, latent(see=pixels_noised))),
            ("each is encoded once", (noise_of_code, latent_encoded_twice)),
            ("noised as it comes", (noise_of_code, latent(norm=lambda x, shift, scale: x))),
            ("divided by the scale along", (noise_of_code, latent_normalised_late)),
            ("draw it afresh", (noise_of_code, latent(code=lambda mean, std, z: mean))),
            ("and the code its own std", (noise_of_code, latent(code=lambda mean, std, z: mean + z))),
            ("you squared it", (noise_of_code, latent(code=lambda mean, std, z: mean + std**2 * z))),
            (
                "what undoes the normalisation",
                (noise_of_code, latent(norm=lambda x, shift, scale: x * scale + shift)),
            ),
            ("and not shifted", (noise_of_code, latent(norm=lambda x, shift, scale: x / scale))),
            (
                "multiplied by what should divide",
                (noise_of_code, latent(norm=lambda x, shift, scale: (x - shift) * scale)),
            ),
            (
                "used once more as the noise",
                (noise_of_code, latent(mix=lambda x, bar, eps, z: bar**0.5 * x + (1 - bar) ** 0.5 * z)),
            ),
            (
                "stand where their roots should",
                (noise_of_code, latent(mix=lambda x, bar, eps, z: bar * x + (1 - bar) * eps)),
            ),
            (
                "have changed places",
                (noise_of_code, latent(mix=lambda x, bar, eps, z: (1 - bar) ** 0.5 * x + bar**0.5 * eps)),
            ),
            (
                "the latent is not shrunk",
                (noise_of_code, latent(mix=lambda x, bar, eps, z: x + (1 - bar) ** 0.5 * eps)),
            ),
            ("all examples get the noise", (noise_of_code, latent(bar_of=lambda t: t[:1].expand_as(t)))),
        ],
    ),
}
