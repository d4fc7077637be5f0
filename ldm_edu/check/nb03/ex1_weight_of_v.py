"""Exercise 3.1, the bound's weight of an error of v: how its answers are checked."""

from __future__ import annotations

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _of(weight):
    """A weight made of SNR_{t−1} and SNR_t."""

    def of(alpha_bar_before, alpha_bar_t):
        return weight(alpha_bar_before / (1 - alpha_bar_before), alpha_bar_t / (1 - alpha_bar_t))

    return of


_weight = _of(lambda s, t: (s - t) / 2 / (t + 1))

_KNOWN = (
    Known(
        _of(lambda s, t: (s - t) / 2),
        "You get {got:.4f}: this weight belongs to ‖x_0 − x̂_0‖². How large is ‖v − v̂‖² beside that?",
    ),
    Known(
        _of(lambda s, t: (s / t - 1) / 2),
        "You get {got:.4f}: this is w_t of (3.13), the weight of ‖ε − ε̂‖². For v divide by another factor of (3.23).",
    ),
    Known(
        _of(lambda s, t: (s - t) / (t + 1)),
        "You get {got:.4f}, twice the weight: the ½ of (3.11) is lost.",
    ),
    Known(
        _of(lambda s, t: (t - s) / 2 / (t + 1)),
        "You get {got:.4f}, which is negative: SNR falls with t, so SNR_{{t−1}} is the larger one.",
    ),
    Known(
        _of(lambda s, t: (s - t) / 2 * (t + 1)),
        "You get {got:.4f}: the error of v is larger than that of x_0, so its weight must be smaller; you multiplied.",
    ),
    Known(
        _of(lambda s, t: (s - t) / 2 / (s + 1)),
        "You get {got:.4f} with SNR_{{t−1}} + 1 below: v is predicted at t, so (3.23) holds with SNR_t.",
    ),
    Known(
        lambda alpha_bar_before, alpha_bar_t: (
            (alpha_bar_before / (1 - alpha_bar_before) - alpha_bar_t / (1 - alpha_bar_t)) / 2 * alpha_bar_t
        ),
        "You get {got:.4f}: 1/(SNR_t + 1) is the noise's power 1 − ᾱ_t, and you took the signal's.",
    ),
)


def _try(weight_of_v):
    pairs = [(0.7, 0.4), (0.9999, 0.99), (0.02, 0.01), (0.6, 0.59)]
    cases = [{"alpha_bar_before": a, "alpha_bar_t": b} for a, b in pairs]
    compare(weight_of_v, _weight, cases, _KNOWN, ("the weight",))


weight_of_v = Exercise(
    title="The bound's weight of an error of v",
    kind="derive",
    answers=("weight_of_v",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=20,
    hints=(
        "(3.11) has the weight of ‖x_0 − x̂_0‖². One line of (3.23) turns that error into ‖v − v̂‖².",
        "‖x_0 − x̂_0‖² = ‖v − v̂‖² / (SNR_t + 1). Both SNRs follow from ᾱ: SNR = ᾱ/(1 − ᾱ).",
        "½ (SNR_{t−1} − SNR_t)/(SNR_t + 1), which is also ½ (SNR_{t−1} − SNR_t)(1 − ᾱ_t).",
    ),
)
