"""Shared by all tests: a data folder of their own, quiet progress bars, and small image sets."""

import os

os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is imported
os.environ["PYTHONIOENCODING"] = "utf-8"  # tests read what children print as UTF-8; on Windows it would be another

import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path, monkeypatch):
    """Runs and caches of a test never meet those of the reader."""
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def shapes():
    """(train, test) of the embedded data set, small."""
    from dcd_utils import data

    return data.load("shapes", train_size=240, test_size=100, device="cpu")


@pytest.fixture
def tiny_sets():
    """(train, test) of 40 and 20 random images of 16x16 in 3 classes."""
    from dcd_utils.data import ImageSet

    def make(size, seed):
        images = torch.randint(
            0, 256, (size, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
        )
        return ImageSet(images, torch.arange(size) % 3, ("a", "b", "c"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    return make(40, 0), make(20, 1)
