"""A trained student as one file for use elsewhere, compared with the network that was trained."""

from __future__ import annotations

import copy
import io
import json
import os
import timeit
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from dcd_utils import files, models
from dcd_utils.models.weights import packed
from dcd_utils.records import read_record
from dcd_utils.training.runs import RECORD, Run

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


@dataclass(frozen=True)
class Exported:
    """An exported network: its file, the largest difference of its logits from the trained network's, and for each
    role ("student" and "teacher", or "network") a name, bytes, and milliseconds for one image on a CPU."""

    path: Path
    difference: float
    threads: int
    networks: dict[str, tuple[str, int, float]]

    def __str__(self) -> str:
        lines = [f'kept at "{self.path}": its logits differ by {self.difference:.1g} at most from the network\'s']
        width = max(len(name) for name, *_ in self.networks.values())
        for role, (name, size, ms) in self.networks.items():
            lines.append(f"{role:8} {name:{width}} {size / 1e6:8.2f} MB {ms:8.2f} ms for one image")
        if "teacher" in self.networks:
            (_, size, ms), (_, teacher_size, teacher_ms) = self.networks.values()
            ratio = f"{teacher_size / size:.2g} times smaller than the teacher, {teacher_ms / ms:.2g} times as fast"
            lines.append(f"{ratio} (CPU, {self.threads} thread{'s' * (self.threads > 1)})")
        return "\n".join(lines)


def export(run: Run | str | os.PathLike, to: str = "onnx", path: str | os.PathLike | None = None) -> Exported:
    """Write the network of a finished run into one file, after checking that the file answers as the network does.

    An ONNX or TorchScript file takes float32 images [B, 3, H, W], RGB in 0..1, any B, and gives logits [B, classes]; it
    carries the names of the classes with it. A safetensors file holds the weights under plain names; its metadata has
    the network's name, the classes, and mean and std for the normalisation.

    `run` is what `training.distill` returned, or the folder of a run; `to` is "onnx" (for onnxruntime and others),
    "torchscript" (for PyTorch without this package) or "safetensors"; `path` None: `data/exports/<name of the run>`.

    Raises, before any file is written, ValueError: an unknown format, no finished run, a network of your own in a
    folder (pass the Run) or one that the format cannot hold; ImportError: "onnx" without its packages; RuntimeError:
    the file answers otherwise than the network.
    """
    if to not in FORMATS:
        raise ValueError(f'"{to}" was given: export to one of {", ".join(FORMATS)}')
    if path is not None and (Path(path).is_dir() or Path(path).suffix in {*FORMATS.values()} - {FORMATS[to]}):
        raise ValueError(f'"{path}" was given for a file of {to}: name a file that ends in {FORMATS[to]}')
    run = run if isinstance(run, Run) else _read_run(Path(run))
    config, data = run.config, run.record["data"]
    networks = {"student" if "teacher" in config else "network": (run.model, config["network"])}
    # one of the teacher's shape: its weights change neither size nor time
    if "teacher" in config and (teacher := _created(config["teacher"], len(data["classes"]))):
        networks["teacher"] = teacher, config["teacher"]
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, *data["size"], generator=generator) * torch.linspace(0.3, 1, 8).view(8, 1, 1, 1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn of their own future
        made = [_made(network, facts, data, to, images) for network, facts in networks.values()]
        content, answer, network = made[0]
        expected = network(images)
        difference = max((answer(part) - expected[: len(part)]).abs().max().item() for part in (images, images[:1]))
        if not difference <= 1e-3 * max(1.0, expected.abs().max().item()):
            raise RuntimeError(f"not written: the {to} file's logits differ by {difference:.3g} from the network's")
        calls = [partial(answer, images[:1]) for _, answer, _ in made]
        rows = [[timeit.repeat(call, number=1, repeat=10)[2:] for call in calls] for _ in range(5)]  # two warm up
        times = (1000 * np.median(rows, axis=(0, 2))).tolist()
    path = Path(path or files.data_dir() / "exports" / f"{run.run_dir.resolve().name}{FORMATS[to]}")
    files.write_whole(path, content)
    each = zip(networks.items(), made, times, strict=True)
    measured = {role: (facts["name"], len(file), ms) for (role, (_, facts)), (file, *_), ms in each}
    return Exported(path, difference, torch.get_num_threads(), measured)


class _Normalised(nn.Module):
    """RGB in 0..1 to logits: the normalisation and the network."""

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def _made(network: nn.Module, facts: dict, data: dict, to: str, images: Tensor) -> tuple[bytes, Callable, nn.Module]:
    """Return the file of a network, what answers from it, and the network as it was, behind its normalisation."""
    network = _Normalised(copy.deepcopy(network).cpu().float(), data["mean"], data["std"]).eval()
    about = {"network": facts["name"], "options": facts["options"]} | {key: data[key] for key in ("classes", "size")}
    about["input"] = "images: float32 [B, 3, H, W], RGB in 0..1"
    if to == "safetensors":
        about |= {"mean": data["mean"], "std": data["std"], "input": "(RGB in 0..1 - mean) / std"}
    about = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    try:
        return *_WRITERS[to](network, images, about), network
    except (ImportError, OSError):
        raise
    except Exception as error:  # each exporter has its own kinds, for what it cannot express
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = f"try another of {', '.join(FORMATS)}"
        raise ValueError(f'"{facts["name"]}" cannot be written as {to} ({words}): {advice}') from error


def _read_run(folder: Path) -> Run:
    if not (folder / RECORD).is_file():
        raise ValueError(f'"{folder}" is no folder of a run: `distill` and `train` print where they keep theirs')
    record = read_record(folder / RECORD)
    if record["state"] != "finished" or "classes" not in record["data"]:
        state = "of an older version" if record["state"] == "finished" else record["state"]
        raise ValueError(f'the run in "{folder}" is {state}: only a finished one that names its classes is exported')
    facts = record["config"]["network"]
    if (network := _created(facts, len(record["data"]["classes"]))) is None:
        advice = "only your code can build it. Pass the Run that distill or train returned to experiments.export"
        raise ValueError(f'"{facts["name"]}" is a network of your own: {advice}')
    return Run(models.load_weights(network, folder), record, folder, ValueError("not read"))


def _created(facts: dict, num_classes: int) -> nn.Module | None:
    """A network as a config tells of it, with fresh weights; None where only somebody's own code can build it."""
    if {"code", "version"} & set(facts):
        return None
    return models.create(facts["name"], num_classes, seed=0, **{**facts["options"], "pretrained": False})


def _onnx(network: _Normalised, images: Tensor, about: dict[str, str]) -> tuple[bytes, Callable]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, PyTorch's exporter is written with it
    except ImportError as error:
        words = f"ONNX needs {error.name}, which is not installed: pip install onnx onnxruntime onnxscript"
        raise ImportError(words) from error
    names = {"input_names": ["images"], "output_names": ["logits"]}
    names["dynamic_shapes"] = {"images": {0: torch.export.Dim("batch")}}
    model = torch.onnx.export(network, (images,), dynamo=True, verbose=False, **names).model_proto
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    content, options = model.SerializeToString(), onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _torchscript(network: _Normalised, images: Tensor, about: dict[str, str]) -> tuple[bytes, Callable]:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, (images,)), buffer, _extra_files={"about.json": json.dumps(about)})
    return buffer.getvalue(), torch.jit.load(io.BytesIO(buffer.getvalue()))


def _safetensors(network: _Normalised, images: Tensor, about: dict[str, str]) -> tuple[bytes, Callable]:
    content, twin = packed(network.network, about), copy.deepcopy(network)
    twin.network.load_state_dict(load(content))
    return content, twin


_WRITERS = {"onnx": _onnx, "torchscript": _torchscript, "safetensors": _safetensors}
