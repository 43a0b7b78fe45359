"""Our networks against the public ones, by figures that any implementation can compute again.

`golden_networks.json` was written by RepDistiller's networks, not by ours. Every number of their state dicts came from
`fill` (the bits of PCG64 under the checksum of the tensor's name, so no library's random stream is involved), and the
images from the same formula; they ran in float64 and eval mode, once with `is_feat=True` and once more with
`preact=True`. An entry holds the shape of a map, the sum of its values, and their sum weighted by position, which
notices an exchange of channels.

Loaded with the same state dict, our networks agreed with theirs element by element. The largest difference over all 22,
over every map, the pooled features and the logits, with and without `preact`, was 6e-16 of the tensor's largest value
in float64, 3e-7 in float32, and 3e-6 where ours ran in float32 channels-last against theirs in the usual layout.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dcd_utils import models

GOLDEN = json.loads(Path(__file__).with_name("golden_networks.json").read_text(encoding="utf-8"))


def formula(name, shape):
    """Numbers in [-1, 1) that depend on a name alone."""
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return torch.from_numpy((bits >> np.uint64(11)) * 2.0**-52 - 1).view(shape)


def fill(state):
    """Weights and statistics by formula, scaled so that signals neither vanish nor explode in depth."""
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point:
            values = formula(name, tensor.shape)
            if tensor.ndim > 1:
                values *= (6 / tensor[0].numel()) ** 0.5
            elif name.endswith("running_var"):
                values = 1 + values / 2
            elif name.endswith("weight"):
                values = 0.75 + values / 4
            else:
                values /= 4
            tensor.copy_(values)


def figures(tensor):
    values = tensor.double().flatten()
    weights = torch.arange(1, len(values) + 1, dtype=torch.float64) / len(values)
    return list(tensor.shape), values.sum().item(), (values * weights).sum().item()


@pytest.mark.parametrize("name", models.names())
@torch.no_grad()
def test_golden_sums(name):
    with torch.device("meta"):  # no initial weights: `fill` writes every number
        model = models.create(name, 100)
    model = model.double().to_empty(device="cpu").eval()
    fill(model.state_dict())
    images = formula("images", (2, 3, 32, 32))
    usual, before = model.features(images), model.features(images, preactivation=True)
    found = {
        "maps": [*map(figures, usual.maps)],
        "preactivation": [*map(figures, before.maps)],
        "pooled": [figures(usual.pooled)],
        "logits": [figures(usual.logits)],
    }
    for part, expected in GOLDEN[name].items():
        assert len(found[part]) == len(expected)
        for (shape, total, weighted), (golden_shape, *golden) in zip(found[part], expected, strict=True):
            assert shape == golden_shape, part
            assert [total, weighted] == pytest.approx(golden, rel=1e-9), part
    assert torch.equal(usual.pooled, before.pooled) and torch.equal(usual.logits, before.logits)
    assert torch.equal(model(images), usual.logits)


def test_the_file_covers_every_network_in_order():
    assert list(GOLDEN) == models.names()
