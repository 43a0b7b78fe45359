"""What methods and classes look like: told apart, at most so many, and clear errors for wrong superclasses."""

import pytest

from dcd_utils import losses
from dcd_utils.plots.style import class_groups, method_looks

CLASSES = [f"class {i}" for i in range(6)]
MANY = [f"class {i}" for i in range(100)]


def test_every_method_has_a_look_of_its_own_that_never_changes():
    with_kd = [f"{name}+kd" for name in losses.names() if name != "kd"]
    names = ["teacher", "alone", "KD at 1 and 1", *losses.names(), *with_kd]
    looks = method_looks(names)
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(names)
    assert len({(look.colour, look.dashes) for look in looks.values()}) == len(names)
    assert len({look.colour for look in looks.values()}) <= 12  # ten hues, beside black and grey
    for name in names:
        assert method_looks(["of my own", name.upper()])[name.upper()] == looks[name]


def test_kd_at_1_and_1_is_a_kind_of_kd_under_both_of_its_names():
    spelt, shown, kd = method_looks(["kd@classification=1,weight=1", "KD at 1 and 1", "kd"]).values()
    assert spelt == shown != kd and spelt.colour == kd.colour


def test_other_names_differ_from_each_other_and_from_the_methods_beside_them():
    looks = method_looks(["mine", "KD", "DCD", "CRD", *MANY[:5]])
    assert list(looks)[:2] == ["mine", "KD"]
    assert len({(look.colour, look.dashes) for look in looks.values()}) == len(looks)
    assert len(set(method_looks(MANY[:20]).values())) == 20


def test_groups_never_exceed_twenty_looks():
    few = class_groups(CLASSES, (0, 0, 1, 1, 2, 2), ("circle", "square", "star"))
    assert len({(group.colour, group.marker) for group in few}) == 6
    assert few[0].colour == few[1].colour != few[2].colour
    many = class_groups(MANY, [i % 20 for i in range(100)])
    assert len(many) == len({(group.colour, group.marker) for group in many}) == 20
    assert sorted(c for group in many for c in group.classes) == list(range(100))
    plain = class_groups(MANY)
    assert len(plain) == 20 and plain[0].name == "81 other classes" and len(plain[0].classes) == 81
    with pytest.raises(ValueError, match="an index for each of 6 classes"):
        class_groups(CLASSES, (0, 1))
    with pytest.raises(ValueError, match="superclass 2 has no name"):
        class_groups(CLASSES, (0, 0, 1, 1, 2, 2), ("circle",))
