"""Notebook 06: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import torch.nn.functional as F


def _kernel(features):
    unit = F.normalize(features, dim=1)
    return 0.5 + 0.5 * unit @ unit.T


def _products(first, second):
    return first.flatten(2) @ second.flatten(2).transpose(1, 2)


def _cka(x, y):
    return (x.T @ y).pow(2).sum() / ((x.T @ x).norm() * (y.T @ y).norm())


MISTAKES = {
    "06.1": [
        (lambda f: _kernel(f) / _kernel(f).sum(dim=0), "every *column* adds up"),
        (lambda f: _kernel(f), "do not add up to one yet"),
        (lambda f: F.normalize(f) @ F.normalize(f).T / (F.normalize(f) @ F.normalize(f).T).sum(1)[:, None], "negative"),
        (lambda f: (f @ f.T + 1) / (f @ f.T + 1).sum(dim=1, keepdim=True), "long features"),
        (lambda f: F.softmax(_kernel(f), dim=1), "softmax"),
        (lambda f: F.normalize(_kernel(f).fill_diagonal_(0), p=1, dim=1), "left out"),
    ],
    "06.2": [
        (lambda a, b: _products(a, b), "the sum over positions"),
        (lambda a, b: _products(b, a) / (a.shape[2] * a.shape[3]), "changed places"),
        (lambda a, b: (_products(a, b) / (a.shape[2] * a.shape[3])).mean(dim=0), "were averaged"),
        (lambda a, b: _products(a, b) / a.shape[2], "how many positions"),
    ],
    "06.3": [
        (lambda s, t: _cka(s - s.mean(0), t - t.mean(0)), "1 for equal networks"),
        (lambda s, t: 1 - _cka(s, t), "*centred*"),
        (lambda s, t: 1 - _cka(s - s.mean(1)[:, None], t - t.mean(1)[:, None]), "each feature over the images"),
        (lambda s, t: -_cka(s - s.mean(0), t - t.mean(0)), "right slope"),
    ],
}
