"""Answers to the exercises of notebook 09."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F

from answers import Answers

# alike


def alike_by_shares(alpha_bar, eta, t, v):
    power = alpha_bar[t] * v
    return (power / (power + 1 - alpha_bar[t])) ** (1 + eta)


def alike_by_covariances(v, t, eta, alpha_bar):
    """Cov(x_0', x_0'') / v, number by number."""
    bar, found = float(alpha_bar[t]), []
    for one in v.tolist():
        total = bar * one + (1 - bar)
        pull = math.sqrt(bar) * one / total if eta == 1 else math.sqrt(one / total)
        found.append(pull**2 * bar * one / one)
    return found


def alike_with(fresh=lambda R: R * R, still=lambda R: R, share=None, power=1):
    def alike(v, t, eta, alpha_bar):
        S, N = alpha_bar[t], 1 - alpha_bar[t]
        R = share(S, N, v**power) if share else S * v**power / (S * v**power + N)
        return fresh(R) if eta else still(R)

    return alike


# begin


def ratio(alpha_bar, ts, strength):
    t = ts[int(strength * (len(ts) - 1))]
    noise, signal = (1 - alpha_bar[t]) ** 0.5, alpha_bar[t] ** 0.5
    return strength * signal / ((1 - strength) * noise)


def ratio_by_powers(strength, ts, alpha_bar):
    bar = float(alpha_bar[ts[math.floor(strength * (len(ts) - 1))]])
    return math.sqrt((strength / (1 - strength)) ** 2 * bar / (1 - bar))


def ratio_with(of):
    def claimed_ratio(strength, ts, alpha_bar):
        i = int(strength * (len(ts) - 1))
        return of(strength, float(alpha_bar[ts[i]]), ts, alpha_bar)

    return claimed_ratio


def begin(alpha_bar, ts, strength, eps, x_0):
    steps = max(1, round(strength * (len(ts) - 1)))
    times = ts[-steps - 1 :]
    bar = alpha_bar[times[0]].to(x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps, times


def begin_by_dropping(x_0, eps, strength, ts, alpha_bar):
    """Times are dropped from the front until as many are left as there should be; a tensor of times."""
    left = list(ts)
    while len(left) > 2 and len(left) - 1 > round(strength * (len(ts) - 1)):
        left.pop(0)
    s = float(alpha_bar[left[0]]) ** 0.5
    return [s * x_0 + (1 - s * s) ** 0.5 * eps, torch.tensor(left)]


def begin_with(factors=None, start=None, level=None, times=None, count=None):
    def begin(x_0, eps, strength, ts, alpha_bar):
        N = len(ts) - 1
        n = count(strength, N) if count else max(1, round(strength * N))
        i = start(strength, N) if start else N - n
        t = level(ts, i, n, strength) if level else ts[i]
        S = float(alpha_bar[t])
        a, b = factors(S, strength) if factors else (S**0.5, (1 - S) ** 0.5)
        return a * x_0 + b * eps, times(ts, i) if times else ts[i:]

    return begin


# fill


def seam(rho):
    return 2 / (2 - 2 * rho)


def seam_by_covariance(rho):
    covariance, across = torch.tensor([[1, rho], [rho, 1]]), torch.tensor([1.0, -1.0])
    return across @ across / (across @ covariance @ across)


def fill(draw, alpha_bar, ts, free, x_0, x, step):
    for t, s in pairwise(ts):
        known = alpha_bar[s].sqrt() * x_0 + (1 - alpha_bar[s]).sqrt() * draw(s)
        x = step(x, t, s) * free + known.to(x) * ~free
    return x


def fill_and_hold_the_start(step, x, x_0, free, ts, alpha_bar, draw):
    def held(x, s):
        x = x.clone()
        where = (~free).expand_as(x)
        bar = float(alpha_bar[s])
        x[where] = (bar**0.5 * x_0 + (1 - bar) ** 0.5 * draw(s))[where]
        return x

    x = held(x, ts[0])
    for i in range(1, len(ts)):
        x = held(step(x, ts[i - 1], ts[i]), ts[i])
    return x


def fill_with(known=None, select=None, before=False):
    def fill(step, x, x_0, free, ts, alpha_bar, draw):
        def put(x, t, s):
            S = float(alpha_bar[s])
            new = known(x_0, S, t, s, ts, alpha_bar, draw) if known else S**0.5 * x_0 + (1 - S) ** 0.5 * draw(s)
            return select(free, x, new) if select else torch.where(free, x, new)

        for t, s in pairwise(ts):
            x = step(put(x, t, t), t, s) if before else step(x, t, s)
            if not before:
                x = put(x, t, s)
        return x

    return fill


def fill_once(step, x, x_0, free, ts, alpha_bar, draw):
    for t, s in pairwise(ts):
        x = step(x, t, s)
    return x_0 * ~free + x * free


def fill_all_noised(step, x, x_0, free, ts, alpha_bar, draw):
    for t, s in pairwise(ts):
        S = float(alpha_bar[s])
        x = S**0.5 * torch.where(free, step(x, t, s), x_0) + (1 - S) ** 0.5 * draw(s)
    return x


def noised_to_t(x_0, S, t, s, ts, alpha_bar, draw):
    T = float(alpha_bar[t])
    return T**0.5 * x_0 + (1 - T) ** 0.5 * draw(s)


# walk_again


def walk_again(draw, alpha_bar, free, jumps, t, s, x, down):
    r = (alpha_bar[t] / alpha_bar[s]).sqrt().to(x)
    x = down(x)
    for k in range(jumps):
        x = down(r * x + (1 - r**2).sqrt() * draw(k + 1))
    return x


def walk_again_by_noise_powers(down, x, s, t, jumps, free, alpha_bar, draw):
    """Recursively, with (9.10) as it stands."""
    if jumps == 0:
        return down(x)
    x_s = walk_again_by_noise_powers(down, x, s, t, jumps - 1, free, alpha_bar, draw)
    r = math.sqrt(alpha_bar[t]) / math.sqrt(alpha_bar[s])
    fresh = float(1 - alpha_bar[t]) - r**2 * float(1 - alpha_bar[s])
    return down(r * x_s + math.sqrt(fresh) * draw(jumps))


def walk_again_step_by_step(down, x, s, t, jumps, free, alpha_bar, draw):
    """The factors of z multiplied up over single steps."""
    signal, power = 1.0, 0.0
    for i in range(s + 1, t + 1):
        alpha = float(alpha_bar[i] / alpha_bar[i - 1])
        signal, power = signal * alpha**0.5, alpha * power + 1 - alpha
    for k in range(jumps + 1):
        x = down(x if k == 0 else signal * x + power**0.5 * draw(k))
    return x


def walk_with(a=None, b=None, spare=None, count=0, noise=lambda k: k, restart=False, first=True, end_up=False):
    def walk(down, x, s, t, jumps, free, alpha_bar, draw):
        low, high = float(alpha_bar[s]), float(alpha_bar[t])
        r = high / low
        p = a(r, low, high, alpha_bar, t) if a else r**0.5
        q = b(r, low, high, alpha_bar, t) if b else (1 - r) ** 0.5
        given = x
        if first:
            x = down(x)
        for k in range(1, jumps + count + 1):
            up = p * (given if restart else x) + q * draw(noise(k))
            x = down(spare(free, x, up) if spare else up)
        return p * x + q * draw(jumps + 1) if end_up else x

    return walk


def beta(alpha_bar, t):
    return float(1 - alpha_bar[t] / alpha_bar[t - 1])


# free_latents


def free_by_loops(margin, factor, mask):
    B, _, H, W = mask.shape
    out = torch.zeros(B, 1, H // factor, W // factor)
    for b, _, i, j in mask.nonzero().tolist():
        top, left = max(0, i // factor - margin), max(0, j // factor - margin)
        out[b, 0, top : i // factor + margin + 1, left : j // factor + margin + 1] = 1
    return out


def free_by_blocks(mask, factor, margin):
    blocks = mask.unflatten(3, (-1, factor)).unflatten(2, (-1, factor)).any(5).any(3)
    weights = torch.ones(1, 1, 2 * margin + 1, 2 * margin + 1)
    return F.conv2d(blocks.float(), weights, padding=margin) > 0.5


def free_with(pool=None, widen=None, after=None):
    def free(mask, factor, margin):
        small = pool(mask, factor, margin) if pool else F.max_pool2d(mask.float(), factor) > 0
        wide = widen(small, margin) if widen else F.max_pool2d(small.float(), 2 * margin + 1, 1, margin) > 0
        return after(wide) if after else wide

    return free


def thickened(mask, factor, margin):
    wide = F.max_pool2d(mask.float(), 2 * margin + 1, stride=1, padding=margin)
    return F.max_pool2d(wide, factor) > 0


def to_four_sides(small, margin):
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    for _ in range(margin):
        small = F.conv2d(small.float(), cross, padding=1) > 0
    return small


def around_the_edge(small, margin):
    out = small.clone()
    for i in range(-margin, margin + 1):
        for j in range(-margin, margin + 1):
            out |= small.roll((i, j), (2, 3))
    return out


def down_and_right(small, margin):
    out = small.clone()
    for b, _, i, j in small.nonzero().tolist():
        out[b, 0, i : i + margin + 1, j : j + margin + 1] = True
    return out


def narrow(small, margin):
    window = margin // 2 * 2 + 1
    return F.max_pool2d(small.float(), window, stride=1, padding=window // 2) > 0


# comes_back


def comes_back_by_logs(sigma, w_down, w_up, v):
    told, untold = math.log1p(sigma**2 / v), math.log1p(sigma**2)
    return math.exp((w_up - w_down) * (told - untold) / 2)


def comes_back_by_steps(v, w_up, w_down, sigma):
    """A very fine sum of the exponent, by the midpoint rule."""
    n = 4000
    at = (torch.arange(n, dtype=torch.float64) + 0.5) * sigma / n
    return torch.exp(((w_up - w_down) * (at / (v + at**2) - at / (1 + at**2))).sum() * sigma / n)


def back(of):
    return lambda v, w_up, w_down, sigma: of(v, w_up, w_down, sigma**2)


ANSWERS = {
    "alike": Answers(
        right=[alike_by_shares, alike_by_covariances, alike_with()],
        wrong=[
            ("how much one edit is like the picture", alike_with(lambda R: R, lambda R: R**0.5)),
            ("you let η make no difference", alike_with(fresh=lambda R: R)),
            ("loses nothing on the way down", alike_with(still=lambda R: R * R)),
            ("the two values of η have changed places", alike_with(lambda R: R, lambda R: R * R)),
            ("all frequencies would survive alike", alike_with(share=lambda S, N, v: S + 0 * v)),
            ("the share of the noise", alike_with(share=lambda S, N, v: N / (S * v + N))),
            ("a share of deviations", alike_with(share=lambda S, N, v: (S * v) ** 0.5 / ((S * v) ** 0.5 + N**0.5))),
            ("are not squared", alike_with(share=lambda S, N, v: S**0.5 * v / (S**0.5 * v + N**0.5))),
            ("as if it were a deviation", alike_with(power=2)),
            ("the ratio of signal to noise", alike_with(share=lambda S, N, v: S / N * v)),
        ],
    ),
    "begin": Answers(
        right=[
            (ratio, begin),
            (ratio_by_powers, begin_by_dropping),
            (ratio, begin_with()),
            (ratio, begin_with(count=lambda strength, N: max(1, int(strength * N + 0.5)))),
        ],
        wrong=[
            (
                "the σ that is expected over the one",
                (lambda strength, ts, alpha_bar: 1 / ratio(alpha_bar, ts, strength), begin),
            ),
            ("the σ of the claim's start", (lambda strength, ts, alpha_bar: strength / (1 - strength), begin)),
            ("the σ that the sampler expects", (ratio_with(lambda w, bar, *_: (1 / bar - 1) ** 0.5), begin)),
            (
                "a ratio of variances",
                (lambda strength, ts, alpha_bar: ratio(alpha_bar, ts, strength) ** 2, begin),
            ),
            ("which is its square", (ratio_with(lambda w, bar, *_: w / (1 - w) * bar / (1 - bar)), begin)),
            (
                "a mended list begins",
                (
                    ratio_with(
                        lambda w, bar, ts, table: (
                            w / (1 - w) / (1 / float(table[ts[-1 - max(1, round(w * (len(ts) - 1)))]]) - 1) ** 0.5
                        )
                    ),
                    begin,
                ),
            ),
            ("a ratio of the noise alone", (ratio_with(lambda w, bar, *_: w / (1 - bar) ** 0.5), begin)),
            (
                "it is the claim still",
                (ratio, begin_with(factors=lambda S, w: (1 - w, w), start=lambda w, N: int(w * N))),
            ),
            ("counted from the noisy end", (ratio, begin_with(start=lambda w, N: int(w * N)))),
            ("the mix is the claim's", (ratio, begin_with(factors=lambda S, w: (1 - w, w)))),
            ("they are powers", (ratio, begin_with(factors=lambda S, w: (S, 1 - S)))),
            ("with too little noise", (ratio, begin_with(times=lambda ts, i: ts))),
            ("all the way", (ratio, begin_with(level=lambda ts, i, n, w: ts[0]))),
            ("x is the picture itself", (ratio, begin_with(factors=lambda S, w: (1, 0)))),
            ("no noise has come", (ratio, begin_with(factors=lambda S, w: (S**0.5, 0)))),
            ("did not make room for it", (ratio, begin_with(factors=lambda S, w: (1, (1 - S) ** 0.5)))),
            ("the two have changed places", (ratio, begin_with(factors=lambda S, w: ((1 - S) ** 0.5, S**0.5)))),
            ("the walk's second time", (ratio, begin_with(level=lambda ts, i, n, w: ts[i + 1]))),
            ("its first step is missing", (ratio, begin_with(times=lambda ts, i: ts[i + 1 :]))),
            ("read at a number of steps", (ratio, begin_with(level=lambda ts, i, n, w: n))),
            ("need not be in the list", (ratio, begin_with(level=lambda ts, i, n, w: round(w * ts[0])))),
            ("was cut, not rounded", (ratio, begin_with(count=lambda w, N: max(1, int(w * N))))),
            ("at least one step", (ratio, begin_with(count=lambda w, N: round(w * N)))),
        ],
    ),
    "fill": Answers(
        right=[(seam, fill), (seam_by_covariance, fill_and_hold_the_start), (seam, fill_with())],
        wrong=[
            ("the data's step over the claim's", (lambda rho: 1 - rho, fill)),
            ("uncertain in one number", (lambda rho: 1 / (1 - rho * rho), fill)),
            ("a ratio of root mean squares", (lambda rho: (1 - rho) ** -0.5, fill)),
            ("were counted twice", (lambda rho: 2 / (1 - rho), fill)),
            ("the sum of two neighbours", (lambda rho: 1 / (1 + rho), fill)),
            ("the claim would leave no seam", (lambda rho: 1, fill)),
            ("the sampler never saw it", (seam, fill_once)),
            ("so the hole is not filled", (seam, fill_with(select=lambda free, x, new: new))),
            (
                "it was drawn, and the hole was held",
                (seam, fill_with(select=lambda free, x, new: torch.where(~free, x, new))),
            ),
            ("clean values stand there", (seam, fill_with(known=lambda x_0, *_: x_0))),
            (
                "one z serves all",
                (
                    seam,
                    fill_with(known=lambda x_0, S, t, s, ts, bar, draw: S**0.5 * x_0 + (1 - S) ** 0.5 * draw(ts[0])),
                ),
            ),
            (
                "the noise of the last time",
                (
                    seam,
                    fill_with(known=lambda x_0, S, t, s, ts, bar, draw: S**0.5 * x_0 + (1 - S) ** 0.5 * draw(ts[-1])),
                ),
            ),
            ("you noised it to t", (seam, fill_with(known=noised_to_t))),
            ("it was left as drawn", (seam, fill_with(before=True))),
            ("noised along with the known part", (seam, fill_all_noised)),
            (
                "1 − ᾱ_s are powers",
                (seam, fill_with(known=lambda x_0, S, t, s, ts, bar, draw: S * x_0 + (1 - S) * draw(s))),
            ),
            ("got none of its noise", (seam, fill_with(known=lambda x_0, S, *_: S**0.5 * x_0))),
            (
                "which did not shrink for its noise",
                (seam, fill_with(known=lambda x_0, S, t, s, ts, bar, draw: x_0 + (1 - S) ** 0.5 * draw(s))),
            ),
        ],
    ),
    "walk_again": Answers(
        right=[walk_again, walk_again_by_noise_powers, walk_again_step_by_step, walk_with()],
        wrong=[
            (
                "as if it were clean",
                walk_with(a=lambda r, low, high, *_: high**0.5, b=lambda r, low, high, *_: (1 - high) ** 0.5),
            ),
            ("holds already is forgotten", walk_with(b=lambda r, low, high, *_: (1 - high) ** 0.5)),
            ("the difference of the two levels", walk_with(b=lambda r, low, high, *_: (low - high) ** 0.5)),
            ("is a ratio of powers", walk_with(a=lambda r, *_: r)),
            ("a variance for its factor", walk_with(b=lambda r, *_: 1 - r)),
            (
                "you go up one step",
                walk_with(
                    a=lambda r, low, high, bar, t: (1 - beta(bar, t)) ** 0.5,
                    b=lambda r, low, high, bar, t: beta(bar, t) ** 0.5,
                ),
            ),
            ("without fresh noise", walk_with(b=lambda *_: 0)),
            ("nothing made room for it", walk_with(a=lambda *_: 1)),
            ("upside down", walk_with(a=lambda r, *_: r**-0.5)),
            ("only the hole went up", walk_with(spare=lambda free, x, up: torch.where(free, up, x))),
            ("what is known went up", walk_with(spare=lambda free, x, up: torch.where(~free, up, x))),
            ("the hole forgets", walk_with(restart=True)),
            ("all of them use one noise", walk_with(noise=lambda k: 1)),
            ("numbered from 1", walk_with(noise=lambda k: k - 1)),
            ("you make one fewer", walk_with(count=-1)),
            ("you make one more", walk_with(count=1)),
            ("you jump before the first walk", walk_with(first=False)),
            ("the last thing you do is a jump", walk_with(end_up=True)),
        ],
    ),
    "free_latents": Answers(
        right=[free_by_loops, free_by_blocks, free_with()],
        wrong=[
            ("less than half", free_with(pool=lambda mask, f, m: F.avg_pool2d(mask.float(), f) > 0.5)),
            ("only the first pixel", free_with(pool=lambda mask, f, m: mask[:, :, ::f, ::f])),
            ("only the middle pixel", free_with(pool=lambda mask, f, m: mask[:, :, f // 2 :: f, f // 2 :: f])),
            ("only whole squares", free_with(pool=lambda mask, f, m: ~(F.max_pool2d((~mask).float(), f) > 0))),
            (
                "come from far apart",
                free_with(
                    pool=lambda mask, f, m: (
                        mask.reshape(len(mask), 1, f, mask.shape[2] // f, f, mask.shape[3] // f).any(4).any(2)
                    )
                ),
            ),
            (
                "those without a pixel of the hole",
                free_with(pool=lambda mask, f, m: F.max_pool2d(mask.float(), f) == 0),
            ),
            ("has not been used", free_with(widen=lambda small, margin: small)),
            ("A margin counts latents", free_with(pool=thickened, widen=lambda small, margin: small)),
            ("the corners touch as well", free_with(widen=to_four_sides)),
            ("comes in on the other side", free_with(widen=around_the_edge)),
            ("to one side of the hole only", free_with(widen=down_and_right)),
            ("Count its cells on both sides", free_with(widen=narrow)),
            ("of all 2 pictures were joined", free_with(after=lambda wide: wide.any(0, keepdim=True) | (wide & False))),
        ],
    ),
    "comes_back": Answers(
        right=[comes_back_by_logs, comes_back_by_steps],
        wrong=[
            ("as if short steps brought everything back", lambda **case: 1),
            ("the ways have changed places", lambda v, w_up, w_down, sigma: comes_back_by_logs(sigma, w_up, w_down, v)),
            ("the factor of the variance", back(lambda v, a, b, p: ((1 + p / v) / (1 + p)) ** (a - b))),
            ("the part of ε̂(∅) is missing", back(lambda v, a, b, p: (1 + p / v) ** ((a - b) / 2))),
            ("what σ → ∞ gives", back(lambda v, a, b, p: v ** ((b - a) / 2))),
            ("at its lower end", back(lambda v, a, b, p: ((v + p) / (1 + p)) ** ((a - b) / 2))),
            ("as if it were a deviation", back(lambda v, a, b, p: ((1 + p / v**2) / (1 + p)) ** ((a - b) / 2))),
            (
                "adds its variance",
                lambda v, w_up, w_down, sigma: ((1 + sigma / v) / (1 + sigma)) ** ((w_up - w_down) / 2),
            ),
            ("the first order", back(lambda v, a, b, p: 1 + (a - b) / 2 * math.log((1 + p / v) / (1 + p)))),
            ("a logarithm; the factor", back(lambda v, a, b, p: (a - b) / 2 * math.log((1 + p / v) / (1 + p)))),
            ("of the way down is not in it", back(lambda v, a, b, p: ((1 + p / v) / (1 + p)) ** (a / 2))),
            ("of the way up is not in it", back(lambda v, a, b, p: ((1 + p / v) / (1 + p)) ** (-b / 2))),
            ("weights are multiplied", back(lambda v, a, b, p: ((1 + p / v) / (1 + p)) ** (-a * b / 2))),
            ("weights are divided", back(lambda v, a, b, p: ((1 + p / v) / (1 + p)) ** (a / b / 2))),
        ],
    ),
}
