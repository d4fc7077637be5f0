"""What all tests share."""

import pytest
import torch


def pytest_configure(config):
    torch.set_num_threads(1)  # tests run in parallel, one thread each


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "gpu" in item.keywords:
            # What torch imports for a GPU, its compiler above all, warns of what other packages deprecate.
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"))


@pytest.fixture
def no_display():
    """Draw without a window, and leave pyplot as it was."""
    from matplotlib import pyplot as plt

    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)
