"""docs/your_own.md is run as it stands, from a folder of JPEGs of mixed sizes to the exported file."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from dcd_utils import __main__ as command_line
from dcd_utils.__main__ import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "your_own.md"
SIZES = [(90, 60), (64, 64), (50, 121), (200, 150), (40, 40)]


def photograph(kind: int, number: int) -> Image.Image:
    """A light or a dark thing on noise."""
    rng, (width, height) = np.random.default_rng([kind, number]), SIZES[number % len(SIZES)]
    pixels = rng.integers(80, 160, (height, width, 3), dtype=np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = (30, 220)[kind]
    return Image.fromarray(pixels)


@pytest.mark.filterwarnings("ignore")  # PyTorch's of its own future
def test_the_page_leads_from_a_folder_to_an_exported_student(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind, name in enumerate(("ants", "bees")):
        (tmp_path / "all_images" / name).mkdir(parents=True)
        for number in range(20):
            photograph(kind, number).save(f"all_images/{name}/{number}.jpg", quality=90)
    photograph(1, 99).save("photo.jpg")
    published, doctors = [], []

    def get_model(name, weights=None, original=torchvision.models.get_model, **options):
        published.append(weights)  # nothing is downloaded: fresh weights of a thousand outputs
        return original(name, **options)

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    monkeypatch.setattr(command_line.doctor, "doctor", lambda: doctors.append(1) or [])
    text = PAGE.read_text(encoding="utf-8").replace("epochs=30", "epochs=1").replace("--epochs 30", "--epochs 1")
    text = text.replace("--seeds 0 1 2", "--seeds 0")
    printed = ""
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/your_own.md", "exec"), {"__name__": "page"})
            continue
        for line in block.splitlines():
            python, module, package, *arguments = shlex.split(line)
            assert (python, module, package) == ("python", "-m", "dcd_utils")
            if "RUN" in arguments:
                [run] = re.findall(r"kept in (.*)", printed)
                arguments[arguments.index("RUN")] = run
            assert main(arguments) == 0, capsys.readouterr().err
            printed += capsys.readouterr().out
    printed += capsys.readouterr().out
    assert doctors == [1] and "DEFAULT" in published
    assert "my_images: 32 training and 8 test images of 64x64, 2 classes" in printed
    assert "torchvision/resnet18: its classifier is fresh" in printed and "| DCD+KD |" in printed
    assert "teacher  torchvision/resnet18" in printed and re.search("^(ants|bees)$", printed, re.MULTILINE)
    for name in ("my_images.png", "student.onnx", "small.onnx"):
        assert (tmp_path / name).stat().st_size > 5000
