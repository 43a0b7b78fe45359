"""How far a frozen representation travels: a linear classifier on its features, for other classes and other images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from dcd_utils.analysis.features import extract

FEWEST = 5  # images of a class, so that a fifth of them is at least one


class LinearProbe(NamedTuple):
    """What a linear classifier on frozen features reaches: top-1 % on the test and on the training images, with the
    chosen C (scikit-learn's inverse strength of regularisation); for each C tried, top-1 % on the held-out fifth of the
    training images; and a class for each test image, int64 [M]."""

    accuracy: float
    train_accuracy: float
    C: float
    held_out: dict[float, float]
    predictions: np.ndarray


def linear_probe(model: nn.Module, train, test, seed: int = 0, candidates: Sequence[float] = (0.001, 0.01, 0.1, 1, 10),
                 batch_size: int | None = None) -> LinearProbe:
    """Train a linear classifier on the penultimate features of a frozen network, and test it.

    The question is that of CRD's transfer experiment (Tian et al. 2020, arXiv:1910.10699): how good are the features
    of a distilled student for data that it never saw? Features are computed once, in eval mode and without
    augmentation, standardised by the training images, and classified by multinomial logistic regression (L-BFGS). Its
    C is the one that does best on a held-out fifth of the training images (stratified; the smaller of equals), then
    all training images are fitted with it. The test images decide nothing, and there is no learning rate to tune.

    Compare with that paper's figures loosely: its public code trains for 120 epochs of SGD on augmented images, and
    leaves batch norm in train mode meanwhile, so the backbone's running statistics drift to the new data.

    Args:
        model: any network that `extract` reads, with outputs for whatever classes. Weights, buffers and modes stay.
        train, test: image sets of the same classes.
        seed: decides which training images are held out.
        candidates, batch_size: values of C to choose from; as in `extract`.

    Raises ValueError if train and test disagree about classes, for a class with fewer than 5 training images, fewer
    than two classes, candidates that are not positive, and what `extract` refuses.
    """
    from sklearn.model_selection import train_test_split

    if tuple(train.classes) != tuple(test.classes):
        train_has, test_has = (f"{len(part.classes)} classes ({part.classes[0]}, ...)" for part in (train, test))
        raise ValueError(f"train has {train_has}, test {test_has}: both must come from one data.load")
    candidates = sorted({float(candidate) for candidate in candidates})
    if not candidates or not 0 < candidates[0] <= candidates[-1] < float("inf"):
        raise ValueError(f"candidates={candidates} was given: pass positive values of C, for instance (0.01, 0.1, 1)")
    if len(train.classes) < 2:
        raise ValueError(f"there is 1 class ({train.classes[0]}): a classifier needs at least 2")
    features, _, labels = extract(model, train, batch_size)
    test_features, _, test_labels = extract(model, test, batch_size)
    counts = np.bincount(labels, minlength=len(train.classes))
    if len(few := np.flatnonzero(counts < FEWEST)):
        found = f"{len(few)} of {len(counts)} classes have fewer than {FEWEST} training images"
        first = f'("{train.classes[few[0]]}" has {counts[few[0]]})'
        raise ValueError(f"{found} {first}: a fifth of each class is held out, so pass at least {FEWEST} of each")
    fitted, held_out = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    scores = {}
    for candidate in candidates:
        classifier = _classifier(candidate, features[fitted], labels[fitted])
        scores[candidate] = _accuracy(classifier.predict(features[held_out]), labels[held_out])
    best = max(candidates, key=scores.get)
    classifier = _classifier(best, features, labels)
    predictions, train_accuracy = classifier.predict(test_features), _accuracy(classifier.predict(features), labels)
    return LinearProbe(_accuracy(predictions, test_labels), train_accuracy, best, scores, predictions)


def _classifier(C, features, labels):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    # its many small products are done before a second thread has woken up: one thread is ten times as fast
    with threadpool_limits(1, user_api="blas"):
        return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(features, labels)


def _accuracy(predictions, labels) -> float:
    return 100 * int((predictions == labels).sum()) / len(labels)
