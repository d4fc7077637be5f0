"""The notebooks' profile."""

import pytest
import torch

from ldm_edu.profile import VARIABLE, device, profile


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
