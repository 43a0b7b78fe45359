"""Notebook 01: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy


def _soft(logits, temperature, axis=1):
    return softmax(logits.numpy() / temperature, axis=axis)


def _crop_and_flip(top, left, flip):
    return 18 * top + 2 * left + flip


MISTAKES = {
    "01.1": [
        (lambda logits, temperature: _soft(logits, 1 / temperature), "sharpens"),
        (lambda logits, temperature: _soft(logits, 1) / temperature, "before or after"),
        (lambda logits, temperature: _soft(logits, temperature, axis=0), "sum to 1 over the classes"),
        (lambda logits, temperature: _soft(logits, 1) ** (1 / temperature), "ratios between classes"),
        (lambda logits, temperature: np.log(_soft(logits, temperature)), "logarithms"),
        (lambda logits, temperature: _soft(logits, 1), "not used yet"),
    ],
    "01.2": [
        (lambda logits, temperature: np.exp(entropy(_soft(logits, temperature), axis=1).mean()), "too early"),
        (lambda logits, temperature: entropy(_soft(logits, temperature), axis=1).mean(), "Which function of it"),
        (lambda logits, temperature: np.exp(-entropy(_soft(logits, temperature), axis=1)).mean(), "sign"),
        (lambda logits, temperature: np.exp(entropy(_soft(logits, temperature), base=2, axis=1)).mean(), "in bits"),
        (lambda logits, temperature: 2 ** entropy(_soft(logits, temperature), base=2, axis=1), "right for each image"),
        (lambda logits, temperature: np.exp(entropy(_soft(logits, 1), axis=1)).mean(), "not used yet"),
    ],
    "01.3": [
        (lambda down, right, flip: _crop_and_flip(4 - down, 4 - right, flip), "Mirroring comes last"),
        (lambda down, right, flip: _crop_and_flip(4 + down, 4 + (-right if flip else right), flip), "reversed"),
        (lambda down, right, flip: _crop_and_flip(4 + down, 4 + right, flip), "where does the picture go"),
        (lambda down, right, flip: 9 * (4 - down) + (4 + right if flip else 4 - right) + flip * 81, "numbering"),
        (lambda down, right, flip: _crop_and_flip(4 + right if flip else 4 - right, 4 - down, flip), "changed places"),
        (lambda down, right, flip: _crop_and_flip(-down, right if flip else -right, flip), "changes nothing"),
    ],
}
