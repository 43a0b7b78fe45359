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
        "c94a53e198366082cbbe11e98c2354d95f49b0ac747266153238bf6347f59d8a",
        "b65006b1bb8b079540259aac02340e6b31fb81b58b8bab32d049809ce5fd8e91",
    ),
    "new_shapes": (
        "a9df7cca9dbb30b3bcdee58a44b9be2cd71ae9bc412f7daec2f6875cf94b8910",
        "e1b896ddc53caf3d2b65dea38a3b442a0cc3a9a443a2d76b1be132a8b3a1a423",
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
