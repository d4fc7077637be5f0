"""Answers to the exercises of notebook 04."""

import math

import torch
from torch.nn import functional as F

from answers import Answers

# time_embedding


def embed_by_loops(base, t, d):
    out = torch.zeros(len(t), d)
    for b, time in enumerate(t.tolist()):
        for i in range(d // 2):
            angle = time / base ** (2 * i / d)
            out[b, i], out[b, d // 2 + i] = math.cos(angle), math.sin(angle)
    return out


def embed_by_logs(t, d, base):
    omega = torch.exp(torch.linspace(0, math.log(base), d // 2 + 1, dtype=torch.float64)[:-1].neg())
    angle = torch.outer(t.double(), omega)
    return torch.hstack([torch.sin(angle + math.pi / 2), angle.sin()])


def hands(exponent, unit=1.0):
    """Cosines and sines of hands whose speeds are powers of the base."""

    def embed(t, d, base):
        angle = unit * torch.outer(t.double(), base ** exponent(torch.arange(d // 2).double(), d))
        return torch.cat([angle.cos(), angle.sin()], 1)

    return embed


def halves(t, d, base):
    angle = torch.outer(t.double(), base ** (-2 * torch.arange(d // 2) / d))
    return angle.cos(), angle.sin()


# timed_norm


def spread(values):
    return values.view(*values.shape, 1, 1)


def norm_in_torch(x, groups, gamma, shift, delta):
    return torch.addcmul(spread(shift), spread(gamma), F.group_norm(x, groups, eps=delta))


def norm_by_loops(delta, x, shift, gamma, groups):
    out, size = torch.empty_like(x), x.shape[1] // groups
    for b in range(len(x)):
        for first in range(0, x.shape[1], size):
            part = x[b, first : first + size]
            mean = part.sum() / part.numel()
            variance = (part**2).sum() / part.numel() - mean**2
            for c in range(first, first + size):
                out[b, c] = gamma[b, c] * (x[b, c] - mean) / torch.sqrt(variance + delta) + shift[b, c]
    return out


def norm_flat(x, groups, gamma, shift, delta):
    flat = x.reshape(len(x) * groups, -1)
    flat = (flat - flat.mean(1, keepdim=True)) * (flat.var(1, correction=0, keepdim=True) + delta).rsqrt()
    return flat.reshape(x.shape) * spread(gamma) + spread(shift)


def norm_batch(x, groups, gamma, shift, delta):
    flat = x.transpose(0, 1).reshape(groups, -1)
    mean, variance = flat.mean(1), flat.var(1, correction=0)
    mean, variance = (spread(v.repeat_interleave(x.shape[1] // groups)[None]) for v in (mean, variance))
    return spread(gamma) * (x - mean) / (variance + delta).sqrt() + spread(shift)


def norm_of(groups_of, x, groups, gamma, shift, delta):
    return spread(gamma) * F.group_norm(x, groups_of(groups, x.shape[1]), eps=delta) + spread(shift)


def norm_every_other(x, groups, gamma, shift, delta):
    order = torch.arange(x.shape[1]).reshape(-1, groups).T.flatten()
    y = torch.empty_like(x)
    y[:, order] = F.group_norm(x[:, order], groups, eps=delta)
    return spread(gamma) * y + spread(shift)


def norm_root(divide, correction=0):
    def norm(x, groups, gamma, shift, delta):
        flat = x.reshape(len(x), groups, -1)
        variance = flat.var(2, correction=correction, keepdim=True)
        return spread(gamma) * ((flat - flat.mean(2, keepdim=True)) / divide(variance, delta)).reshape(
            x.shape
        ) + spread(shift)

    return norm


def norm_used(use):
    return lambda x, groups, gamma, shift, delta: use(F.group_norm(x, groups, eps=delta), gamma, shift)


# attention


def attend_in_torch(q, k, v, heads):
    q, k, v = (torch.stack(x.chunk(heads, 2), 1) for x in (q, k, v))
    return torch.cat(F.scaled_dot_product_attention(q, k, v).unbind(1), 2)


def attend_by_heads(heads, v, k, q):
    out, d = [], q.shape[2] // heads
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        scores = torch.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / math.sqrt(d)
        shares = scores.exp() / scores.exp().sum(2, keepdim=True)
        out.append(torch.bmm(shares, v[..., part]))
    return torch.cat(out, 2)


def parts(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, -1).permute(0, 2, 1, 3)


def whole(x):
    return x.permute(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def attend_scaled(factor):
    def attend(q, k, v, heads):
        scores = parts(q, heads) @ parts(k, heads).mT * factor(q.shape[2] // heads, q.shape[2], k.shape[1])
        return whole(scores.softmax(3) @ parts(v, heads))

    return attend


def attend_over(axis):
    def attend(q, k, v, heads):
        scores = parts(q, heads) @ parts(k, heads).mT / math.sqrt(q.shape[2] // heads)
        return whole(scores.softmax(axis) @ parts(v, heads))

    return attend


def attend_flipped(q, k, v, heads):
    scores = parts(q, heads) @ parts(k, heads).mT / math.sqrt(q.shape[2] // heads)
    return whole(scores.softmax(3).mT @ parts(v, heads))


def attend_one_head(q, k, v, heads):
    return F.scaled_dot_product_attention(q, k, v)


def attend_reshaped(q, k, v, heads):
    q, k, v = (x.view(x.shape[0], heads, x.shape[1], -1) for x in (q, k, v))
    return whole(F.scaled_dot_product_attention(q, k, v))


def attend_reshaped_twice(q, k, v, heads):
    q, k, v = (x.view(x.shape[0], heads, x.shape[1], -1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).reshape(q.shape[0], q.shape[2], -1)


def attend_back_reshaped(q, k, v, heads):
    out = F.scaled_dot_product_attention(*(parts(x, heads) for x in (q, k, v)))
    return out.contiguous().view(q.shape)


def attend_strided(q, k, v, heads):
    q, k, v = (x.view(x.shape[0], x.shape[1], -1, heads).permute(0, 3, 1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).permute(0, 2, 3, 1).flatten(2)


# mean_age


def age_by_loop(steps, decay):
    weight = total = age = 0.0
    for k in range(steps):
        weight = (1 - decay) * decay**k
        total, age = total + weight, age + k * weight
    return age / total


def age_by_torch(decay, steps):
    k = torch.arange(steps, dtype=torch.float64)
    return (torch.softmax(k * math.log(decay), 0) * k).sum()


# clipped_step


def numbers(beta, t):
    bar = torch.cumprod(1 - beta, 0)
    return (1 - beta[t]).item(), beta[t].item(), bar[t].item(), bar[t - 1].item()


def believed(x_t, eps_hat, bar):
    return (x_t - math.sqrt(1 - bar) * eps_hat) / math.sqrt(bar)


def step_by_ddim(x_t, t, eps_hat, beta, z):
    _, b, bar, before = numbers(beta, t)
    guess = torch.clamp(believed(x_t, eps_hat, bar), min=-1, max=1)
    eps_hat = (x_t - math.sqrt(bar) * guess) / math.sqrt(1 - bar)
    fresh = b * (1 - before) / (1 - bar)
    return math.sqrt(before) * guess + math.sqrt(max(0, 1 - before - fresh)) * eps_hat + math.sqrt(fresh) * z


def step_by_precision(z, beta, eps_hat, t, x_t):
    a, b, bar, before = numbers(beta, t)
    guess = believed(x_t, eps_hat, bar)
    guess = torch.where(guess.abs() > 1, guess.sign(), guess)
    if t == 1:
        return guess
    precision = a / b + 1 / (1 - before)
    return (a**0.5 / b * x_t + before**0.5 / (1 - before) * guess) / precision + z / precision**0.5


def step_with(believe=None, mean=None, spread=None, after=None):
    def step(x_t, t, eps_hat, beta, z):
        a, b, bar, before = numbers(beta, t)
        guess = (believe or (lambda x, e, bar: believed(x, e, bar).clip(-1, 1)))(x_t, eps_hat, bar)
        fresh = b * (1 - before) / (1 - bar)
        if mean is None:
            out = (before**0.5 * b * guess + a**0.5 * (1 - before) * x_t) / (1 - bar)
        else:
            out = mean(guess, x_t, eps_hat, a, b, bar, before)
        out = out + (spread(b, fresh, t) if spread else fresh**0.5) * z
        return after(out) if after else out

    return step


def keep_eps(guess, x_t, eps_hat, a, b, bar, before):
    fresh = b * (1 - before) / (1 - bar)
    return before**0.5 * guess + max(0, 1 - before - fresh) ** 0.5 * eps_hat


def step_early(x_t, t, eps_hat, beta, z):
    return step_with()(x_t, max(t - 1, 1), eps_hat, beta, z) if t > 1 else x_t / 0


def step_noised_afresh(x_t, t, eps_hat, beta, z):
    _, _, bar, before = numbers(beta, t)
    return before**0.5 * believed(x_t, eps_hat, bar).clip(-1, 1) + (1 - before) ** 0.5 * z


# one_call_loss


def floor(beta, variance):
    bar = torch.prod(1 - beta).item()
    return 1 / (1 / variance + bar / (1 - bar))


def floor_by_torch(variance, beta):
    bar = torch.cumprod(1 - beta, 0)[-1]
    return variance - bar * variance**2 / (bar * variance + 1 - bar)


def end(beta):
    return torch.prod(1 - beta).item()


def column(values, x):
    return values.reshape([len(values)] + [1] * (x.dim() - 1)).to(x.dtype)


def one_call(net, x_0, t, eps, beta):
    bar = column(torch.cumprod(1 - beta, 0)[t], x_0)
    return F.mse_loss(net(bar**0.5 * x_0 + (1 - bar) ** 0.5 * eps, t), eps)


def one_call_by_loops(eps, beta, x_0, net, t):
    bar = [math.prod(1 - b for b in beta[: s + 1].tolist()) for s in t.tolist()]
    x_t = torch.stack([b**0.5 * x + (1 - b) ** 0.5 * e for b, x, e in zip(bar, x_0, eps, strict=True)])
    return sum(((e - out) ** 2).sum() for e, out in zip(eps, net(x_t, t), strict=True)) / eps.numel()


def loss_with(target=lambda x_0, eps: eps, noised=lambda t: t, told=lambda t: t, see=None, measure=F.mse_loss):
    def loss(net, x_0, t, eps, beta):
        bar = column(torch.cumprod(1 - beta, 0)[noised(t)], x_0)
        step = column(beta[t], x_0)
        x_t = see(x_0, eps, bar, step) if see else bar**0.5 * x_0 + (1 - bar) ** 0.5 * eps
        return measure(net(x_t, told(t)), target(x_0, eps))

    return loss


def first(t):
    return torch.full_like(t, t[0])


def there_and_back(net, x_0, t, eps, beta):
    bar = end(beta)
    x = bar**0.5 * x_0 + (1 - bar) ** 0.5 * eps
    for s in range(len(beta) - 1, 0, -1):
        x = (x - math.sqrt(beta[s]) * net(x, torch.full((len(x),), s))) / math.sqrt(1 - beta[s])
    return F.mse_loss(x, x_0)


def fresh_noise(net, x_0, t, eps, beta):
    return one_call(net, x_0, t, torch.randn_like(x_0), beta)


ANSWERS = {
    "time_embedding": Answers(
        right=[embed_by_loops, embed_by_logs],
        wrong=[
            ("need not be whole", lambda t, d, base: embed_by_logs(t.long(), d, base)),
            ("the two halves have changed places", lambda t, d, base: torch.cat(halves(t, d, base)[::-1], 1)),
            ("cosines and sines take turns", lambda t, d, base: torch.stack(halves(t, d, base), 2).flatten(1)),
            ("sines and cosines take turns", lambda t, d, base: torch.stack(halves(t, d, base)[::-1], 2).flatten(1)),
            ("t and −t look the same", lambda t, d, base: halves(t, d, base)[0]),
            ("the sines alone are half", lambda t, d, base: halves(t, d, base)[1]),
            ("hands should get slower", hands(lambda i, d: 2 * i / d)),
            ("but the slow one first", hands(lambda i, d: (2 * i + 2 - d) / d)),
            ("spread the exponents over d", hands(lambda i, d: -i / d)),
            ("you let the last exponent reach −1", hands(lambda i, d: -i / (d // 2 - 1) if d > 2 else 0 * i)),
            ("the 2 is there twice", hands(lambda i, d: -2 * i / (d // 2))),
            ("these are degrees", hands(lambda i, d: -2 * i / d, math.pi / 180)),
            ("ω is an angular frequency", hands(lambda i, d: -2 * i / d, 2 * math.pi)),
            ("You divided t by", lambda t, d, base: embed_by_logs(t / t.max(), d, base)),
        ],
    ),
    "timed_norm": Answers(
        right=[norm_in_torch, norm_by_loops, norm_flat],
        wrong=[
            ("over all 3 pictures together", norm_batch),
            ("you normalise channels", lambda **case: norm_of(lambda groups, C: C, **case)),
            ("were normalised as one group", lambda **case: norm_of(lambda groups, C: 1, **case)),
            ("took it for the channels of one", lambda **case: norm_of(lambda groups, C: C // groups, **case)),
            ("apart into a group", norm_every_other),
            ("takes the mean of the squares", norm_root(lambda v, delta: (v + delta) ** 0.5, 1)),
            ("you divide by a variance", norm_root(lambda v, delta: v + delta)),
            ("was added after the root", norm_root(lambda v, delta: v**0.5 + delta)),
            ("where is δ", norm_root(lambda v, delta: v**0.5)),
            ("added without a square", norm_root(lambda v, delta: (v + delta * delta) ** 0.5)),
            ("gamma and shift do not enter", norm_used(lambda y, gamma, shift: y)),
            ("First the scale, then the shift", norm_used(lambda y, gamma, shift: spread(gamma) * (y + spread(shift)))),
            ("you multiply by 1 + gamma", norm_used(lambda y, gamma, shift: y + y * spread(gamma) + spread(shift))),
            (
                "gamma and shift of the first",
                norm_used(lambda y, gamma, shift: spread(gamma[:1]) * y + spread(shift[:1])),
            ),
            ("The sizes agree by chance", norm_used(lambda y, gamma, shift: gamma * y + shift)),
        ],
    ),
    "attention": Answers(
        right=[attend_in_torch, attend_by_heads],
        wrong=[
            ("a variance that grows with d", attend_scaled(lambda d, C, M: 1)),
            ("(4.12) is about a variance", attend_scaled(lambda d, C, M: 1 / d)),
            ("makes the scores larger", attend_scaled(lambda d, C, M: math.sqrt(d))),
            ("How many products does a score", attend_scaled(lambda d, C, M: 1 / math.sqrt(C))),
            ("A score adds up over something else", attend_scaled(lambda d, C, M: 1 / math.sqrt(M))),
            ("ran over the places that ask", attend_over(2)),
            ("ran over the heads", attend_over(1)),
            ("the weights were transposed", attend_flipped),
            ("make one score", attend_one_head),
            ("mixes places with channels", attend_reshaped),
            ("on both ways reshape", attend_reshaped_twice),
            ("mixes heads with places", attend_back_reshaped),
            ("each head took channels", attend_strided),
        ],
    ),
    "mean_age": Answers(
        right=[age_by_loop, age_by_torch],
        wrong=[
            ("the sum over infinitely many", lambda decay, steps: decay / (1 - decay)),
            ("the window of an old average", lambda decay, steps: 1 / (1 - decay)),
            (
                "the corrected ones add up to 1",
                lambda decay, steps: sum(k * (1 - decay) * decay**k for k in range(steps)),
            ),
            ("was divided out twice", lambda decay, steps: age_by_loop(steps, decay) / (1 - decay**steps)),
            ("where all", lambda decay, steps: (steps - 1) / 2),
            ("you counted from 1", lambda decay, steps: age_by_loop(steps, decay) + 1),
            ("a term too many", lambda decay, steps: age_by_loop(steps + 1, decay)),
            (
                "counts with the age",
                lambda decay, steps: sum(k * (1 - decay) * decay**k for k in range(steps)) + steps * decay**steps,
            ),
            ("counted from the start", lambda decay, steps: steps - 1 - age_by_loop(steps, decay)),
            ("have changed places", lambda decay, steps: 1 / decay - 1),
        ],
    ),
    "clipped_step": Answers(
        right=[step_by_ddim, step_by_precision, step_with()],
        wrong=[
            ("nothing was cut off", step_with(believed)),
            ("you cut off x_t", step_with(lambda x, e, bar: believed(x.clip(-1, 1), e, bar))),
            ("you cut off ε̂", step_with(lambda x, e, bar: believed(x, e.clip(-1, 1), bar))),
            ("no entry of your x_{t−1} exceeds 1", step_with(believed, after=lambda x: x.clip(-1, 1))),
            ("entries of your x̂_0 is negative", step_with(lambda x, e, bar: believed(x, e, bar).clip(0, 1))),
            (
                "before it was brought to its scale",
                step_with(lambda x, e, bar: (x - (1 - bar) ** 0.5 * e).clip(-1, 1)),
            ),
            ("ε̂ is still the old one", step_with(mean=keep_eps)),
            ("what x_t knew besides is lost", step_noised_afresh),
            (
                "each other's factors",
                step_with(mean=lambda x0, x, e, a, b, bar, s: (s**0.5 * b * x + a**0.5 * (1 - s) * x0) / (1 - bar)),
            ),
            (
                "in its factors stands ᾱ_t",
                step_with(mean=lambda x0, x, e, a, b, bar, s: (bar**0.5 * b * x0 + a**0.5 * (1 - bar) * x) / (1 - bar)),
            ),
            (
                "are the two roots in the factors missing",
                step_with(mean=lambda x0, x, e, a, b, bar, s: (s * b * x0 + a * (1 - s) * x) / (1 - bar)),
            ),
            ("it would add noise to the result", step_with(spread=lambda b, fresh, t: b**0.5)),
            ("DDPM's other choice", step_with(spread=lambda b, fresh, t: b**0.5 if t > 1 else 0)),
            ("that is the variance; a deviation", step_with(spread=lambda b, fresh, t: fresh)),
            ("you return the mean of the step", step_with(spread=lambda b, fresh, t: 0)),
            ("the tables were read at t − 1", step_early),
        ],
    ),
    "one_call_loss": Answers(
        right=[(floor, one_call), (floor_by_torch, one_call_by_loops)],
        wrong=[
            ("x_T would have to tell x_0 exactly", (lambda beta, variance: 0, one_call)),
            ("which one constant answer reaches", (lambda beta, variance: variance, one_call)),
            ("so much a perfect sampler loses", (lambda beta, variance: 2 * floor(beta, variance), one_call)),
            ("the variance of the noise in x_T", (lambda beta, variance: 1 - end(beta), one_call)),
            ("the variance of x_T is not 1", (lambda beta, variance: variance * (1 - end(beta)), one_call)),
            (
                "this is the smallest error of ε",
                (lambda beta, variance: 1 - (1 - end(beta)) / (end(beta) * variance + 1 - end(beta)), one_call),
            ),
            ("which trusts x_T entirely", (lambda beta, variance: 1 / end(beta) - 1, one_call)),
            ("from the last β alone", (lambda beta, variance: floor(beta[-1:], variance), one_call)),
            ("a deviation; the mean of", (lambda beta, variance: floor(beta, variance) ** 0.5, one_call)),
            ("a loop over all steps", (floor, there_and_back)),
            ("compared with x_0; it guesses ε", (floor, loss_with(target=lambda x_0, eps: x_0))),
            ("all pictures got the t of the first", (floor, loss_with(noised=first, told=first))),
            ("the network was told another", (floor, loss_with(noised=first))),
            ("was told the first's", (floor, loss_with(told=first))),
            ("was told t − 1", (floor, loss_with(told=lambda t: t - 1))),
            ("the noise is that of t − 1", (floor, loss_with(noised=lambda t: t - 1))),
            (
                "by a single step from x_0",
                (floor, loss_with(see=lambda x_0, eps, bar, b: (1 - b) ** 0.5 * x_0 + b**0.5 * eps)),
            ),
            ("the roots are missing", (floor, loss_with(see=lambda x_0, eps, bar, b: bar * x_0 + (1 - bar) * eps))),
            ("shown the clean x_0", (floor, loss_with(see=lambda x_0, eps, bar, b: x_0))),
            ("grows with the batch", (floor, loss_with(measure=lambda out, target: (out - target).square().sum()))),
            ("not squared", (floor, loss_with(measure=F.l1_loss))),
            ("noise is drawn inside", (floor, fresh_noise)),
        ],
    ),
}
