"""Shared by the tests of experiments: small image sets that have a name."""

from dataclasses import replace

import pytest


@pytest.fixture
def tiny(tiny_sets):
    """(train, test) of 40 and 20 random images of 16x16 in 3 classes, called tiny."""
    return tuple(replace(images, name="tiny") for images in tiny_sets)
