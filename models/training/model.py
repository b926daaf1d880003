"""Llama 3.2 in PyTorch with Hugging Face's maths and tensor names (half-split rotary embedding)."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Config(NamedTuple):
    """Shapes of a model; the rotary scaling is llama3's."""
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 512
    vocab: int = 2048
    head_dim: int = 64
    eps: float = 1e-5
    rope_theta: float = 500000.0
    rope_factor: float = 32.0
    rope_low: float = 1.0
    rope_high: float = 4.0
    rope_original: int = 512  # positions before scaling
    max_positions: int = 2048


CONFIGS = {
    "cria-tiny": Config(),
    "cria-draft": Config(hidden=128, layers=2, heads=2, kv_heads=1, ffn=512),
}


def scaled_frequencies(c: Config) -> Tensor:
    """[head_dim / 2] radians a position, float64, after llama3 scaling."""
    f = 1.0 / c.rope_theta ** (torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    wavelength = 2 * math.pi / f
    smooth = (c.rope_original / wavelength - c.rope_low) / (c.rope_high - c.rope_low)
    blended = (1 - smooth) * f / c.rope_factor + smooth * f
    scaled = torch.where(wavelength > c.rope_original / c.rope_low, f / c.rope_factor, blended)
    return torch.where(wavelength < c.rope_original / c.rope_high, f, scaled)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., positions, head_dim]; cos, sin [positions, head_dim]; pairs are (i, i + head_dim / 2)."""
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin


class Attention(nn.Module):
    """Grouped-query attention; `past` holds keys and values [batch, kv_heads, positions, head_dim]."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: list[Tensor] | None) -> Tensor:
        batch, n, _ = x.shape
        groups = self.c.heads // self.c.kv_heads
        q = rotate(self.q_proj(x).view(batch, n, self.c.heads, -1).transpose(1, 2), cos, sin)
        q = q / math.sqrt(self.c.head_dim)
        k = rotate(self.k_proj(x).view(batch, n, self.c.kv_heads, -1).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, n, self.c.kv_heads, -1).transpose(1, 2)
        if past is not None:
            if past:
                k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
            past[:] = [k, v]
        q = q.reshape(batch, self.c.kv_heads, groups * n, -1)  # a query head follows its key head
        scores = (q @ k.transpose(2, 3)).view(batch, self.c.heads, n, -1)
        if mask is not None:
            scores = scores + mask
        weights = scores.softmax(-1).view(batch, self.c.kv_heads, groups * n, -1)
        mixed = (weights @ v).view(batch, self.c.heads, n, -1).transpose(1, 2)
        return self.o_proj(mixed.reshape(batch, n, -1))


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.ffn, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.ffn, bias=False)
        self.down_proj = nn.Linear(c.ffn, c.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and added to the residual stream."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden, c.eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden, c.eps)
        self.mlp = MLP(c)

    def forward(self, x: Tensor, *attention: Any) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), *attention)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """ids [batch, n] -> logits [batch, n, vocab]; the output matrix is the embedding."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.model.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.model.norm = RMSNorm(c.hidden, c.eps)
        angles = torch.arange(c.max_positions, dtype=torch.float64)[:, None] * scaled_frequencies(c)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.initialize()

    def initialize(self) -> None:
        """Normal weights of deviation 0.02; what is added to the residual stream starts smaller."""
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * self.c.layers) if residual else 0.02)

    def hidden(self, ids: Tensor, past: list[list[Tensor]] | None = None) -> Tensor:
        """[batch, n, hidden] behind the last norm; past: one list a layer, filled here."""
        start = past[0][0].shape[2] if past and past[0] else 0
        n = ids.shape[1]
        cos, sin = self.cos[start:start + n], self.sin[start:start + n]
        mask = torch.full((n, start + n), -math.inf, dtype=self.cos.dtype).triu(start + 1) if n > 1 else None
        x = self.model.embed_tokens(ids)
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask, past[i] if past is not None else None)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., hidden] -> [..., vocab]"""
        return functional.linear(hidden, self.model.embed_tokens.weight)

    def forward(self, ids: Tensor, past: list[list[Tensor]] | None = None) -> Tensor:
        """Logits of every position."""
        return self.logits(self.hidden(ids, past))


@torch.no_grad()
def generate(model: Llama, prompt: list[int], n_tokens: int, stop: set[int]) -> list[int]:
    """Greedy continuation of at most n_tokens ids, ending with the first of `stop` if one comes."""
    past: list[list[Tensor]] = [[] for _ in model.model.layers]
    out: list[int] = []
    ids = prompt
    while len(out) < n_tokens and not (out and out[-1] in stop):
        out.append(int(model(torch.tensor([ids]), past=past)[0, -1].argmax()))
        ids = out[-1:]
    return out


def count_parameters(model: Llama) -> int:
    """The tied embedding counts once."""
    return sum(p.numel() for p in model.parameters())
