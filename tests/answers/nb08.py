"""Answers to the exercises of notebook 08."""

import math

import torch

from answers import Answers

# dropped


def share(counts, p):
    return counts[0] / (counts[0] + p * (sum(counts) - counts[0]))


def share_by_chance(p, counts):
    """Bayes' rule, with the data's share of each class."""
    here = counts[0] / sum(counts)
    shown = here + (1 - here) * p
    return torch.tensor(here / shown)


def dropped(labels, p, num_classes):
    out = labels.clone()
    out[torch.rand(labels.shape) < p] = num_classes
    return out


def dropped_by_loops(num_classes, p, labels):
    coins = torch.bernoulli(torch.full((len(labels),), p)).tolist()
    return [num_classes if coin else label for coin, label in zip(coins, labels.tolist(), strict=True)]


def drop_to(place, chance=lambda p: p):
    def drop(labels, p, num_classes):
        return torch.where(torch.rand(len(labels)) < chance(p), place(labels, num_classes), labels)

    return drop


def drop_batch(labels, p, num_classes):
    return torch.full_like(labels, num_classes) if torch.rand(()) < p else labels


def drop_in_place(labels, p, num_classes):
    labels[torch.rand(len(labels)) < p] = num_classes
    return labels


def drop_first(labels, p, num_classes):
    out = labels.clone()
    out[: int(p * len(labels))] = num_classes
    return out


def drop_a_fixed_number(labels, p, num_classes):
    out = labels.clone()
    out[torch.randperm(len(labels))[: int(p * len(labels))]] = num_classes
    return out


# numbered


def numbered_by_index(length, words, texts):
    out = torch.zeros(len(texts), length, dtype=torch.int64)
    for i, text in enumerate(texts):
        for j, word in enumerate(text.lower().split()[:length]):
            out[i, j] = words.index(word) + 2 if word in words else 1
    return out


def number_with(
    unknown=1, first=2, fill=0, cut=lambda row, n: row[:n], front=False, lower=True, order=list, pad=lambda rows, n: n
):
    def numbered(texts, words, length):
        table = list(order(words))
        rows = []
        for text in texts:
            row = []
            for word in (text.lower() if lower else text).split():
                if word in table:
                    row.append(table.index(word) + first)
                elif unknown is not None:
                    row.append(unknown)
            rows.append(cut(row, length))
        full = pad(rows, length)
        return [[fill] * (full - len(r)) + r if front else r + [fill] * (full - len(r)) for r in rows]

    return numbered


# cross_attention


def attend_by_loops(w_v, w_k, w_q, tokens, words, pixels):
    rows = []
    for image, text, mask in zip(pixels, words, tokens, strict=True):
        said = text[mask > 0]
        keys, values = said @ w_k, said @ w_v
        out = []
        for x in image:
            scores = [float(x @ w_q @ key) / math.sqrt(len(key)) for key in keys]
            chance = [math.exp(s - max(scores)) for s in scores]
            out.append(sum(p / sum(chance) * v for p, v in zip(chance, values, strict=True)))
        rows.append(torch.stack(out))
    return torch.stack(rows)


def attend_by_torch(pixels, words, tokens, w_q, w_k, w_v):
    mask = (tokens != 0)[:, None].expand(-1, pixels.shape[1], -1)
    return torch.nn.functional.scaled_dot_product_attention(pixels @ w_q, words @ w_k, words @ w_v, attn_mask=mask)


def attend_renormalised(pixels, words, tokens, w_q, w_k, w_v):
    weights = torch.softmax(torch.einsum("bnd,bld->bnl", pixels @ w_q, words @ w_k) / w_k.shape[1] ** 0.5, 2)
    weights = weights * (tokens != 0)[:, None]
    return (weights / weights.sum(2, keepdim=True)) @ (words @ w_v)


def attend_with(divide=lambda d, C: d**0.5, axis=-1, mask=None, keep=None, value=None):
    def cross_attention(pixels, words, tokens, w_q, w_k, w_v):
        q, k, v = pixels @ w_q, words @ w_k, words @ w_v
        scores = q @ k.mT / divide(w_q.shape[1], w_q.shape[0])
        scores = mask(scores, tokens) if mask else torch.where(tokens[:, None] == 0, -math.inf, scores)
        weights = scores.softmax(axis)
        weights = keep(weights, tokens) if keep else weights
        return weights @ (value(words, k) if value else v)

    return cross_attention


def attend_swapped(pixels, words, tokens, w_q, w_k, w_v):
    q, k, v = words @ w_q, pixels @ w_k, pixels @ w_v
    return torch.softmax(q @ k.mT / math.sqrt(w_q.shape[1]), -1) @ v


# classifier_guided


def length_by_hand(logits, c):
    return 1 / sum(math.exp(other - float(logits[c])) for other in logits.tolist())


def length_by_gradients(c, logits):
    """Of both gradients with respect to the logits, which the same matrix takes to x_t."""
    logits = logits.clone().requires_grad_()
    of_p = torch.autograd.grad(logits.softmax(0)[c], logits)[0]
    of_log = torch.autograd.grad(logits.log_softmax(0)[c], logits)[0]
    return of_p.norm() / of_log.norm()


def log_gradient(x_t, c, weight, bias, of=torch.log_softmax):
    x = x_t.clone().requires_grad_()
    return torch.autograd.grad(of(x @ weight.T + bias, 1)[torch.arange(len(c)), c].sum(), x)[0]


def chance_gradient(x_t, c, weight, bias):
    return log_gradient(x_t, c, weight, bias, torch.softmax)


def push(factor=lambda bar: -math.sqrt(1 - bar), gradient=log_gradient, times=lambda w: w, keep=1):
    def classifier_guided(eps_hat, x_t, c, weight, bias, alpha_bar_t, guidance):
        return keep * eps_hat + times(guidance) * factor(alpha_bar_t) * gradient(x_t, c, weight, bias)

    return classifier_guided


def push_by_hand(guidance, alpha_bar_t, bias, weight, c, x_t, eps_hat):
    rows = []
    for e, x, k in zip(eps_hat, x_t, c.tolist(), strict=True):
        chance = (weight @ x + bias).exp()
        towards = weight[k] - (chance / chance.sum()) @ weight
        rows.append(e - guidance * (1 - alpha_bar_t) ** 0.5 * towards)
    return torch.stack(rows)


def push_to_all(eps_hat, x_t, c, weight, bias, alpha_bar_t, guidance):
    x = x_t.clone().requires_grad_()
    chosen = torch.log_softmax(x @ weight.T + bias, 1)[:, c].sum()  # (B, B) of them
    return eps_hat - guidance * (1 - alpha_bar_t) ** 0.5 * torch.autograd.grad(chosen, x)[0]


# composed


def composed_in_factors(w_second, w_first, second, first, untold):
    return (1 - w_first - w_second) * untold + w_first * first + w_second * second


def composed_by_loops(untold, first, second, w_first, w_second):
    out = untold.clone()
    for told, w in ((first, w_first), (second, w_second)):
        out += w * (told - untold)
    return out


def mix(of):
    return lambda untold, first, second, w_first, w_second: of(untold, first, second, w_first, w_second)


# guided


def guided_in_one_call(alpha_bar, high, low, guidance, uncond, cond, t, x_t, net):
    w = guidance if t in range(low, high + 1) else 1
    told, untold = net(torch.cat([x_t, x_t]), t, torch.cat([cond, uncond])).chunk(2)
    eps = w * told + (1 - w) * untold
    s, n = float(alpha_bar[t]) ** 0.5, float(1 - alpha_bar[t]) ** 0.5
    x0 = torch.clamp((x_t - n * eps) / s, min=-1, max=1)
    return [x0, (x_t - s * x0) / n]


def guided_through_x0(net, x_t, t, cond, uncond, guidance, low, high, alpha_bar):
    """x̂_0 of both answers mixed, then clipped: the same by (8.14)."""
    s, n = alpha_bar[t].sqrt().to(x_t), (1 - alpha_bar[t]).sqrt().to(x_t)
    told, untold = ((x_t - n * net(x_t, t, c)) / s for c in (cond, uncond))
    x0 = untold + guidance * (told - untold) if low <= t <= high else told
    x0 = x0.clip(-1, 1)
    return x0, (x_t - s * x0) / n


def guided_with(step=None, inside=None, elsewhere=1, finish=None, shift=0, power=0.5):
    def guided(net, x_t, t, cond, uncond, guidance, low, high, alpha_bar):
        s, n = (float(v) ** power for v in (alpha_bar[t + shift], 1 - alpha_bar[t + shift]))
        told, untold = net(x_t, t, cond), net(x_t, t, uncond)
        hit = inside(t, low, high) if inside else low <= t <= high
        if hit and step:
            eps = step(told, untold, guidance)
        else:
            w = guidance if hit else elsewhere
            eps = untold + w * (told - untold)
        if finish:
            return finish(x_t, eps, s, n)
        x0 = ((x_t - n * eps) / s).clamp(-1, 1)
        return x0, (x_t - s * x0) / n

    return guided


def guided_clipped_twice(net, x_t, t, cond, uncond, guidance, low, high, alpha_bar):
    s, n = alpha_bar[t].sqrt().to(x_t), (1 - alpha_bar[t]).sqrt().to(x_t)
    told, untold = (((x_t - n * net(x_t, t, c)) / s).clamp(-1, 1) for c in (cond, uncond))
    x0 = untold + guidance * (told - untold) if low <= t <= high else told
    return x0, (x_t - s * x0) / n


def guided_eps_first(x_t, eps, s, n):
    x0 = ((x_t - n * eps) / s).clamp(-1, 1)
    return (x_t - s * x0) / n, x0


ANSWERS = {
    "dropped": Answers(
        right=[(share, dropped), (share_by_chance, dropped_by_loops)],
        wrong=[
            ("no dropped picture of another class", (lambda counts, p: 1, dropped)),
            ("the share of class 0 in the data", (lambda counts, p: counts[0] / sum(counts), dropped)),
            (
                "the share that was not dropped",
                (lambda counts, p: (1 - p) * counts[0] / ((1 - p) * counts[0] + p * sum(counts)), dropped),
            ),
            ("counted twice", (lambda counts, p: counts[0] / (counts[0] + p * sum(counts)), dropped)),
            ("the share of the other classes", (lambda counts, p: 1 - share(counts, p), dropped)),
            ("classes of equal size", (lambda counts, p: 1 / (1 + p * (len(counts) - 1)), dropped)),
            ("the share of all labels that are kept", (lambda counts, p: 1 - p, dropped)),
            ("class 0 has that row already", (share, drop_to(lambda labels, K: 0))),
            ("this is the last class", (share, drop_to(lambda labels, K: K - 1))),
            ("E has the rows 0", (share, drop_to(lambda labels, K: -1))),
            ("a dropped one says nothing", (share, drop_to(lambda labels, K: (labels + 1) % K))),
            ("one coin was tossed for the batch", (share, drop_batch)),
            ("p is the chance to drop", (share, drop_to(lambda labels, K: K, lambda p: 1 - p))),
            ("of the labels was dropped, with p = 0.3.", (share, lambda labels, p, num_classes: labels)),
            ("changes its argument labels in place", (share, drop_in_place)),
            ("toss the coins anew", (share, drop_first)),
            ("no coin for each picture", (share, drop_a_fixed_number)),
            ("whole numbers", (share, lambda labels, p, num_classes: dropped(labels, p, num_classes).float())),
        ],
    ),
    "numbered": Answers(
        right=[numbered_by_index, number_with(), lambda **case: torch.tensor(number_with()(**case)).int()],
        wrong=[
            ("by whole numbers", lambda **case: torch.tensor(number_with()(**case)).double()),
            ("has left no trace", number_with(unknown=None)),
            ("an unknown word got 0", number_with(unknown=0)),
            ("the vocabulary starts at 0", number_with(first=0)),
            ("the vocabulary starts at 1", number_with(first=1)),
            ("the vocabulary starts at 3", number_with(first=3)),
            ("filled up with 1", number_with(fill=1)),
            ("stands before the words", number_with(front=True)),
            ("has lost its beginning", number_with(cut=lambda row, n: row[-n:])),
            ("capital letter", number_with(lower=False)),
            ("was sorted", number_with(order=sorted)),
            ("the longest text of the batch", number_with(pad=lambda rows, n: max(1, *map(len, rows)))),
            ("texts are neither cut nor filled up", number_with(cut=lambda row, n: row, pad=lambda rows, n: 0)),
            ("texts are not filled up", number_with(pad=lambda rows, n: 0)),
            ("texts are not cut", number_with(cut=lambda row, n: row)),
        ],
    ),
    "cross_attention": Answers(
        right=[attend_by_loops, attend_by_torch, attend_renormalised],
        wrong=[
            ("the words ask and the pixels answer", attend_swapped),
            ("variance grows with d", attend_with(divide=lambda d, C: 1)),
            ("d is the variance of a score", attend_with(divide=lambda d, C: d)),
            ("the root of the pixels'", attend_with(divide=lambda d, C: C**0.5)),
            ("shares itself out", attend_with(axis=1)),
            (
                "They are words outside the vocabulary",
                attend_with(mask=lambda scores, tokens: torch.where(tokens[:, None] <= 1, -math.inf, scores)),
            ),
            ("tokens has not been looked at", attend_with(mask=lambda scores, tokens: scores)),
            (
                "a score of 0 is a middling one",
                attend_with(mask=lambda scores, tokens: scores * (tokens != 0)[:, None]),
            ),
            (
                "thrown away after",
                attend_with(
                    mask=lambda scores, tokens: scores, keep=lambda weights, tokens: weights * (tokens != 0)[:, None]
                ),
            ),
            (
                "and hid the words",
                attend_with(mask=lambda scores, tokens: torch.where(tokens[:, None] == 0, scores, -math.inf)),
            ),
            (
                "the empty places of the first",
                attend_with(mask=lambda scores, tokens: torch.where(tokens[0] == 0, -math.inf, scores)),
            ),
            ("the pixels receive keys", attend_with(value=lambda words, k: k)),
            ("without their value's matrix", attend_with(value=lambda words, k: words)),
        ],
    ),
    "classifier_guided": Answers(
        right=[(length_by_hand, push()), (length_by_gradients, push_by_hand)],
        wrong=[
            ("sure of something else", (lambda logits, c: 1 - length_by_hand(logits, c), push())),
            (
                "with respect to its own logit",
                (lambda logits, c: length_by_hand(logits, c) * (1 - length_by_hand(logits, c)), push()),
            ),
            ("the other way round", (lambda logits, c: 1 / length_by_hand(logits, c), push())),
            ("a length cannot be negative", (lambda logits, c: logits.log_softmax(0)[c], push())),
            ("from one logit alone", (lambda logits, c: 1 / (1 + (-logits[c]).exp()), push())),
            ("this is a logit", (lambda logits, c: logits[c], push())),
            ("for the last class", (lambda logits, c: logits.softmax(0)[-1], push())),
            ("this still is the claim's line", (length_by_hand, push(lambda bar: 1, chance_gradient))),
            (
                "the gradient of p and the missing factor",
                (length_by_hand, push(lambda bar: -1, chance_gradient)),
            ),
            (
                "the gradient of p and the direction",
                (length_by_hand, push(lambda bar: (1 - bar) ** 0.5, chance_gradient)),
            ),
            ("of p and not of log p", (length_by_hand, push(gradient=chance_gradient))),
            ("it leads away from c", (length_by_hand, push(lambda bar: (1 - bar) ** 0.5))),
            ("its direction is wrong, and a factor", (length_by_hand, push(lambda bar: 1))),
            ("a score is no ε", (length_by_hand, push(lambda bar: -1))),
            ("the variance stands where", (length_by_hand, push(lambda bar: bar - 1))),
            ("this is the signal's factor", (length_by_hand, push(lambda bar: -(bar**0.5)))),
            ("you divide by the noise", (length_by_hand, push(lambda bar: -1 / (1 - bar) ** 0.5))),
            ("has heard c already", (length_by_hand, push(times=lambda w: w - 1))),
            ("is left out", (length_by_hand, push(times=lambda w: 1))),
            (
                "the mean over the batch",
                (
                    length_by_hand,
                    push(gradient=lambda x_t, c, weight, bias: log_gradient(x_t, c, weight, bias) / len(c)),
                ),
            ),
            ("a logit's gradient", (length_by_hand, push(gradient=lambda x_t, c, weight, bias: weight[c]))),
            (
                "the class of the first",
                (
                    length_by_hand,
                    push(
                        gradient=lambda x_t, c, weight, bias: log_gradient(
                            x_t, torch.zeros_like(c) + c[0], weight, bias
                        )
                    ),
                ),
            ),
            ("to the classes of all", (length_by_hand, push_to_all)),
            ("only the classifier's part", (length_by_hand, push(keep=0))),
        ],
    ),
    "composed": Answers(
        right=[composed_in_factors, composed_by_loops],
        wrong=[
            ("leads away from the conditions", mix(lambda n, a, b, w, u: n + w * (n - a) + u * (n - b))),
            ("both conditions say nothing new", mix(lambda n, a, b, w, u: w * a + u * b)),
            ("two guided answers were added", mix(lambda n, a, b, w, u: n + w * (a - n) + n + u * (b - n))),
            ("were averaged", mix(lambda n, a, b, w, u: n + (w * (a - n) + u * (b - n)) / 2)),
            ("the w' of Ho and Salimans", mix(lambda n, a, b, w, u: n + (1 + w) * (a - n) + (1 + u) * (b - n))),
            (
                "took part of the first away",
                mix(lambda n, a, b, w, u: n + w * (a - n) + u * (b - (n + w * (a - n)))),
            ),
            (
                "took part of the second away",
                mix(lambda n, a, b, w, u: n + u * (b - n) + w * (a - (n + u * (b - n)))),
            ),
            ("both got the mean of the two", mix(lambda n, a, b, w, u: n + (w + u) * ((a + b) / 2 - n))),
            ("the weights have changed places", mix(lambda n, a, b, w, u: n + u * (a - n) + w * (b - n))),
            ("for w_1 = w_2 = 1 only", mix(lambda n, a, b, w, u: w * a + u * b - n)),
            ("the weights were multiplied", mix(lambda n, a, b, w, u: n + w * u * ((a + b) / 2 - n))),
            ("what they are added to is missing", mix(lambda n, a, b, w, u: w * (a - n) + u * (b - n))),
        ],
    ),
    "guided": Answers(
        right=[
            lambda net, **case: guided_in_one_call(net=lambda x, t, c: net(x, torch.full((len(x),), t), c), **case),
            guided_in_one_call,
            guided_through_x0,
            guided_with(),
        ],
        wrong=[
            ("you go from cond to uncond", guided_with(lambda c, n, w: c + w * (n - c))),
            ("the step starts from cond", guided_with(lambda c, n, w: (1 + w) * c - w * n)),
            ("added to nothing", guided_with(lambda c, n, w: w * (c - n))),
            ("is a louder noise", guided_with(lambda c, n, w: w * c)),
            ("is to be taken away", guided_with(lambda c, n, w: w * c + (w - 1) * n)),
            ("it is guided there too", guided_with(inside=lambda t, low, high: True)),
            ("its lower end belongs to it", guided_with(inside=lambda t, low, high: low < t <= high)),
            ("you guide outside of it", guided_with(inside=lambda t, low, high: t < low or t > high)),
            ("no guidance means w = 1", guided_with(elsewhere=0)),
            ("its two ends belong to it", guided_with(inside=lambda t, low, high: low < t < high)),
            ("its upper end belongs to it", guided_with(inside=lambda t, low, high: t in range(low, high))),
            (
                "ε̂ is still that of before",
                guided_with(finish=lambda x_t, eps, s, n: (((x_t - n * eps) / s).clamp(-1, 1), eps)),
            ),
            ("both answers were clipped before", guided_clipped_twice),
            ("nothing was clipped", guided_with(finish=lambda x_t, eps, s, n: ((x_t - n * eps) / s, eps))),
            (
                "ε̂ was clipped",
                guided_with(
                    finish=lambda x_t, eps, s, n: ((x_t - n * eps.clamp(-1, 1)) / s, eps.clamp(-1, 1)),
                ),
            ),
            ("Return x̂_0 first", guided_with(finish=guided_eps_first)),
            ("stand where their roots should", guided_with(power=1)),
            ("read at t − 1", guided_with(shift=-1)),
        ],
    ),
}
