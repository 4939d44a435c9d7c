"""What was made faster computes what the plain way does: losses through the output layer, and LoRA layers in one go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from adapters.bases import open_model
from adapters.data.batches import collate
from adapters.data.tokens import IGNORED, Encoded
from adapters.evaluation import cross_entropy as ours
from adapters.evaluation.cross_entropy import linear_cross_entropy
from adapters.evaluation.loss import row_losses
from adapters.methods.lora import Lora
from adapters.tuning.recipe import Recipe
from tests import tiny as small


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("at_once", [2**26, 40])
def test_losses_and_gradients_are_those_of_the_whole_logits(even: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "LOGITS_AT_ONCE", at_once)  # 40: two positions to a slice
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 5), torch.randn(19, 5)
    targets, share = torch.randint(0, 19, (7,)), torch.ones(7) if even else torch.rand(7)
    found = []
    for way in (linear_cross_entropy, lambda h, w, t: cross_entropy(h @ w.T, t, reduction="none")):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        losses = way(h, w, targets)
        (losses * share).sum().backward()
        found.append((losses.detach(), h.grad, w.grad))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def rows_of(count: int) -> list[Encoded]:
    made = []
    for number in range(count):
        ids = list(range(5 + number, 25 + 2 * number))
        made.append(Encoded(ids, [IGNORED] * 10 + ids[10:], number, 4))
    return made


def test_a_fused_lora_layer_gives_pefts_losses_and_gradients(tiny: Path) -> None:
    from adapters.tuning import fused

    def learned(fuse: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model = Lora().prepare(open_model(tiny, torch.float32), small.ground(tiny, Recipe("lora", rank=4, alpha=8)))
        torch.manual_seed(3)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        if not fuse:
            for module in model.modules():
                vars(module).pop("forward", None)
        losses = row_losses(model, collate(rows_of(5)))
        losses.sum().backward()
        return losses.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    assert fused.fuse(Lora().prepare(open_model(tiny, torch.float32), small.ground(tiny, Recipe("lora")))) == 14
    (losses, gradients), (plain, expected) = learned(True), learned(False)
    assert torch.allclose(losses, plain, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    assert all(torch.allclose(gradients[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)


def test_a_fused_layer_is_the_base_while_its_adapter_is_off(tiny: Path) -> None:
    model = Lora().prepare(open_model(tiny, torch.float32), small.ground(tiny, Recipe("lora", rank=4, alpha=8)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    batch = collate(rows_of(3))
    with torch.no_grad():
        base = row_losses(open_model(tiny, torch.float32), batch)
        assert not torch.allclose(row_losses(model, batch), base)
        with model.disable_adapter():
            assert torch.equal(row_losses(model, batch), base)


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_variants_keep_the_way_peft_computes_them_where_it_differs(tiny: Path, variant: str) -> None:
    from adapters.tuning import fused

    model = Lora().prepare(open_model(tiny, torch.float32), small.ground(tiny, Recipe("lora", variant=variant)))
    assert fused.fuse(model) == (0 if variant == "dora" else 14)
