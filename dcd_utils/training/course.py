"""The runs that several notebooks look at: one teacher and its students, trained, or loaded if they exist."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from dcd_utils import losses, models
from dcd_utils.data import ImageSet
from dcd_utils.training.api import distill
from dcd_utils.training.api import train as learn
from dcd_utils.training.profiles import Profile
from dcd_utils.training.runs import Run, RunBusy


def course_runs(
    profile: Profile,
    methods: Iterable[str] = ("alone", "kd", "dcd", "dcd+kd"),
    train: ImageSet | None = None,
    test: ImageSet | None = None,
) -> tuple[Run, dict[tuple[str, int], Run]]:
    """The teacher of a profile, and a student for every method and seed; a run that exists is loaded.

    A run that another process is training (two notebooks executed side by side) is left to it and loaded at the end.
    Under one seed every student starts from the same weights and sees the same batches and views, so methods can be
    compared pair by pair.

    Args:
        profile: `training.profile(...)`; one teacher serves all its students.
        methods: of `losses.names()`, each may carry "+kd"; "alone" learns from the labels only.
        train, test: the profile's image sets if they are loaded already.

    Returns:
        (the teacher's run, {(method, seed): the student's run}).

    Raises:
        ValueError: an unknown method; train without test.
        NonFiniteLoss: a loss term stopped being finite.
    """
    if (train is None) != (test is None):
        raise ValueError("only one of train and test was given: pass both, or neither to load the profile's own")
    methods = tuple(methods)
    for method in methods:
        if method != "alone":
            losses.parse(method)  # a misspelt method fails here, not after the teacher's training
    if train is None:
        train, test = profile.load()

    def teach(wait):
        network = models.create(profile.teacher, train.num_classes, seed=profile.teacher_seed)
        return learn(network, train, test, profile.teacher_recipe, seed=profile.teacher_seed, wait=wait)

    def study(method, seed, wait):
        student = models.create(profile.student, train.num_classes, seed=seed)
        if method == "alone":
            return learn(student, train, test, profile.recipe, seed=seed, wait=wait)
        return distill(student, runs["teacher"].model, train, test, method, profile.recipe, seed=seed, wait=wait)

    keys = [(method, seed) for seed in profile.seeds for method in methods]
    # from the last to the first: notebook 03, which may be running beside, comes from the front
    alone = {key: partial(study, *key) for key in reversed(keys) if key[0] == "alone"}
    runs = _all_of({"teacher": teach, **alone})
    runs |= _all_of({key: partial(study, *key) for key in reversed(keys) if key not in alone})
    return runs["teacher"], {key: runs[key] for key in keys}


def _all_of(jobs: dict[Hashable, Callable[..., Run]]) -> dict[Hashable, Run]:
    """The run of each job, in turn; one that another process is training is put off while there is another to do.

    That process may go through the same jobs in the same order, so what is left is then begun from the other end.
    """
    runs, left = {}, list(jobs)
    while left:
        before, busy = len(runs), []
        while left:
            key = left.pop(0)
            try:
                runs[key] = jobs[key](wait=False)
            except RunBusy:
                if not busy:
                    left.reverse()
                busy.append(key)
        if len(runs) == before:
            key = busy.pop()
            runs[key] = jobs[key](wait=True)
        left = busy
    return runs
