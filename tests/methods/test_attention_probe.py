"""The attention-pool probe: which tokens count, that little is learnt, and that tokens come in the right order."""

from __future__ import annotations

import math

import pytest
import torch

from ecglib import training
from ecglib.batches import order
from ecglib.methods.attention_probe import AttentionProbe, TokenBatches
from ecglib.metrics import auc, macro
from ecglib.training import Settings

D, N = 8, 6


def make(**options) -> AttentionProbe:
    torch.manual_seed(0)
    return AttentionProbe(D, ["CD", "HYP", "MI"], **({"heads": 2} | options)).eval()


def slow(probe: AttentionProbe, tokens: torch.Tensor) -> torch.Tensor:
    """One query, head by head, token by token."""
    pool, half = probe.pool, D // probe.pool.num_heads
    logits = []
    for record in tokens:
        x = torch.stack([probe.norm(token) for token in record])  # (N, D)
        query = pool.q(pool.latent[0, 0])
        keys, values = pool.kv(x).split(D, dim=1)
        pooled = []
        for head in range(pool.num_heads):
            part = slice(head * half, (head + 1) * half)
            scores = [float((query[part] * key[part]).sum()) / math.sqrt(half) for key in keys]
            weights = [math.exp(s - max(scores)) for s in scores]
            pooled.append(sum(w / sum(weights) * value[part] for w, value in zip(weights, values)))
        logits.append(probe.head(pool.proj(torch.cat(pooled))))
    return torch.stack(logits)


def test_equals_attention_written_out():
    tokens = torch.randn(5, N, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(make()(tokens), slow(make(), tokens), rtol=1e-4, atol=1e-5)


def test_the_order_of_tokens_and_their_number_are_free():
    tokens = torch.randn(5, N, D, generator=torch.Generator().manual_seed(1))
    probe = make()
    torch.testing.assert_close(probe(tokens.flip(1)), probe(tokens), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(probe(tokens.repeat(1, 3, 1)), probe(tokens), rtol=1e-4, atol=1e-5)
    assert probe(tokens[:, :1]).shape == (5, 3)


def test_every_parameter_learns_and_there_are_few():
    probe = make().train()
    tokens, labels = torch.randn(16, N, D), (torch.rand(16, 3) > 0.5).float()
    loss = probe.training_step(next(iter(TokenBatches(tokens, labels, 16, identity="x"))))["loss"]
    loss.backward()
    assert [name for name, p in probe.named_parameters() if p.grad is None or not bool(p.grad.any())] == []
    # norm, query's latent, its map, keys and values, the map out, head
    count = 2 * D + D + (D * D + D) + (2 * D * D + 2 * D) + (D * D + D) + (3 * D + 3)
    assert sum(p.numel() for p in probe.parameters()) == count


def test_the_loss_is_binary_cross_entropy():
    probe, labels = make(), (torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    batch = next(iter(TokenBatches(torch.randn(6, N, D), labels, 6, identity="x")))
    p = probe(batch.signal).sigmoid().detach()
    slow_loss = [-math.log(float(q if y else 1 - q)) for q, y in zip(p.flatten(), labels.flatten())]
    assert float(probe.training_step(batch)["loss"].detach()) == pytest.approx(sum(slow_loss) / 18, rel=1e-4)


def test_prediction_is_in_eval_mode_without_gradients():
    probe, tokens = make(dropout=0.5).train(), torch.randn(4, N, D)
    first = probe.predict(tokens)
    assert torch.equal(first, probe.predict(tokens))
    assert not first.requires_grad
    assert probe.training


def test_half_precision_tokens_are_read_in_float32():
    tokens = torch.randn(4, N, D, generator=torch.Generator().manual_seed(1))
    found = make()(tokens.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, make()(tokens.half().float()))


def test_it_finds_the_one_token_that_tells():
    """The sign of a single token decides; its mark says which it is, and elsewhere the sign says nothing."""

    def drawn(seed: int, n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(n, 16, D, generator=generator)
        tokens[:, :, 0] = 0.0
        where = torch.randint(16, (n,), generator=generator)
        tokens[torch.arange(n), where, 0] = 4.0  # the mark
        return tokens, (tokens[torch.arange(n), where, 1] > 0).float()[:, None]

    (x, y), (valid_x, valid_y) = drawn(0), drawn(1, 300)
    torch.manual_seed(0)
    probe = AttentionProbe(D, ["class"], heads=2)
    train, valid = (
        TokenBatches(x, y, 50, identity="train", shuffle=True),
        TokenBatches(valid_x, valid_y, 100, identity=""),
    )
    settings = Settings(epochs=30, learning_rate=1e-2, seed=0)
    fit = training.fit(probe, train, valid, settings=settings, progress="none")
    assert fit.value > 0.9
    again = macro(auc(valid_y.numpy(), probe.predict(valid_x).numpy()))
    assert float(again) == pytest.approx(fit.value, abs=1e-9), "the best epoch's weights are in the probe"
    assert float(macro(auc(valid_y.numpy(), valid_x.mean(dim=1)[:, 1:2].numpy()))) < 0.75, "the mean tells little"


# batches of tokens


def batches(**options) -> TokenBatches:
    tokens = torch.arange(10.0)[:, None, None].expand(10, N, D)
    return TokenBatches(tokens, torch.arange(20.0).view(10, 2), 4, **({"identity": "an encoder"} | options))


def test_each_record_comes_once_with_its_own_label():
    for epoch in (0, 1):
        some = batches(shuffle=True, seed=3)
        some.set_epoch(epoch)
        seen = list(some)
        assert len(seen) == len(some) == 3
        index = torch.cat([batch.index for batch in seen])
        assert index.tolist() == order(10, seed=3, epoch=epoch, shuffle=True).tolist()
        assert sorted(index.tolist()) == list(range(10))
        assert torch.equal(torch.cat([batch.signal[:, 0, 0] for batch in seen]), index.float())
        assert torch.equal(torch.cat([batch.label[:, 0] for batch in seen]), 2.0 * index)
    assert torch.cat([batch.index for batch in batches()]).tolist() == list(range(10))


def test_what_makes_it_another_training_is_in_the_identity():
    base = batches().identity
    assert batches().identity == base
    for options in ({"identity": "another"}, {"shuffle": True}, {"seed": 1}):
        assert batches(**options).identity != base
