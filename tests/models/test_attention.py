"""SMAM and CMAM beside attention written out, and the stream around them."""

import math

import pytest
import torch
from torch.nn import functional as F

from ecglib.errors import InputError
from ecglib.models.attention import CMAM, SMAM, Stream


def slow(module, x, y):
    """x + MHA(n(x), n'(y), n'(y)), a head and a token at a time."""
    attention, dim = module.attention, x.shape[2]
    heads, width = attention.num_heads, dim // attention.num_heads
    query, key = module.norm(x), (module.norm if module.other is None else module.other)(y)
    wq, wk, wv = attention.in_proj_weight.chunk(3)
    bq, bk, bv = attention.in_proj_bias.chunk(3)
    out = torch.empty_like(x)
    for b in range(len(x)):
        for n in range(x.shape[1]):
            parts = []
            for h in range(heads):
                own = slice(h * width, (h + 1) * width)
                q = (wq @ query[b, n] + bq)[own]
                k, v = (key[b] @ wk.T + bk)[:, own], (key[b] @ wv.T + bv)[:, own]
                parts.append(torch.softmax(k @ q / math.sqrt(width), 0) @ v)
            out[b, n] = x[b, n] + attention.out_proj(torch.cat(parts))
    return out


@torch.no_grad()
def test_attention_is_what_its_docstring_says():
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    smam, cmam = SMAM(8, 2), CMAM(8, 2)
    for module in (smam, cmam):
        torch.nn.init.normal_(module.attention.in_proj_bias)
        torch.nn.init.normal_(module.attention.out_proj.bias)
    torch.testing.assert_close(smam(x), slow(smam, x, x))
    torch.testing.assert_close(cmam(x, y), slow(cmam, x, y))
    assert not torch.allclose(cmam(x, y), cmam(x, y.flip(0)))


@torch.no_grad()
def test_weights_are_shares():
    x, y = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    weights = CMAM(8, 2).weights(x, y)
    assert weights.shape == (2, 5, 7)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 5))


def test_heads_must_divide():
    with pytest.raises(InputError, match="3 attention heads do not divide 8"):
        SMAM(8, 3)


@torch.no_grad()
def test_a_stream_pools_mean_and_maximum_and_takes_other_lengths():
    torch.manual_seed(0)
    stream = Stream(6, dim=8, classes=3, smam=True, tokens=10, heads=2).eval()
    tokens = stream.tokens(torch.randn(2, 10, 6))
    pooled = stream.pool(tokens)
    normed = F.layer_norm(tokens, (8,))
    torch.testing.assert_close(pooled, torch.cat([normed.mean(1), normed.max(1).values], 1))
    assert stream.judge(pooled).shape == (2, 3)
    assert stream.tokens(torch.randn(2, 25, 6)).shape == (2, 25, 8)


@torch.no_grad()
def test_a_position_is_told():
    """Without position embeddings the order of the tokens would be lost on the pooled features."""
    stream = Stream(6, dim=8, classes=3, smam=True, tokens=10, heads=2).eval()
    x = torch.randn(1, 10, 6)
    assert not torch.allclose(stream.pool(stream.tokens(x)), stream.pool(stream.tokens(x.flip(1))))


def test_parameters_of_a_stream():
    def count(smam):
        return sum(p.numel() for p in Stream(512, dim=128, classes=5, smam=smam, tokens=63).parameters())

    assert count(False) == 512 * 128 + 128 + 63 * 128 + 2 * 128 + 256 * 5 + 5
    assert count(True) - count(False) == 2 * 128 + 4 * (128 * 128 + 128)
