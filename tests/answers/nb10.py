"""Answers to the exercises of notebook 10."""

import math

import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pixel_shuffle, pixel_unshuffle

from answers import Answers

# psnr


def psnr_by_loops(high, low, reference, pictures):
    total, count = 0.0, 0
    for a, b in zip(pictures.flatten().tolist(), reference.flatten().tolist(), strict=True):
        total, count = total + (min(max(a, low), high) - b) ** 2, count + 1
    return 20 * math.log10((high - low) / math.sqrt(total / count))


def psnr_in_unit_range(pictures, reference, low, high):
    a, b = ((x.to(torch.float64) - low) / (high - low) for x in (pictures, reference))
    return -10 * torch.nn.functional.mse_loss(a.clip(0, 1), b).log10()


def psnr_with(
    R=None, log=lambda R, mse: 10 * math.log10(R**2 / mse), mse=lambda a, b: ((a - b) ** 2).mean(), clip=True
):
    def psnr(pictures, reference, low, high):
        a, b = pictures.double(), reference.double()
        a = a.clamp(low, high) if clip else a
        return log(R(b, low, high) if R else high - low, float(mse(a, b)))

    return psnr


def psnr_averaged(pictures, reference, low, high):
    each = [psnr_by_loops(high, low, b[None], a[None]) for a, b in zip(pictures, reference, strict=True)]
    return sum(each) / len(each)


def psnr_wrapping(pictures, reference, low, high):
    e = pictures.clamp(low, high) - reference
    return 10 * torch.log10((high - low) ** 2 / e.double().pow(2).mean())


def psnr_of_wrapped_squares(pictures, reference, low, high):
    e = pictures.clamp(low, high) - reference
    return 10 * torch.log10((high - low) ** 2 / (e * e).double().mean())


def psnr_of_bytes(pictures, reference, low, high):
    return 10 * torch.log10((high - low) ** 2 / (pictures.clamp(low, high) - reference).square().mean())


def psnr_of_each(pictures, reference, low, high):
    return [psnr_by_loops(high, low, b, a) for a, b in zip(pictures, reference, strict=True)]


# denoised


def sigma_of(level):
    return level / math.sqrt(1 - level**2)


def sigma_by_angle(level):
    return torch.tensor(math.asin(level)).double().tan()


def denoised_by_ratio(alpha_bar, level, y, denoise):
    """The t by the signal-to-noise ratio, one a picture."""
    wanted = (127.5 / level) ** 2
    gaps = [abs(math.log(wanted * (1 - bar) / bar)) for bar in alpha_bar.tolist()[1:]]
    t = torch.full((len(y),), 1 + gaps.index(min(gaps)))
    return denoise(y * alpha_bar[t[0]].item() ** 0.5, t)


def denoise_with(unit=127.5, table=lambda bar: ((1 - bar) / bar) ** 0.5, feed=lambda y, bar: bar**0.5 * y, shift=0):
    def denoised(denoise, y, level, alpha_bar):
        gaps = (table(alpha_bar[1:]) - level / unit).abs()
        t = gaps.argmin().item() + 1 + shift
        return denoise(feed(y, alpha_bar[t].item()), t)

    return denoised


def by_noise(bar):
    return (1 - bar).sqrt()


def as_it_is(y, bar):
    return y


def denoised_at(pick):
    def denoised(denoise, y, level, alpha_bar):
        t = max(pick(((1 - alpha_bar) / alpha_bar).sqrt(), level / 127.5), 1)
        return denoise(alpha_bar[t].sqrt().to(y) * y, t)

    return denoised


def denoised_and_divided(denoise, y, level, alpha_bar):
    t = 1 + (((1 - alpha_bar) / alpha_bar)[1:].sqrt() - level / 127.5).abs().argmin()
    return denoise(alpha_bar[t].sqrt().to(y) * y, t) / alpha_bar[t].sqrt().to(y)


# stretched


def stretch(V, M):
    return math.sqrt(V / (V - M)), M + (math.sqrt(V) - math.sqrt(V - M)) ** 2


def stretch_expanded(least, variance):
    """E x_0² − 2 E x_0 a + E a², with the mean taken away."""
    k = 1 / math.sqrt(1 - least / variance)
    return torch.tensor([k]), torch.tensor(variance - 2 * k * (variance - least) + k**2 * (variance - least))


def stretch_by(k):
    """Another factor, with its error."""
    return lambda variance, least: (
        k(variance, least),
        least + (k(variance, least) - 1) ** 2 * (variance - least),
    )


def stretch_costing(mse):
    def stretched(variance, least):
        k = stretch(variance, least)[0]
        return k, mse(variance, least, k)

    return stretched


# shrunk


def shrunk_by_loops(threshold, y):
    out = y.clone()
    for picture in out.flatten(0, 1):
        for i in range(0, y.shape[2], 2):
            for j in range(0, y.shape[3], 2):
                a, b, c, d = picture[i : i + 2, j : j + 2].flatten().tolist()
                m = (a + b + c + d) / 2
                h, v, g = (
                    math.copysign(max(abs(x) - threshold, 0.0), x)
                    for x in ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2)
                )
                block = [m + h + v + g, m - h + v - g, m + h - v - g, m - h - v + g]
                picture[i : i + 2, j : j + 2] = torch.tensor(block).view(2, 2) / 2
    return out


def haar_with(soft=None, there=0.5, back=None, first=1, last=4):
    """By channels: a block's four pixels are four channels, and the transform a 1×1 convolution."""
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    soft = soft or (lambda d, v: d - d.clamp(-v, v))

    def shrunk(y, threshold):
        kernel = signs.to(y)[..., None, None]
        z = conv2d(pixel_unshuffle(y.reshape(-1, 1, *y.shape[2:]), 2), there * kernel)
        parts = [soft(part, threshold) if first <= i < last else part for i, part in enumerate(z.unbind(1))]
        z = conv2d(torch.stack(parts, 1), (0.25 / there if back is None else back) * kernel)
        return pixel_shuffle(z, 2).reshape(y.shape)

    return shrunk


# fit_gradient


def adjoint_by_autograd(factor, small):
    B, C, H, W = small.shape
    x = torch.zeros(B, C, H * factor, W * factor, dtype=small.dtype, requires_grad=True)
    return torch.autograd.grad((avg_pool2d(x, factor) * small).sum(), x)[0]


def adjoint_by_copies(small, factor):
    return interpolate(small, scale_factor=factor, mode="nearest") / factor**2


def copies(small, factor, times=1.0):
    ones = torch.ones(factor, factor, dtype=small.dtype)
    return torch.stack([torch.stack([torch.kron(plane, ones) for plane in x]) for x in small]) * times


def corners(small, factor):
    out = torch.zeros(*small.shape[:2], *(n * factor for n in small.shape[2:]), dtype=small.dtype)
    out[:, :, ::factor, ::factor] = small
    return out


def fit_by_autograd(noise_level, factor, y, x0_hat):
    x = x0_hat.clone().requires_grad_()
    return torch.autograd.grad(-(y - avg_pool2d(x, factor)).pow(2).sum() / (2 * noise_level**2), x)[0]


def fit_by_blocks(x0_hat, y, factor, noise_level):
    f, out = factor, torch.zeros_like(x0_hat)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            block = (..., slice(f * i, f * i + f), slice(f * j, f * j + f))
            misfit = y[..., i, j] - x0_hat[block].mean((-1, -2))
            out[block] = (misfit / f**2 / noise_level**2)[..., None, None]
    return out


def fit_of(score, small=avg_pool2d):
    """The gradient of another function of (e, noise_level)."""

    def fit_gradient(x0_hat, y, factor, noise_level):
        x = x0_hat.clone().requires_grad_()
        return torch.autograd.grad(score(y - small(x, factor), noise_level), x)[0]

    return fit_gradient


def sum_pool(x, factor):
    return avg_pool2d(x, factor, divisor_override=1)


def squares(e, level):
    return -e.square().sum() / (2 * level**2)


def pulled(by, small=avg_pool2d):
    def fit_gradient(x0_hat, y, factor, noise_level):
        return by(y - small(x0_hat, factor), factor) / noise_level**2

    return fit_gradient


# measured


def excess(variance, alpha_bar_t, noise_level):
    """Through precisions."""
    known = 1 / variance + alpha_bar_t / (1 - alpha_bar_t)
    return 1 + 1 / (known * noise_level**2)


def excess_by_steps(noise_level, alpha_bar_t, variance):
    C = variance - alpha_bar_t * variance**2 / (alpha_bar_t * variance + 1 - alpha_bar_t)
    return torch.tensor(C / noise_level**2) / torch.tensor(C / (C + noise_level**2))


def excess_with(of):
    def overshoot(variance, alpha_bar_t, noise_level):
        C = 1 / (1 / variance + alpha_bar_t / (1 - alpha_bar_t))
        return of(C, noise_level, variance, alpha_bar_t)

    return overshoot


def measured_by_precisions(noise_level, alpha_bar_t, cov, mean, A, y, x_t):
    s, n2 = alpha_bar_t**0.5, 1 - alpha_bar_t
    prior = cov.inverse()
    precision = prior + s**2 / n2 * torch.eye(len(cov), dtype=cov.dtype) + A.T @ A / noise_level**2
    right = (prior @ mean + s * x_t / n2 + y @ A / noise_level**2).T
    x0 = torch.linalg.solve(precision, right).T
    return [x0, (x_t - s * x0) / n2**0.5]


def measured_jointly(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    """x_t and y as one measurement of x_0."""
    s, D, M = alpha_bar_t**0.5, len(mean), len(A)
    H = torch.cat([s * torch.eye(D, dtype=cov.dtype), A])
    R = torch.tensor([1 - alpha_bar_t] * D + [noise_level**2] * M, dtype=cov.dtype).diag()
    gain = cov @ H.T @ torch.linalg.pinv(H @ cov @ H.T + R)
    x0 = mean + (torch.cat([x_t, y], 1) - mean @ H.T) @ gain.T
    return x0, (x_t - s * x0) / (1 - alpha_bar_t) ** 0.5


def measured_by_autograd(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    """The claim, with the right variance and its gradient."""
    s, n = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    x = x_t.clone().requires_grad_()
    gain = s * cov @ torch.linalg.inv(s**2 * cov + n**2 * torch.eye(len(cov), dtype=cov.dtype))
    x0 = mean + (x - s * mean) @ gain.T
    S = noise_level**2 * torch.eye(len(A), dtype=A.dtype) + n**2 / s * A @ gain @ A.T
    e = y - x0 @ A.T
    step = torch.autograd.grad(-(e @ S.inverse() * e).sum() / 2, x)[0]
    x0 = (x0 + n**2 / s * step).detach()
    return x0, (x_t - s * x0) / n


def step_with(S=None, pull=None, sign=1, look=None, end=None):
    """S: the variance of y; pull: from e to x_0, both made of A, C, gain, cov and σ_y."""

    def measured(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
        s, n = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
        one, D = torch.eye(len(A), dtype=A.dtype), len(cov)
        gain = s * cov @ torch.linalg.inv(s**2 * cov + n**2 * torch.eye(D, dtype=A.dtype))
        C, x0 = n**2 / s * gain, mean + (x_t - s * mean) @ gain.T
        eps = (x_t - s * x0) / n
        variance = S(A, C, gain, cov, noise_level, one) if S else A @ C @ A.T + noise_level**2 * one
        e = y - (look(x_t, s) if look else x0) @ A.T
        x0 = x0 + sign * e @ variance.inverse().T @ (pull(A, C, gain, cov) if pull else A @ C)
        new = (x_t - s * x0) / n
        return end(x0, eps, new) if end else (x0, new)

    return measured


def step_along_e(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    s, n = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    C = torch.linalg.inv(torch.linalg.inv(cov) + s**2 / n**2 * torch.eye(len(cov), dtype=A.dtype))
    x0 = mean + s / n**2 * (x_t - s * mean) @ C
    rows = []
    for x, e in zip(x0, y - x0 @ A.T, strict=True):
        p = A.T @ e
        rows.append(x + C @ p / (noise_level**2 + p @ C @ p / (e @ e)))
    x0 = torch.stack(rows)
    return x0, (x_t - s * x0) / n


def step_to_fit(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    s, n = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    x0 = mean + s * (x_t - s * mean) @ torch.linalg.inv(cov * s**2 + n**2 * torch.eye(len(cov), dtype=A.dtype)) @ cov
    x0 = x0 + torch.linalg.lstsq(A, (y - x0 @ A.T).T, driver="gelsd").solution.T
    return x0, (x_t - s * x0) / n


ANSWERS = {
    "psnr": Answers(
        right=[psnr_by_loops, psnr_in_unit_range, psnr_with()],
        wrong=[
            ("not the largest value", psnr_with(lambda b, low, high: high)),
            ("you took R = 1,", psnr_with(lambda b, low, high: 1)),
            ("you took R = 2,", psnr_with(lambda b, low, high: 2)),
            ("you took R = 255", psnr_with(lambda b, low, high: 255)),
            ("you took R from these pictures", psnr_with(lambda b, low, high: float(b.max() - b.min()))),
            ("the mean of each picture's PSNR", psnr_averaged),
            ("half of what it should be", psnr_with(log=lambda R, mse: 10 * math.log10(R / math.sqrt(mse)))),
            ("twice what it should be", psnr_with(log=lambda R, mse: 20 * math.log10(R**2 / mse))),
            ("the natural one", psnr_with(log=lambda R, mse: 10 * math.log(R**2 / mse))),
            ("upside down", psnr_with(log=lambda R, mse: 10 * math.log10(mse / R**2))),
            ("without its square", psnr_with(log=lambda R, mse: 10 * math.log10(R / mse))),
            ("the squares were summed up", psnr_with(mse=lambda a, b: (a - b).square().sum())),
            ("absolute errors", psnr_with(mse=lambda a, b: (a - b).abs().mean().square())),
            ("errors up and down cancel", psnr_with(mse=lambda a, b: (a - b).mean().square())),
            ("what lies outside", psnr_with(clip=False)),
            ("What is 3 − 5 in uint8", psnr_wrapping),
            ("the square of a difference in uint8", psnr_of_wrapped_squares),
            ("PyTorch takes no mean of bytes", psnr_of_bytes),
            ("one for each picture;", psnr_of_each),
        ],
    ),
    "denoised": Answers(
        right=[(sigma_of, denoised_by_ratio), (sigma_by_angle, denoise_with())],
        wrong=[
            ("as if the claim were right", (lambda level: level, denoise_with())),
            ("noise_t was multiplied", (lambda level: level * math.sqrt(1 - level**2), denoise_with())),
            ("which is signal_t there", (lambda level: math.sqrt(1 - level**2), denoise_with())),
            ("you divided by ᾱ_t", (lambda level: level / (1 - level**2), denoise_with())),
            ("σ_t is one of deviations", (lambda level: sigma_of(level) ** 2, denoise_with())),
            ("the ratio is upside down", (lambda level: 1 / sigma_of(level), denoise_with())),
            ("this is noise_t where", (lambda level: level / math.sqrt(1 + level**2), denoise_with())),
            ("were taken to add up to 1", (lambda level: level / (1 - level), denoise_with())),
            ("This still is the claim", (sigma_of, denoise_with(255, by_noise, as_it_is))),
            ("The unit is mended", (sigma_of, denoise_with(127.5, by_noise, as_it_is))),
            ("The table is mended", (sigma_of, denoise_with(255, feed=as_it_is))),
            ("both in the choice of t", (sigma_of, denoise_with(255, by_noise))),
            ("255 bytes are the whole width", (sigma_of, denoise_with(255))),
            ("the table does not count in bytes", (sigma_of, denoise_with(1))),
            ("fits the level of", (sigma_of, denoise_with(table=by_noise))),
            ("compared with a deviation", (sigma_of, denoise_with(table=lambda bar: (1 - bar) / bar))),
            ("the network is shown y itself", (sigma_of, denoise_with(feed=as_it_is))),
            ("y was divided by", (sigma_of, denoise_with(feed=lambda y, bar: y / bar**0.5))),
            ("a root is missing", (sigma_of, denoise_with(feed=lambda y, bar: y * bar))),
            ("is a clean picture already", (sigma_of, denoised_and_divided)),
            ("one off", (sigma_of, denoise_with(shift=-1))),
            ("the lower is nearer", (sigma_of, denoised_at(lambda sigma, there: int((sigma < 0.9999 * there).sum())))),
            (
                "the upper is nearer",
                (sigma_of, denoised_at(lambda sigma, there: int((sigma < 1.0001 * there).sum()) - 1)),
            ),
            (
                "Nobody has asked the network",
                (sigma_of, lambda **case: denoise_with()(**(case | {"denoise": lambda x_t, t: x_t}))),
            ),
        ],
    ),
    "stretched": Answers(
        right=[lambda variance, least: stretch(variance, least), stretch_expanded],
        wrong=[
            ("the posterior mean itself, unstretched", stretch_by(lambda V, M: 1)),
            ("grows with the square of a factor", stretch_by(lambda V, M: V / (V - M))),
            ("made paler still", stretch_by(lambda V, M: (1 - M / V) ** 0.5)),
            ("(10.11) ties the two", stretch_by(lambda V, M: (V / M) ** 0.5)),
            ("vary more or less than x_0", stretch_by(lambda V, M: (1 + M / V) ** 0.5)),
            ("which is more than x_0 does", stretch_by(lambda V, M: (V / (V + M)) ** 0.5)),
            ("the first term of a series", stretch_by(lambda V, M: 1 + M / V)),
            ("that is what a draw costs", stretch_costing(lambda V, M, k: 2 * M)),
            ("only the posterior mean has that", stretch_costing(lambda V, M, k: M)),
            ("(10.6) has two terms", stretch_costing(lambda V, M, k: (V**0.5 - (V - M) ** 0.5) ** 2)),
            ("whose variance is not", stretch_costing(lambda V, M, k: M + (k - 1) ** 2 * V)),
            ("k − 1 stands there without its square", stretch_costing(lambda V, M, k: M + (k - 1) * (V - M))),
            ("does not scale its error", stretch_costing(lambda V, M, k: k * k * M)),
            ("your two results have changed places", lambda variance, least: stretch(variance, least)[::-1]),
            ("How far is a from x̂_0", stretch_costing(lambda V, M, k: M + V)),
        ],
    ),
    "shrunk": Answers(
        right=[shrunk_by_loops, haar_with()],
        wrong=[
            ("the hard threshold", haar_with(lambda d, v: d * (d.abs() > v))),
            ("the picture's own brightness", haar_with(first=0)),
            ("and the differences were not", haar_with(first=0, last=1)),
            ("its sign is lost", haar_with(lambda d, v: torch.relu(d.abs() - v))),
            ("negative differences were all set to 0", haar_with(lambda d, v: torch.relu(d - v))),
            ("must end at 0, not beyond it", haar_with(lambda d, v: d - v * d.sign())),
            ("pushes it away from 0", haar_with(lambda d, v: d - v)),
            ("what the soft threshold takes away", haar_with(lambda d, v: d.sign() * d.abs().clamp(max=v))),
            ("the large ones were removed", haar_with(lambda d, v: d * (d.abs() <= v))),
            ("whatever their size", lambda y, threshold: copies(avg_pool2d(y, 2), 2)),
            ("with sums over 4", haar_with(there=0.25)),
            ("with sums over 1", haar_with(there=1.0)),
            ("another factor than the way there", haar_with(back=0.25)),
            ("the way back needs a factor", haar_with(back=1.0)),
            ("edges along rows and columns", haar_with(first=3)),
            ("noise lies in all three alike", haar_with(last=3)),
            ("λ was squared", haar_with(lambda d, v: d - d.clamp(-(v**2), v**2))),
            ("the pixels were shrunk", lambda y, threshold: y - y.clamp(-threshold, threshold)),
        ],
    ),
    "fit_gradient": Answers(
        right=[(adjoint_by_autograd, fit_by_autograd), (adjoint_by_copies, fit_by_blocks)],
        wrong=[
            ("The adjoint is not the inverse", (copies, fit_by_blocks)),
            ("a block whose side is", (lambda small, factor: copies(small, factor, 1 / factor), fit_by_blocks)),
            ("one pixel of each block got it all", (corners, fit_by_blocks)),
            (
                "one pixel of each block got a share",
                (lambda small, factor: corners(small, factor) / factor**2, fit_by_blocks),
            ),
            (
                "to the pixels of its own block",
                (lambda small, factor: torch.tile(small, (factor, factor)) / factor**2, fit_by_blocks),
            ),
            (
                "beside itself, without weights",
                (lambda small, factor: torch.tile(small, (factor, factor)), fit_by_blocks),
            ),
            ("stands upside down", (lambda small, factor: copies(small, factor, factor**2), fit_by_blocks)),
            (
                "bilinear interpolation",
                (lambda small, factor: interpolate(small, scale_factor=factor, mode="bilinear"), fit_by_blocks),
            ),
            (
                "bicubic interpolation",
                (
                    lambda small, factor: interpolate(small, scale_factor=factor, mode="bicubic") / factor**2,
                    fit_by_blocks,
                ),
            ),
            ("this is A again", (lambda small, factor: avg_pool2d(small, factor), fit_by_blocks)),
            ("so following it makes the fit worse", (adjoint_by_copies, fit_of(lambda e, v: -squares(e, v)))),
            ("enters by its variance", (adjoint_by_copies, fit_of(lambda e, v: squares(e, v) * v))),
            ("how sure is y", (adjoint_by_copies, fit_of(lambda e, v: squares(e, 1)))),
            ("more noise must pull less", (adjoint_by_copies, fit_of(lambda e, v: squares(e, 1) * v**2))),
            ("what stands before it in log p", (adjoint_by_copies, fit_of(lambda e, v: 2 * squares(e, v)))),
            ("what the square gives is not", (adjoint_by_copies, fit_of(lambda e, v: squares(e, v) / 2))),
            ("which has to fall", (adjoint_by_copies, fit_of(lambda e, v: (e / v).square().sum()))),
            (
                "All of them are evidence",
                (adjoint_by_copies, fit_of(lambda e, v: squares(e, v) / e[0].numel())),
            ),
            (
                "mean and factor both differ",
                (adjoint_by_copies, fit_of(lambda e, v: -(e / v).square().mean((1, 2, 3)).sum())),
            ),
            (
                "one pulls less if others come along",
                (adjoint_by_copies, fit_of(lambda e, v: squares(e, v) / e.numel())),
            ),
            ("the gradient of mse_loss", (adjoint_by_copies, fit_of(lambda e, v: -(e / v).square().mean()))),
            ("each has a y of its own", (adjoint_by_copies, fit_of(lambda e, v: squares(e, v) / len(e)))),
            (
                "pulls alike at all misfits",
                (adjoint_by_copies, fit_of(lambda e, v: -e.flatten(1).norm(dim=1).sum())),
            ),
            (
                "as with a step by trial",
                (adjoint_by_copies, fit_of(lambda e, v: -e.flatten(1).norm(dim=1).sum() / v**2)),
            ),
            ("e was enlarged by copies", (adjoint_by_copies, pulled(copies))),
            (
                "by picking one pixel of each block",
                (adjoint_by_copies, pulled(adjoint_by_copies, lambda x, f: x[:, :, ::f, ::f])),
            ),
            (
                "and pulls at no other",
                (adjoint_by_copies, fit_of(squares, lambda x, f: x[:, :, ::f, ::f])),
            ),
            ("instead of its mean was compared", (adjoint_by_copies, pulled(adjoint_by_copies, sum_pool))),
            ("your A sums over a block", (adjoint_by_copies, fit_of(squares, sum_pool))),
            (
                "is pulled to its block's value",
                (
                    adjoint_by_copies,
                    lambda x0_hat, y, factor, noise_level: (copies(y, factor) - x0_hat) / noise_level**2,
                ),
            ),
            (
                "y was pulled back",
                (adjoint_by_copies, pulled(adjoint_by_copies, lambda x, f: 0 * avg_pool2d(x, f))),
            ),
        ],
    ),
    "measured": Answers(
        right=[
            (excess, measured_by_precisions),
            (excess_by_steps, measured_jointly),
            (excess, measured_by_autograd),
            (excess, step_with()),
        ],
        wrong=[
            ("for any t", (excess_with(lambda C, v, V, bar: 1 + V / v**2), step_with())),
            ("which can be 0", (excess_with(lambda C, v, V, bar: C / v**2), step_with())),
            ("the right step over the claim's", (excess_with(lambda C, v, V, bar: 1 / (1 + C / v**2)), step_with())),
            ("and no ratio yet", (excess_with(lambda C, v, V, bar: C / (C + v**2)), step_with())),
            ("C is a variance", (excess_with(lambda C, v, V, bar: 1 + C / v), step_with())),
            ("not their roots", (excess_with(lambda C, v, V, bar: math.sqrt(1 + C / v**2)), step_with())),
            (
                "as if nothing were known of pictures",
                (excess_with(lambda C, v, V, bar: 1 + (1 / bar - 1) / v**2), step_with()),
            ),
            (
                "made of ∂x̂_0/∂x_t alone",
                (excess_with(lambda C, v, V, bar: 1 + C * bar**0.5 / (1 - bar) / v**2), step_with()),
            ),
            (
                "is the variance of x_t's noise",
                (excess_with(lambda C, v, V, bar: 1 + (1 - bar) / v**2), step_with()),
            ),
            ("The claim is unchanged", (excess, step_with(lambda A, C, gain, cov, v, one: v**2 * one))),
            ("as if y had no noise", (excess, step_with(lambda A, C, gain, cov, v, one: A @ C @ A.T))),
            (
                "a deviation was added to a variance",
                (excess, step_with(lambda A, C, gain, cov, v, one: A @ C @ A.T + v * one)),
            ),
            (
                "the covariance of all data stands",
                (excess, step_with(lambda A, C, gain, cov, v, one: A @ cov @ A.T + v**2 * one)),
            ),
            (
                "who has not seen x_t",
                (
                    excess,
                    step_with(
                        lambda A, C, gain, cov, v, one: A @ cov @ A.T + v**2 * one, lambda A, C, gain, cov: A @ cov
                    ),
                ),
            ),
            (
                "in both places",
                (
                    excess,
                    step_with(
                        lambda A, C, gain, cov, v, one: A @ gain @ A.T + v**2 * one, lambda A, C, gain, cov: A @ gain
                    ),
                ),
            ),
            ("pulls there, without the factor", (excess, step_with(pull=lambda A, C, gain, cov: A @ gain))),
            (
                "stands in the variance of y, without the factor",
                (excess, step_with(lambda A, C, gain, cov, v, one: A @ gain @ A.T + v**2 * one)),
            ),
            ("Aᵀ alone carries e back", (excess, step_with(pull=lambda A, C, gain, cov: A))),
            ("the sign is wrong", (excess, step_with(sign=-1))),
            ("one number for a matrix", (excess, step_along_e)),
            ("to the nearest x_0 that fits y best", (excess, step_to_fit)),
            ("is not divided by anything", (excess, step_with(lambda A, C, gain, cov, v, one: one))),
            (
                "only the diagonal of y's covariance",
                (
                    excess,
                    step_with(lambda A, C, gain, cov, v, one: (A @ C @ A.T).diagonal().diag() + v**2 * one),
                ),
            ),
            (
                "as if x_0 given x_t had variance 1",
                (excess, step_with(lambda A, C, gain, cov, v, one: A @ A.T + v**2 * one)),
            ),
            ("is still the one from before", (excess, step_with(end=lambda x0, old, new: (x0, old)))),
            ("was moved the same way", (excess, step_with(end=lambda x0, old, new: (x0, old + (old - new))))),
            ("Return x̂_0 first", (excess, step_with(end=lambda x0, old, new: (new, x0)))),
            ("the answer without y", (excess, step_with(sign=0))),
            ("compared with A(x_t),", (excess, step_with(look=lambda x_t, s: x_t))),
            ("compared with A(x_t/signal_t)", (excess, step_with(look=lambda x_t, s: x_t / s))),
        ],
    ),
}
