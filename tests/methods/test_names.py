from __future__ import annotations

import re

import pytest

from cuecard.errors import ConfigError
from cuecard.methods import METHODS, method_settings


def test_names_are_the_methods_own() -> None:
    for name, kind in METHODS.items():
        assert kind.name == name and kind.about and kind.injects
        assert type(method_settings(name, {})) is kind


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_explained(name: str) -> None:
    kind = METHODS[name]
    documented = "\n".join(base.__doc__ or "" for base in kind.__mro__)
    for setting, field in kind.model_fields.items():
        described = re.search(rf"^ +{setting}: ", documented, re.MULTILINE)
        assert field.description or described, setting


def test_wrong_names_tell_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean p-tuning-v2"):
        method_settings("p_tuning_v2", {})
    with pytest.raises(ConfigError, match="did you mean bottleneck"):
        method_settings("residual", {"bottelneck": 3}, "here")
    with pytest.raises(ConfigError, match=r"here \(dept\), rank"):
        method_settings("dept", {"rank": 0}, "here")
