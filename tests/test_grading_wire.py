"""Values come back as they went, and nothing else comes in."""

import json

import numpy as np
import pytest
import torch

from ldm_edu.grading import wire

VALUES = [
    None, True, 3, -2.5, float("inf"), "ε", [1, [2.0]], (1, "a"), {"k": (None,)}, torch.zeros(0, 3), torch.tensor(7),
    torch.arange(6, dtype=torch.float64).view(2, 3) / 7, torch.tensor([True, False]),
    torch.ones(3, dtype=torch.bfloat16),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_as_they_went(value):
    back = wire.decode(json.loads(json.dumps(wire.encode(value, []))), None)
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype
        assert torch.equal(back, value)
    else:
        assert back == value
        assert type(back) is type(value)


GARBLED = [
    [], {}, {"object": 1}, {"tensor": "object", "shape": [1], "data": ""},
    {"tensor": "uint8", "shape": [9**9], "data": ""},
    {"tensor": "float32", "shape": [-1], "data": ""}, {"tensor": "int64", "shape": [1], "data": "AAAA"},
    {"function": "x"},
    {"list": 3}, {"dict": []}, {"schedule": [{"list": []}]}, {"tensor": "float32", "data": ""},
]  # fmt: skip


@pytest.mark.parametrize("data", GARBLED, ids=str)
def test_what_is_no_value_is_refused(data):
    with pytest.raises(wire.Garbled):
        wire.decode(data, lambda number: None)


def test_kinds_that_do_not_travel():
    for value in (object(), torch.zeros(2, dtype=torch.complex64), {1: 2}, {3}):
        with pytest.raises(ValueError, match="does not travel"):
            wire.encode(value, [])


def test_an_array_that_runs_backwards_travels_too():
    back = wire.decode(json.loads(json.dumps(wire.encode(np.arange(3.0)[::-1], []))), None)
    assert back.tolist() == [2.0, 1.0, 0.0]
