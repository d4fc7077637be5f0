"""The notebooks' profile, and where and how exactly to compute."""

import pytest
import torch

from ldm_edu.profile import VARIABLE, device, pick_precision, profile


@pytest.mark.parametrize(("there", "expected"), [(True, "gpu"), (False, "cpu")])
def test_the_device_chooses_where_nothing_is_said(monkeypatch, there, expected):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert profile() == expected
    assert device().type == ("cuda" if there else "cpu")


@pytest.mark.parametrize("asked", ["cpu", "gpu"])
@pytest.mark.parametrize("there", [True, False])
def test_the_variable_overrides_the_device(monkeypatch, asked, there):
    monkeypatch.setenv(VARIABLE, asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert profile() == asked


def test_another_word_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "tpu")
    with pytest.raises(ValueError, match="'tpu'"):
        profile()


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16"), (False, "no")])
def test_precision_is_halved_where_that_is_fast(monkeypatch, fast, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    for place in ("cpu", "cuda"):
        assert pick_precision("auto", place) == expected
        assert [pick_precision(name, place) for name in ("no", "bf16")] == ["no", "bf16"]


def test_this_processor_is_asked():
    assert pick_precision("auto", "cpu") in ("no", "bf16")  # torch has the question that monkeypatch answered above


def test_fp16_needs_a_gpu():
    assert pick_precision("fp16", "cuda") == "fp16"
    with pytest.raises(ValueError, match="on a CPU use auto, bf16 or no"):
        pick_precision("fp16", "cpu")
