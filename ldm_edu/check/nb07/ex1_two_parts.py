"""Exercise 7.1, distortion and rate: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise

TAU = 2 * math.pi


def _missed(x, m, s2, g, v):
    """E_q of −log p(x|ℓ)."""
    return math.log(TAU * v) / 2 + ((x - g * m) ** 2 + g**2 * s2) / (2 * v)


def _log_q(s2):
    return -math.log(TAU * math.e * s2) / 2


def _surprise(m, s2):
    """E_q of −log p(ℓ)."""
    return (math.log(TAU) + m**2 + s2) / 2


def _made(distortion=_missed, rate=lambda m, s2: _log_q(s2) + _surprise(m, s2), swap=False):
    def two_parts(x, mean, variance, gain, decoder_variance):
        both = distortion(x, mean, variance, gain, decoder_variance), rate(mean, variance)
        return both[::-1] if swap else both

    return two_parts


_two_parts = _made()


def _says(text):
    """A sentence with both parts, and with −log p(x), below which their sum cannot lie."""

    def sentence(case, got, want):
        total = case.gain**2 + case.decoder_variance
        exact = (math.log(TAU * total) + case.x**2 / total) / 2
        return text.format(
            distortion=f"{got[0].item():.4f}", rate=f"{got[1].item():.4f}", exact=f"{exact:.4f}",
            sum=f"{(got[0] + got[1]).item():.4f}", right=f"{want[1].item():.4f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(distortion=lambda x, m, s2, g, v: _missed(x, m, 0, g, v)),
        _says("Your distortion is {distortion}: that is for the code's mean alone. ℓ varies, and the picture with it."),
    ),
    Known(
        _made(distortion=lambda x, m, s2, g, v: _missed(x, m, s2 / g**2, g, v)),
        _says("Your distortion is {distortion}: the code's variance reaches the picture through the decoder's gain."),
    ),
    Known(
        _made(distortion=lambda x, m, s2, g, v: _missed(x, m, s2, g, v) - math.log(TAU * v) / 2),
        _says("Your sum is {sum}, and −log p(x) is {exact}: the distortion lacks the density's own factor, 1/√(2π v)."),
    ),
    Known(
        _made(distortion=lambda x, m, s2, g, v: -_missed(x, m, s2, g, v)),
        _says("Your distortion is {distortion}: it is E[−log p(x|ℓ)], with the minus."),
    ),
    Known(
        _made(rate=lambda m, s2: -_log_q(s2) - _surprise(m, s2)),
        _says("Your rate is {rate}. A divergence is never below 0: the signs are turned round."),
    ),
    Known(
        _made(rate=_surprise),
        _says("Your rate is {rate}: q(ℓ|x) does not occur in it, so a sharper code would cost no more."),
    ),
    Known(
        _made(rate=lambda m, s2: _log_q(s2)),
        _says("Your rate is {rate}: the prior p(ℓ) does not occur in it, so any code would be as good."),
    ),
    Known(
        _made(rate=lambda m, s2: _surprise(m, s2) - _log_q(s2)),
        _says("Your rate is {rate}: E[log q(ℓ|x)] enters with a plus; you took it away."),
    ),
    Known(
        _made(rate=lambda m, s2: 2 * (_log_q(s2) + _surprise(m, s2))),
        _says("Your rate is {rate}, twice what it should be: a Gaussian's exponent has a ½."),
    ),
    Known(
        _made(rate=lambda m, s2: (math.log(s2) + (1 + m**2) / s2 - 1) / 2),
        _says(
            "Your rate is {rate}, KL(p(ℓ) ‖ q(ℓ|x)): the mean is over q, so the divergence goes the other way round."
        ),
    ),
    Known(
        _made(rate=lambda m, s2: (m**2 + s2 - 1) / 2 - math.log(s2)),
        _says("Your rate is {rate}: log s² enters in full. Which power of s² is in a Gaussian's density?"),
    ),
    Known(
        lambda **case: tuple(part / math.log(2) for part in _two_parts(**case)),
        _says("Your distortion is {distortion} and your rate {rate}: these are bits. Here log is the natural one."),
    ),
    Known(_made(swap=True), _says("You return {distortion} first: the order is distortion, then rate.")),
)


def _try(two_parts):
    rows = [
        (1.2, 0.7, 0.5, 0.8, 0.3),
        (-0.4, 0.3, 2.0, 1.5, 0.7),
        (2.0, -1.0, 0.1, 0.5, 2.0),
        (0.0, 0.0, 0.6, 2.0, 0.05),
    ]
    names = ("x", "mean", "variance", "gain", "decoder_variance")
    cases = [dict(zip(names, row, strict=True)) for row in rows]
    compare(two_parts, _two_parts, cases, _KNOWN, ("the distortion", "the rate"))


two_parts = Exercise(
    title="Distortion and rate, in closed form",
    kind="derive",
    answers=("two_parts",),
    trial=_try,
    points=3,
    written=3,
    difficulty=2,
    minutes=25,
    hints=(
        "Write −log of a Gaussian: ½ log(2π v) + (x − μ)²/(2v). Then average over ℓ ~ q, term by term.",
        "For ℓ ~ N(m, s²): E(x − gℓ)² = (x − gm)² + g²s², and E ℓ² = m² + s². In log q the mean of (ℓ − m)² is s².",
        "Distortion: ½ log(2πv) + ((x − gm)² + g²s²)/(2v). Rate: ½ (m² + s² − 1 − log s²).",
    ),
)
