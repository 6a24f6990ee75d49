"""Where an adapter is looked for by its name, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_chat.errors import ConfigError
from csm_chat.voices.adapters import adapter_names, find_adapter
from tests.engine.test_adapters import mlx_adapter, peft_adapter


def test_a_name_is_one_of_the_folder_and_else_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    folder.mkdir()
    ana, elsewhere = mlx_adapter(folder / "ana"), peft_adapter(tmp_path / "ben")
    (folder / "notes").mkdir()
    assert adapter_names(folder) == ["ana"]
    assert find_adapter("ana", folder) == ana
    assert find_adapter(str(elsewhere), folder) == elsewhere


@pytest.mark.parametrize("name", ["zoe", "notes"])
def test_what_is_none_is_an_error_that_tells_those_there_are(name: str, tmp_path: Path) -> None:
    mlx_adapter(tmp_path / "ana")
    (tmp_path / "notes").mkdir()
    with pytest.raises(ConfigError, match="there: ana"):
        find_adapter(name, tmp_path)


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert adapter_names(tmp_path / "adapters") == []
    with pytest.raises(ConfigError, match="there: none"):
        find_adapter("ana", tmp_path / "adapters")
