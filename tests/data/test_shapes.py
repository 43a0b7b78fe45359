import os
import subprocess
import sys
import time

import pytest
import torch

from dcd_utils import data
from dcd_utils.data import shapes

DIGESTS = {
    "shapes": (
        "38940d1b49362bc0cc5b501200b3bccbf1c3f16a75755a8f7e70e33580db5bce",
        "070c5bf77b64cdbeddae4610f5a2e9effec397598853e7c7bf87a6accb861a4b",
    ),
    "new_shapes": (
        "2b0b6b49a14c98bfbd58102eaa8e7d1c89a2a1d8cfc779b1a4feee8fdf03e097",
        "1909dfdda11ac7d52f6c96852de4472552f076dffe789fe8ebef1f934ea18318",
    ),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_same_images_everywhere_and_quick(name):
    start = time.process_time()
    train, test = data.load(name, device="cpu")
    seconds = time.process_time() - start
    assert (train.digest(), test.digest()) == DIGESTS[name]
    assert seconds < 8 and train.name == name


def test_vector_instructions_make_no_difference():
    """In another process, where NumPy leaves this processor's vector instructions aside."""
    code = "from dcd_utils import data\n"
    code += f"print(*(part.digest() for name in {[*DIGESTS]} for part in data.load(name, device='cpu')))"
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_ICL"}
    command = [sys.executable, "-W", "ignore", "-c", code]  # NumPy warns of features that are not there anyway
    output = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    assert output.stdout.split() == [digest for pair in DIGESTS.values() for digest in pair]


def test_contents():
    train, test = shapes.load(400, 200)
    assert (len(train), len(test), train.num_classes) == (400, 200, 20)
    assert train.images.shape[1:] == (3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [20] * 20
    assert len(set(train.classes)) == 20
    for name, superclass in zip(train.classes, train.superclasses, strict=True):
        assert name.endswith(train.superclass_names[superclass])
    same = (train.images[:, None, :, ::8, ::8] == test.images[None, :, :, ::8, ::8]).flatten(2).all(-1)
    assert not same.any(), "a test image stands in the training set"
