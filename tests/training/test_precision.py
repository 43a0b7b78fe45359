import pytest
import torch

from dcd_utils import models, runtime
from dcd_utils.training.precision import resolve_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_bf16_is_refused_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    assert resolve_precision("auto", GPU) == "fp32" == resolve_precision("fp32", GPU)
    assert resolve_precision("bf16", CPU) == "bf16", "a CPU emulates it"
    with pytest.raises(ValueError, match="Old GPU does not compute in bfloat16: choose precision"):
        resolve_precision("bf16", GPU)


def test_auto_precision_goes_by_the_network_on_a_cpu(monkeypatch):
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: True)
    for name, expected in {"resnet8": "bf16", "MobileNetV2": "fp32", "ShuffleV1": "fp32", "ShuffleV2": "fp32"}.items():
        network = models.create(name, 10)
        assert resolve_precision("auto", CPU, network) == expected
        assert resolve_precision("auto", GPU, network) == "bf16"
        assert resolve_precision("bf16", CPU, network) == "bf16", "what is asked for is done"
