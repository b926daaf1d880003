// A small valid plan with every kind of op, for tests.
#pragma once

#include "format/plan/plan.h"

namespace cria {

// One layer of a decoder: hidden 64, 4 query heads and 2 key heads of 16, ffn 96, 128 tokens.
inline Plan example_plan() {
  Plan plan;
  plan.max_tokens = 8;
  plan.n_vocab = 128;
  plan.kv = {.n_layers = 1, .n_kv_heads = 2, .head_dim = 16};
  plan.weights = {
      {"embed", Encoding::kQ8, true, 128, 64},      {"norm", Encoding::kF32, false, 1, 64},
      {"q", Encoding::kQ4, true, 64, 64},           {"kv", Encoding::kQ4Nl, true, 64, 64},
      {"frequencies", Encoding::kF32, false, 1, 8}, {"o", Encoding::kF16, true, 64, 64},
      {"gate_up", Encoding::kQ6K, true, 192, 64},   {"down", Encoding::kQ4KMin, true, 64, 96},
  };
  const auto add_buffer = [&plan](const char* name, std::int64_t width, bool single_row) {
    const std::uint64_t rows = single_row ? 1 : 8;
    plan.buffers.push_back({name, width, single_row, plan.scratch_bytes});
    plan.scratch_bytes += (rows * width * 4 + 63) / 64 * 64;
  };
  add_buffer("h", 64, false);          // 0
  add_buffer("normed", 64, false);     // 1
  add_buffer("qkv", 128, false);       // 2
  add_buffer("attention", 64, false);  // 3
  add_buffer("gate_up", 192, false);   // 4
  add_buffer("ffn", 96, false);        // 5
  add_buffer("sum", 64, false);        // 6
  add_buffer("silu", 64, false);       // 7
  add_buffer("product", 64, false);    // 8
  add_buffer("last", 64, true);        // 9
  add_buffer("logits", 128, true);     // 10
  using enum PlanOpKind;
  plan.ops = {
      {.kind = kEmbed, .out = 0, .weights = {0}},
      {.kind = kRmsNorm, .x = 0, .out = 1, .weights = {1}, .epsilon = 1e-5f},
      {.kind = kLinear, .x = 1, .out = 2, .weights = {2, 3}},
      {.kind = kRope, .out = 2, .weights = {4}, .column = 0, .n_heads = 6},
      {.kind = kKvAppend, .x = 2, .layer = 0, .column = 64, .column_v = 96},
      {.kind = kAttention, .x = 2, .out = 3, .scale = 0.25f, .layer = 0, .n_heads = 4},
      {.kind = kLinear, .x = 3, .out = 0, .weights = {5}, .accumulate = true},
      {.kind = kLinear, .x = 0, .out = 4, .weights = {6}},
      {.kind = kSwiGlu, .x = 4, .out = 5},
      {.kind = kLinear, .x = 5, .out = 0, .weights = {7}, .accumulate = true},
      {.kind = kAdd, .x = 0, .y = 1, .out = 6},
      {.kind = kSilu, .x = 6, .out = 7},
      {.kind = kMul, .x = 6, .y = 7, .out = 8},
      {.kind = kHadamard, .x = 8, .out = 7, .weights = {1}, .block = 32, .inverse = true},
      {.kind = kLastRow, .x = 7, .out = 9},
      {.kind = kLinear, .x = 9, .out = 10, .weights = {0}},
      {.kind = kOutput, .x = 10},
  };
  return plan;
}

// The same with attention in three ops of each head of the cache, for up to 256 positions.
inline Plan example_split_plan() {
  Plan plan = example_plan();
  std::vector<PlanOp> thirds;
  for (std::int32_t head = 0; head < 2; ++head) {
    const auto rows = static_cast<std::uint32_t>(plan.buffers.size());
    plan.buffers.push_back(
        {head == 0 ? "scores0" : "scores1", 2 * 2 * kScoreRecord, false, plan.scratch_bytes});
    plan.scratch_bytes += 8 * 2 * 2 * kScoreRecord * 4;
    PlanOp third{.layer = 0, .n_heads = 2, .kv_head = head, .n_kv_heads = 1, .block = 2};
    third.kind = PlanOpKind::kScores;
    third.x = 2;
    third.out = rows;
    third.scale = 0.25f;
    third.column = 32 * head;
    thirds.insert(thirds.begin() + head, third);
    third = {.kind = PlanOpKind::kSoftmax,
             .out = rows,
             .layer = 0,
             .n_heads = 2,
             .kv_head = head,
             .n_kv_heads = 1,
             .block = 2};
    thirds.push_back(third);
    third.kind = PlanOpKind::kMix;
    third.x = rows;
    third.out = 3;
    thirds.push_back(third);
  }
  plan.ops.erase(plan.ops.begin() + 5);
  plan.ops.insert(plan.ops.begin() + 5, thirds.begin(), thirds.end());
  return plan;
}

}  // namespace cria
