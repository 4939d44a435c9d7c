"""Norms and attention that were made faster compute what the model's own do; the loop loses what a plain Trainer loses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from adapters.bases import open_model
from adapters.data.batches import collate, epoch_windows
from adapters.data.tokens import IGNORED, Encoded
from adapters.evaluation.loss import row_losses
from adapters.tuning import blocks
from adapters.tuning.recipe import Recipe
from tests.bench import loops

ONE_EPOCH = Recipe("full", epochs=1, learning_rate=1e-3, batch_size=4, micro_batch_size=4, warmup_share=0.2, weight_decay=0.1)


def rows_of(count: int, longest: int = 40) -> list[Encoded]:
    made = []
    for number in range(count):
        ids = [(7 * number + 11 * place) % 700 + 5 for place in range(12 + number % longest)]
        made.append(Encoded(ids, [IGNORED] * 6 + ids[6:], len(ids) - 6, 4))
    return made


class Rounded(nn.Module):
    """A norm by name only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x.round()


def norm_of(kind: str) -> nn.Module:
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    return {"llama": LlamaRMSNorm, "gemma": Gemma3RMSNorm}[kind](48)


@pytest.mark.parametrize("kind", ["llama", "gemma"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_norm_and_its_gradients_are_the_models_own(kind: str, frozen: bool) -> None:
    torch.manual_seed(0)
    theirs = norm_of(kind)
    nn.init.normal_(theirs.weight)
    theirs.weight.requires_grad_(not frozen)
    x, share = torch.randn(2, 5, 48, requires_grad=True), torch.randn(2, 5, 48)
    found = []
    for _ in range(2):
        x.grad = theirs.weight.grad = None
        said = theirs(x)
        (said * share).sum().backward()
        found.append((said.detach(), x.grad, theirs.weight.grad))
        blocks.quicken(theirs)
    assert "forward" in vars(theirs)
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.allclose(one, other, atol=1e-4)


def test_what_only_looks_like_a_norm_is_left_alone() -> None:
    module = Rounded()
    blocks.quicken(module)
    assert "forward" not in vars(module)


@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2)])
def test_attentions_gradients_are_flash_attentions_up_to_rounding(
    heads: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(blocks, "SCORES_AT_ONCE", heads * 33**2)  # one row at a time
    tensors = [torch.randn(3, count, 33, 16).bfloat16().requires_grad_() for count in (heads, keys, keys)]
    share, found = torch.randn(3, heads, 33, 16).bfloat16(), []
    for attend in (
        lambda q, k, v: blocks._Attention.apply(q, k, v, 0.25),
        lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25, enable_gqa=True),
    ):
        said = attend(*tensors)
        found.append((said, *torch.autograd.grad(said, tensors, share)))
    assert torch.equal(found[0][0], found[1][0])
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert (ours - theirs).float().norm() < 0.01 * theirs.float().norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quickened_model_gives_the_same_losses_and_nearly_the_same_gradients(tiny: Path, dtype: torch.dtype) -> None:
    found = []
    for quicken in (False, True):
        model = open_model(tiny, dtype)
        if quicken:
            blocks.quicken(model)
            assert model.config._attn_implementation == blocks.ATTENTION
        losses = row_losses(model, collate(rows_of(6)))
        losses.sum().backward()
        found.append((losses.detach(), [parameter.grad.float() for parameter in model.parameters()]))
    exact = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(found[1][0], found[0][0], rtol=exact)
    for ours, theirs in zip(found[1][1], found[0][1], strict=True):
        assert (ours - theirs).norm() <= 2 * exact * theirs.norm()


def test_masked_rows_are_attended_to_as_before(tiny: Path) -> None:
    ids = torch.arange(5, 45).repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    model = open_model(tiny, torch.bfloat16)
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).logits
        blocks.quicken(model)
        assert torch.allclose(model(input_ids=ids, attention_mask=mask).logits, before, atol=0.05)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("peer", ["transformers", "trl"])
def test_every_step_loses_what_a_peer_loses_on_the_same_rows(tiny: Path, tokenizer, method: str, peer: str) -> None:
    if peer == "trl":
        pytest.importorskip("trl", reason="the yardstick is not installed: pip install -e .[bench]")
    recipe = dataclasses.replace(ONE_EPOCH, method=method, rank=4, alpha=8)
    rows = rows_of(24)
    windows = epoch_windows([len(row.input_ids) for row in rows], batch_size=4, micro_batch_size=4, seed=recipe.seed)
    in_order = [rows[index] for window in windows for batch in window for index in batch]
    ours = loops.graft(loops.prepared(open_model(tiny, torch.float32), recipe, ours=True), rows, recipe)
    model = loops.prepared(open_model(tiny, torch.float32), recipe, ours=False)
    ask = loops.transformers if peer == "transformers" else lambda *given: loops.trl(*given, tokenizer)
    theirs = ask(model, in_order, recipe, way="in_order") if peer == "transformers" else loops.trl(
        model, in_order, recipe, tokenizer, way="in_order"
    )  # fmt: skip
    assert len(ours.losses) == len(theirs.losses) == 6
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-3)
    assert ours.losses[-1] < ours.losses[0]
