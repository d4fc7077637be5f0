"""Answers to the exercises of notebook 01."""

import math

import numpy as np
import torch

from answers import Answers


def bars(beta):
    return torch.cumprod(1 - beta, 0)


def column(values, x):
    return values.reshape([len(values)] + [1] * (x.dim() - 1))


# jump


def jump_by_loops(beta, eps, t, x_0):
    out = torch.empty_like(x_0)
    for i, step in enumerate(t.tolist()):
        bar = 1.0
        for s in range(1, step + 1):
            bar *= 1 - beta[s].item()
        out[i] = bar**0.5 * x_0[i] + (1 - bar) ** 0.5 * eps[i]
    return out


def jump_in_float32(x_0, t, eps, beta):
    bar = column(bars(beta.float())[t], x_0)
    return torch.sqrt(bar) * x_0.float() + torch.sqrt(1 - bar) * eps.float()


def jump_by_logs(x_0, t, eps, beta):
    bar = column(torch.exp(torch.log1p(-beta).cumsum(0))[t], x_0)
    return x_0 * bar**0.5 + eps * (1 - bar) ** 0.5


def jump_stacked(x_0, t, eps, beta):
    bar = bars(beta)[t]
    return torch.stack([b.sqrt() * x + (1 - b).sqrt() * e for b, x, e in zip(bar, x_0, eps, strict=True)])


def jump_no_roots(x_0, t, eps, beta):
    bar = column(bars(beta)[t], x_0)
    return bar * x_0 + (1 - bar) * eps


def jump_root_on_signal(x_0, t, eps, beta):
    bar = column(bars(beta)[t], x_0)
    return bar.sqrt() * x_0 + (1 - bar) * eps


def jump_root_on_noise(x_0, t, eps, beta):
    bar = column(bars(beta)[t], x_0)
    return bar * x_0 + (1 - bar).sqrt() * eps


def jump_deviations_add(x_0, t, eps, beta):
    signal = column(bars(beta)[t].sqrt(), x_0)
    return signal * x_0 + (1 - signal) * eps


def jump_single_step(x_0, t, eps, beta):
    b = column(beta[t], x_0)
    return (1 - b).sqrt() * x_0 + b.sqrt() * eps


def jump_of_betas(x_0, t, eps, beta):
    bar = column(beta.cumprod(0)[t], x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def jump_swapped(x_0, t, eps, beta):
    bar = column(bars(beta)[t], x_0)
    return (1 - bar).sqrt() * x_0 + bar.sqrt() * eps


def jump_one_early(x_0, t, eps, beta):
    bar = column(bars(beta)[(t - 1).clamp(min=0)], x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def jump_table_without_zero(x_0, t, eps, beta):
    bar = bars(beta[1:])  # as libraries that count from 0
    bar = column(bar[t.clamp(max=len(bar) - 1)], x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def jump_first_t(x_0, t, eps, beta):
    bar = bars(beta)[t[0]]
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def jump_last_axis(x_0, t, eps, beta):
    bar = bars(beta)[t]
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def jump_in_place(x_0, t, eps, beta):
    bar = column(bars(beta)[t], x_0).to(x_0.dtype)
    x_0.mul_(bar.sqrt()).add_((1 - bar).sqrt() * eps)
    return x_0


def jump_forgotten_return(x_0, t, eps, beta):
    jump_by_logs(x_0, t, eps, beta)


# even_snr


def even_by_division(last, first, T):
    out = [1.0]
    for i in range(T):
        snr = math.exp(first + (last - first) * (i / (T - 1) if T > 1 else 0.0))
        out.append(snr / (1 + snr))
    return torch.tensor(out)


def even_in_numpy(T, first, last):
    return np.concatenate([[1.0], 1 / (1 + np.exp(-np.linspace(first, last, T)))])


def with_one(bar):
    return torch.cat([torch.ones(1), bar])


def line(T, first, last):
    return torch.linspace(first, last, T)


# end_gap


def kl(mean, variance):
    return 0.5 * (variance + mean**2 - 1 - math.log(variance))


def end_by_torch(variance, mean, alpha_bar_T):
    q = torch.distributions.Normal(
        torch.tensor(mean * alpha_bar_T**0.5), torch.tensor(alpha_bar_T * variance + 1 - alpha_bar_T).sqrt()
    )
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))


def end_in_pieces(alpha_bar_T, mean, variance):
    gained = alpha_bar_T * (variance - 1)
    return (gained - math.log1p(gained)) / 2 + alpha_bar_T * mean * mean / 2


# mended_step


def claimed(variance_0, level, t):
    for _ in range(t):
        variance_0 = variance_0 + level
    return variance_0


def mended(x, level, z):
    return (1 - level) ** 0.5 * x + level**0.5 * z


# respaced


def end(beta, times):
    out = 1.0
    for t in times:
        out *= 1 - beta[t].item()
    return out


def respaced_by_loops(times, beta):
    out, s = [], 0
    for t in times:
        out.append(1 - torch.prod(1 - beta[s + 1 : t + 1]).item())
        s = t
    return out


def respaced_by_logs(beta, times):
    total = torch.log1p(-beta).cumsum(0)
    total = torch.stack([total[0], *(total[t] for t in times)])
    return -torch.expm1(total.diff())


def kept(beta, times):
    return torch.cat([torch.ones(1), bars(beta)[times]])


def respaced_spoiling(beta, times):
    answer = respaced_by_logs(beta, times)
    while times:
        times.pop()
    return answer


ANSWERS = {
    "jump": Answers(
        right=[jump_by_loops, jump_in_float32, jump_by_logs, jump_stacked],
        wrong=[
            ("are the square roots missing", jump_no_roots),
            ("is a root missing on the noise", jump_root_on_signal),
            ("is a root missing on the signal", jump_root_on_noise),
            ("it is their squares that must", jump_deviations_add),
            ("factors of one single step", jump_single_step),
            ("you multiplied the β's", jump_of_betas),
            ("signal and noise have changed places", jump_swapped),
            ("the table's entry of t − 1", jump_one_early),
            ("an entry one too late", jump_table_without_zero),
            ("each has its own t", jump_first_t),
            ("lined up with the last axis", jump_last_axis),
            ("changes its argument x_0 in place", jump_in_place),
            ("returns None", jump_forgotten_return),
        ],
    ),
    "even_snr": Answers(
        right=[even_by_division, even_in_numpy, lambda T, first, last: with_one(torch.sigmoid(line(T, first, last)))],
        wrong=[
            ("this is the SNR itself", lambda T, first, last: with_one(line(T, first, last).exp())),
            ("this is 1 − ᾱ, the noise", lambda T, first, last: with_one(1 / (1 + line(T, first, last).exp()))),
            ("SNR is a ratio of powers", lambda T, first, last: with_one(torch.sigmoid(2 * line(T, first, last)))),
            ("signal over noise in place of", lambda T, first, last: with_one(torch.sigmoid(line(T, first, last) / 2))),
            ("is √ᾱ_T", lambda T, first, last: with_one(torch.sigmoid(line(T, first, last)).sqrt())),
            ("a power of 10", lambda T, first, last: with_one(1 / (1 + 10 ** (-line(T, first, last))))),
            ("clean data have ᾱ_0 = 1", lambda T, first, last: torch.sigmoid(line(T + 1, first, last))),
            ("entries for T =", lambda T, first, last: torch.sigmoid(line(T, first, last))),
            ("Your SNR rises", lambda T, first, last: with_one(torch.sigmoid(line(T, last, first)))),
        ],
    ),
    "end_gap": Answers(
        right=[end_by_torch, end_in_pieces],
        wrong=[
            (
                "That is for one fixed x_0",
                lambda alpha_bar_T, mean, variance: kl(alpha_bar_T**0.5 * mean, 1 - alpha_bar_T),
            ),
            (
                "does not depend on the data's mean",
                lambda alpha_bar_T, mean, variance: kl(0, alpha_bar_T * variance + 1 - alpha_bar_T),
            ),
            (
                "x_T has less of it left",
                lambda alpha_bar_T, mean, variance: kl(mean, alpha_bar_T * variance + 1 - alpha_bar_T),
            ),
            (
                "you take ᾱ_T for √ᾱ_T",
                lambda alpha_bar_T, mean, variance: kl(
                    alpha_bar_T * mean, alpha_bar_T**2 * variance + (1 - alpha_bar_T) ** 2
                ),
            ),
            (
                "the right number in bits",
                lambda alpha_bar_T, mean, variance: end_in_pieces(alpha_bar_T, mean, variance) / math.log(2),
            ),
            (
                "the other way round",
                lambda alpha_bar_T, mean, variance: torch.distributions.kl_divergence(
                    torch.distributions.Normal(0.0, 1.0),
                    torch.distributions.Normal(
                        mean * alpha_bar_T**0.5, (alpha_bar_T * variance + 1 - alpha_bar_T) ** 0.5
                    ),
                ),
            ),
            (
                "twice the divergence",
                lambda alpha_bar_T, mean, variance: 2 * end_in_pieces(alpha_bar_T, mean, variance),
            ),
            (
                "the deviation of x_T where its variance",
                lambda alpha_bar_T, mean, variance: kl(
                    alpha_bar_T**0.5 * mean, (alpha_bar_T * variance + 1 - alpha_bar_T) ** 0.5
                ),
            ),
        ],
    ),
    "to_exploding": Answers(
        right=[
            lambda alpha_bar_t, x_t: (x_t * alpha_bar_t**-0.5, (1 / alpha_bar_t - 1) ** 0.5),
            lambda x_t, alpha_bar_t: [x_t / np.sqrt(alpha_bar_t), torch.tensor((1 - alpha_bar_t) / alpha_bar_t).sqrt()],
        ],
        wrong=[
            ("which does it get", lambda x_t, alpha_bar_t: (x_t / alpha_bar_t, (1 / alpha_bar_t - 1) ** 0.5)),
            ("shrinks it once more", lambda x_t, alpha_bar_t: (x_t * alpha_bar_t**0.5, (1 / alpha_bar_t - 1) ** 0.5)),
            ("x_t is as it was", lambda x_t, alpha_bar_t: (x_t, (1 / alpha_bar_t - 1) ** 0.5)),
            (
                "factor before the rescaling",
                lambda x_t, alpha_bar_t: (x_t / alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5),
            ),
            ("is a variance, 1/SNR", lambda x_t, alpha_bar_t: (x_t / alpha_bar_t**0.5, 1 / alpha_bar_t - 1)),
            (
                "upside down",
                lambda x_t, alpha_bar_t: (
                    x_t / alpha_bar_t**0.5,
                    (alpha_bar_t / max(1 - alpha_bar_t, 1e-300)) ** 0.5,
                ),
            ),
            ("function returns one Tensor", lambda x_t, alpha_bar_t: x_t / alpha_bar_t**0.5),
        ],
    ),
    "mended_step": Answers(
        right=[
            (claimed, mended),
            (
                lambda t, level, variance_0: variance_0 + t * level,
                lambda z, x, level: torch.lerp(x * 0, z, level**0.5) + x * math.sqrt(1 - level),
            ),
        ],
        wrong=[
            ("the noise's part alone", (lambda variance_0, level, t: t * level, mended)),
            ("you added deviations", (lambda variance_0, level, t: variance_0 + t * level**0.5, mended)),
            ("has the variance level, not level²", (lambda variance_0, level, t: variance_0 + t * level**2, mended)),
            ("is the deviation after", (lambda variance_0, level, t: (variance_0 + t * level) ** 0.5, mended)),
            (
                "does not shrink",
                (lambda variance_0, level, t: 1 + (variance_0 - 1) * (1 - level) ** t, mended),
            ),
            ("that is one step only", (lambda variance_0, level, t: variance_0 + level, mended)),
            ("still the claim's step", (claimed, lambda x, level, z: x + level**0.5 * z)),
            ("it shrinks too much", (claimed, lambda x, level, z: (1 - level) * x + level**0.5 * z)),
            ("the noise has lost its root", (claimed, lambda x, level, z: (1 - level) ** 0.5 * x + level * z)),
            ("is shrunk along", (claimed, lambda x, level, z: (1 - level) ** 0.5 * (x + level**0.5 * z))),
            ("not the step (1.3)", (claimed, lambda x, level, z: (x + level**0.5 * z) / (1 + level) ** 0.5)),
        ],
    ),
    "respaced": Answers(
        right=[(end, respaced_by_loops), (end, respaced_by_logs)],
        wrong=[
            ("the claim walks", (lambda beta, times: bars(beta)[-1], respaced_by_loops)),
            ("the share of noise at the claim's end", (lambda beta, times: 1 - end(beta, times), respaced_by_loops)),
            ("ᾱ itself is asked", (lambda beta, times: end(beta, times) ** 0.5, respaced_by_loops)),
            ("the product of the β's", (lambda beta, times: beta[times].prod(), respaced_by_loops)),
            ("by subtracting a sum", (lambda beta, times: 1 - beta[times].sum(), respaced_by_loops)),
            ("still the claim's β's", (end, lambda beta, times: beta[times])),
            ("the number of skipped steps", (end, lambda beta, times: beta[times] * ((len(beta) - 1) / len(times)))),
            (
                "sums of β",
                (
                    end,
                    lambda beta, times: [beta[s + 1 : t + 1].sum() for s, t in zip([0, *times], times, strict=False)],
                ),
            ),
            ("is the noise of the jump from x_0", (end, lambda beta, times: 1 - bars(beta)[times])),
            ("these are the new α's", (end, lambda beta, times: kept(beta, times)[1:] / kept(beta, times)[:-1])),
            ("is α already", (end, lambda beta, times: 1 - (kept(beta, times)[1:] / kept(beta, times)[:-1]).sqrt())),
            ("the first one leaves t = 0", (end, lambda beta, times: respaced_by_logs(beta, times)[1:])),
            (
                "the last time that is kept",
                (end, lambda beta, times: respaced_by_logs(beta, [*times[:-1], len(beta) - 1])),
            ),
            ("changes its argument times, a list", (end, respaced_spoiling)),
        ],
    ),
}
