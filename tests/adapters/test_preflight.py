"""Adapters the engine would refuse, or load and not apply, are stopped by their files alone; odd but good ones are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.errors import Unservable
from adapters.intake.listing import MAX_FILES, MAX_WEIGHTS_BYTES, Listing, choose
from adapters.intake.preflight import check_adapter
from adapters.registry import WEIGHTS
from tests.adapters.broken_adapters import ALL, BROKEN, ODD, configured, good_adapter


@pytest.fixture
def adapter(tmp_path: Path, tiny: Path) -> Path:
    return good_adapter(tmp_path / "adapter", tiny)


def test_a_good_adapter_passes_and_is_described(adapter: Path, tiny: Path) -> None:
    found = check_adapter(adapter, tiny, max_rank=4)
    assert (found.rank, found.alpha, found.rslora, found.dtype) == (4, 16.0, False, "F32")
    assert (set(found.modules), found.matrices, found.layers) == (set(ALL), 14, 2)
    assert found.size_bytes == (adapter / WEIGHTS).stat().st_size
    assert (found.claimed_base, found.made_by) == ("org/tiny", "peft 0.21.2")


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_adapter_is_refused_by_its_code(adapter: Path, tiny: Path, what: str) -> None:
    code, spoil = BROKEN[what]
    spoil(adapter)
    with pytest.raises(Unservable) as refused:
        check_adapter(adapter, tiny, max_rank=64)
    assert refused.value.code == code, refused.value.message
    assert refused.value.message.startswith("adapter: ")


@pytest.mark.parametrize("what", ODD)
def test_an_odd_but_good_adapter_is_accepted(adapter: Path, tiny: Path, what: str) -> None:
    ODD[what](adapter)
    assert check_adapter(adapter, tiny, max_rank=8).matrices > 0


def test_the_highest_rank_of_a_pattern_counts(adapter: Path, tiny: Path) -> None:
    ODD["rank pattern"](adapter)
    found = check_adapter(adapter, tiny, max_rank=8)
    assert found.rank == 8
    assert "ranks differ by layer: [2, 4, 8]" in found.notes
    with pytest.raises(Unservable, match=r"rank 8 is above the engine's 4; raise engine\.max_lora_rank"):
        check_adapter(adapter, tiny, max_rank=4)


def test_unsloth_is_known_by_what_it_writes(adapter: Path, tiny: Path) -> None:
    configured(auto_mapping={"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True})(adapter)
    assert check_adapter(adapter, tiny, max_rank=4).made_by == "unsloth"


def test_a_folder_of_ten_thousand_files_is_not_walked_to_its_end(adapter: Path, tiny: Path) -> None:
    (adapter / "many").mkdir()
    for number in range(MAX_FILES):
        (adapter / "many" / str(number)).touch()
    with pytest.raises(Unservable) as refused:
        check_adapter(adapter, tiny, max_rank=64)
    assert refused.value.code == "adapter_too_big"


def test_a_whole_model_in_the_adapters_place_is_too_big(adapter: Path) -> None:
    os.truncate(adapter / WEIGHTS, MAX_WEIGHTS_BYTES + 1)  # sparse: takes no room
    sizes = {path.name: path.stat().st_size for path in adapter.iterdir()}
    with pytest.raises(Unservable, match="is it a whole model"):
        choose(Listing("it", sizes, lambda name: (adapter / name).open("rb")))


def test_the_look_itself_loads_neither_torch_nor_an_engine(adapter: Path, tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from adapters.intake.preflight import check_adapter;"
        f"check_adapter(Path({str(adapter)!r}), Path({str(tiny)!r}), 8);"
        "print(*({'torch', 'transformers', 'peft', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
