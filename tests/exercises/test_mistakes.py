"""A mistake is recognised by its values: here are some of each notebook, written otherwise than in the package."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import entropy, t, ttest_ind, ttest_rel
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from dcd_utils import exercises


def greedy_share(student, teacher):
    return np.mean([int(np.argmax(teacher.numpy() @ row.numpy())) == i for i, row in enumerate(student)])


def decayed_scale(steps, learning_rate, weight_decay, momentum):
    """Decays the scale instead of t: (velocity, scale) after a step is a matrix times what it was before."""
    step = [[momentum, weight_decay], [-learning_rate * momentum, 1 - learning_rate * weight_decay]]
    return (np.linalg.matrix_power(np.array(step), steps) @ [0, math.e])[1]


def euclidean_knn(train, train_labels, test, test_labels, k):
    return 100 * KNeighborsClassifier(k).fit(train, train_labels).score(test, test_labels)


def half_centred(kernel, other):
    kernel, other = ((np.eye(len(k)) - 1 / len(k)) @ k for k in (kernel, other))
    return np.trace(kernel.T @ other) / np.linalg.norm(kernel) / np.linalg.norm(other)


def dead_feature_forgotten(train, test):
    with np.errstate(divide="ignore", invalid="ignore"):
        return (train - train.mean(axis=0)) / train.std(axis=0), (test - train.mean(axis=0)) / train.std(axis=0)


def same_tensors(network, images):
    before = network.state_dict()
    network(images)
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def parameters_only(network, images):
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network(images)
    return all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def voters(train, train_labels, test, k):
    """Labels [M, k] of the nearest training images, by cosine."""
    train, test = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, test))
    return train_labels[np.argsort(-test @ train.T, axis=1)[:, :k]]


def mean_of_labels(train, train_labels, test, test_labels, k):
    return 100 * (np.round(voters(train, train_labels, test, k).mean(axis=1)) == test_labels).mean()


def vote_shares(train, train_labels, test, test_labels, k):
    return 100 * (voters(train, train_labels, test, k) == test_labels[:, None]).mean()


def diagonal_at_zero(*matrices):
    """For a class whose correlations are all negative, it is the nearest itself."""
    student, teacher = ((matrix - np.eye(len(matrix))).argmax(axis=1) for matrix in matrices)
    return (student == teacher).mean()


def tiny_spread_added(train, test):
    spread = train.std(axis=0) + 1e-8
    return (train - train.mean(axis=0)) / spread, (test - train.mean(axis=0)) / spread


def unsquared_cka(student, teacher):
    student, teacher = student - student.mean(dim=0), teacher - teacher.mean(dim=0)
    return 1 - (student.T @ teacher).norm() / ((student.T @ student).norm() * (teacher.T @ teacher).norm())


# without a hint of their own: that none of them is taken for another, or for right, is what the cases are for
OTHERS = [
    ("00.1", lambda classes: math.log(classes - 1), "too small"),
    ("00.2", lambda s, t: ((F.normalize(s) @ F.normalize(t).T).abs().argmax(1) == torch.arange(len(s))).float().mean(),
     "too small"),
    ("01.1", lambda logits, t: (logits / t).softmax(1) * t**2, "values are not"),
    ("01.1", lambda logits, t: (logits / t**2).softmax(1), "values are not"),
    ("01.1", lambda logits, t: (logits / t).sigmoid(), "values are not"),
    ("01.2", lambda logits, t: (1 / (logits / t).softmax(1).pow(2).sum(1)).mean(), "too small"),
    ("01.2", lambda logits, t: (1 / (logits / t).softmax(1).amax(1)).mean(), "too small"),
    ("01.3", lambda down, right, flip: ((4 - down) * 9 + (4 + right if flip else 4 - right)) * 2 + 1 - flip, "too"),
    ("02.1", lambda s: F.cross_entropy((s + s.T) / 2, torch.arange(len(s))), "too small"),
    ("02.2", lambda contrast, size: min(10, math.log((size - 1) / math.expm1(contrast)) * (size - 1) / size), "small"),
    ("02.3", lambda s: (s.sigmoid() * (1 - s.sigmoid())).sum() / len(s), "too"),
    ("03.1", lambda a, b: (abs(np.mean(a) - np.mean(b)), np.std(np.subtract(a, b), ddof=1) / len(a) ** 0.5), "1 of 2"),
    ("03.1", lambda a, b: (np.mean(np.subtract(a, b)), np.var(np.subtract(a, b), ddof=1) / len(a)), "value 2 of 2"),
    ("03.2", lambda steps, rate, decay, momentum: math.exp((1 - rate * decay / (1 - momentum)) ** steps), "too"),
    ("03.3", lambda student, teacher: (3 * teacher + student) / (3 * teacher), "too small"),
    ("04.1", mean_of_labels, "too small"), ("04.1", vote_shares, "too"),
    ("04.2", lambda a, b: np.corrcoef(a[0], b[0])[0, 1], "too"), ("05.1", lambda a, b: np.abs(a - b).mean(), "small"),
    ("05.2", lambda x: (x - x.mean(1, keepdims=True)) / x.var(1, ddof=1, keepdims=True), "values are not"),
    ("05.3", diagonal_at_zero, "too small"),
    ("06.1", lambda f: F.cosine_similarity(f[:, None], f, dim=2).softmax(1), "values are not"),
    ("06.2", lambda a, b: a.flatten(2) @ b.flatten(2).mT / a[0].numel(), "values are not"),  # by channels too
    ("06.3", unsquared_cka, "too large"),
    ("07.1", lambda a, b: ttest_rel(a, b).pvalue < 0.01, "says False where it should not"),
    ("07.1", lambda a, b: abs(ttest_rel(a, b).statistic) * len(a) ** 0.5 > t.ppf(0.975, len(a) - 1), "says True"),
    ("08.1", tiny_spread_added, "value 2 of 2"),
    ("08.1", lambda a, b: ((a - a.mean()) / a.std(), (b - a.mean()) / a.std()), "value 1 of 2"),
    ("08.3", lambda a, labels, b, b_labels: 100 * KNeighborsClassifier(1).fit(a, labels).score(b, b_labels), "too"),
]
MISTAKES = [
    ("00.1", lambda classes: np.log10(classes) / np.log10(2), "in bits"), ("00.2", greedy_share, "inner products"),
    ("01.1", lambda logits, t: softmax(logits.numpy(), axis=1) / t, "before or after"),
    ("01.2", lambda logits, t: np.exp(entropy(softmax(logits.numpy() / t, axis=1), axis=1).mean()), "too early"),
    ("01.3", lambda down, right, flip: 18 * (4 + down) + 2 * (4 + right) + flip, "where does the picture go"),
    ("02.1", lambda scores: -scores.log_softmax(dim=0).trace() / len(scores), "from teacher to student alone"),
    ("02.2", lambda contrast, size: (math.log(size - 1) - contrast) * (size - 1) / size, "a term of its own"),
    ("02.3", lambda scores: -(1 - scores.diag().sigmoid()).sum() / len(scores), "matching pairs alone"),
    ("03.1", lambda a, b: (np.mean(a) - np.mean(b), np.std(np.array(a) - b) / len(a) ** 0.5), "n - 1"),
    ("03.1", lambda a, b: (np.mean(a) - np.mean(b), np.sqrt((np.var(a) + np.var(b)) / (len(a) - 1))), "*unrelated*"),
    ("03.1", lambda a, b: (np.mean(b) - np.mean(a), np.mean(np.subtract(a, b)) / ttest_rel(a, b).statistic), "sign"),
    ("03.2", decayed_scale, "scale itself decays"),
    ("03.3", lambda student, teacher: 1 + teacher / student / 2, "two gradients"), ("04.1", euclidean_knn, "Euclidean"),
    ("04.2", half_centred, "one side is centred"),
    ("05.1", lambda a, b: np.corrcoef(a[np.tril_indices(len(a))], b[np.tril_indices(len(b))])[0, 1], "one place above"),
    ("05.2", lambda logits: StandardScaler().fit_transform(logits), "two things"),
    ("05.3", lambda a, b: np.mean(np.argsort(a)[:, 0] == np.argsort(b)[:, 0]), "least alike"),
    ("06.1", lambda f: F.cosine_similarity(f[:, None], f, dim=2) / 2 + 0.5, "do not add up to one"),
    ("06.2", lambda a, b: a.flatten(2) @ b.flatten(2).mT / a.shape[2], "how many positions"),
    ("06.3", lambda s, t: 1 - torch.trace(s @ s.T @ t @ t.T) / (s @ s.T).norm() / (t @ t.T).norm(), "*centred*"),
    ("07.1", lambda a, b: abs(np.mean(a - b)) / np.std(a - b, ddof=1) * len(a) ** 0.5 > 1.96, "1.96 belongs"),
    ("07.1", lambda a, b: ttest_rel(a, b).pvalue < 0.1, "both ends together"),
    ("07.1", lambda a, b: ttest_rel(a, b, alternative="greater").pvalue < 0.025, "below 0"),
    ("07.1", lambda a, b: ttest_rel(a, b).pvalue, "a single number, and True or False is asked for"),
    ("08.1", lambda a, b: (StandardScaler().fit_transform(a), StandardScaler().fit_transform(b)), "by itself"),
    ("08.1", dead_feature_forgotten, "not finite"), ("08.2", same_tensors, "calls every network frozen"),
    ("08.2", parameters_only, "what batch norm keeps"),
    ("08.3", lambda a, labels, b, b_labels: NearestCentroid().fit(a, labels).score(b, b_labels), "in %"),
]


@pytest.mark.parametrize(("number", "wrong", "words"), OTHERS)
def test_another_mistake_is_refused_and_taken_for_no_other(number, wrong, words):
    result = exercises.check(number, wrong)
    assert not result.ok and words.lower() in result.message.lower()
    assert not any(hint in result.message for _, hint in exercises.registry()[number].mistakes)


def test_no_vote_of_the_knn_exercise_is_a_tie():
    for train, train_labels, test, _, k in exercises.registry()["04.1"].cases:
        for row in voters(train, train_labels, test, k):
            votes = np.sort(np.bincount(row, minlength=2))
            assert votes[-1] > votes[-2]


@pytest.mark.parametrize(("number", "wrong", "words"), MISTAKES)
def test_a_typical_mistake_gets_its_own_hint(number, wrong, words):
    result = exercises.check(number, wrong)
    assert not result.ok and words.lower() in result.message.lower()


def test_the_paired_t_test_decides_as_the_interval_does():
    assert exercises.check("07.1", lambda a, b: ttest_rel(a, b).pvalue < 0.05).ok
    assert not exercises.check("07.1", lambda a, b: ttest_ind(a, b).pvalue < 0.05).ok
