"""The attention heads of an encoder are found where its code has them, or it is refused with the reason."""

from __future__ import annotations

import pytest
import torch
from random_encoders import CONFIGS, HEADS, LAYERS, SIZES, WIDTH, base_of, make_subject, named
from torch import nn
from transformers import AlbertConfig, ConvBertConfig, PretrainedConfig

from auxtune.trials.encoder import build_encoder
from auxtune.trials.probes.heads import find_heads
from auxtune.trials.probes.probe import ProbeError

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("family", CONFIGS)
def test_the_heads_of_every_family_are_found(family: str) -> None:
    subject = make_subject(family)
    found = find_heads(subject.model.encoder)
    assert found.heads == HEADS
    assert [layer.key.linear for layer in found.layers] == named(subject, family, 0)
    assert [layer.value.linear for layer in found.layers] == named(subject, family, 1)
    assert [layer.output for layer in found.layers] == named(subject, family, 2)
    assert found.by_row == (family != "deberta")
    assert not any(part._forward_hooks for part in subject.model.modules())


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (AlbertConfig(**SIZES, embedding_size=8, max_position_embeddings=40), "one layer that is used several times"),
        (ConvBertConfig(**SIZES, embedding_size=16, max_position_embeddings=40), "none of the second kind"),
    ],
)
def test_an_encoder_without_such_heads_is_refused(config: PretrainedConfig, found: str) -> None:
    encoder = build_encoder(base_of(config), 0).eval()
    with pytest.raises(ProbeError, match=rf"the heads of a {config.model_type} encoder .*expected .*{found}"):
        find_heads(encoder)


def test_attention_of_another_make_is_refused() -> None:
    encoder = build_encoder(base_of(CONFIGS["bert"]), 0).eval()
    for layer, found in ((1, "them in 1 of 2 layers"), (0, "0 of the first kind, for 4 heads")):
        attention = encoder.module.encoder.layer[layer].attention.self
        attention.value = nn.Sequential(attention.value)
        with pytest.raises(ProbeError, match=f"found {found}"):
            find_heads(encoder)


class Rolled(nn.Module):
    """Shifts columns by half a head."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors.roll(WIDTH // HEADS // 2, -1)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_heads_whose_results_are_mixed_on_the_way_are_refused(layer: int) -> None:
    encoder = build_encoder(base_of(CONFIGS["distilbert"]), 0).eval()
    attention = encoder.module.transformer.layer[layer].attention
    attention.out_lin = nn.Sequential(Rolled(), attention.out_lin)
    with pytest.raises(ProbeError, match=f"found none of the second kind after {layer} layers"):
        find_heads(encoder)
