// What the linears of a model read while it runs: the hook of `cria calibrate`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace cria {

// Rows that one or several linears are about to multiply with their weights. Valid during the call.
struct LinearInput {
  std::string_view method;               // of the program: "prefill", "decode", "verify"
  std::string_view delegate;             // what runs it: "CriaCpuBackend"
  std::span<const char* const> weights;  // of the linears that read them: "blk.3.attn_q.weight"
  const float* rows = nullptr;           // [n_rows, n_cols]
  std::int64_t n_rows = 0;  // tokens of the step, in order; 1 where only the last counts
  std::int64_t n_cols = 0;
};

// Called on the thread that called forward(), in the order of the ops, one at a time. Must not
// throw and must not use the engine.
using OnLinearInput = std::function<void(const LinearInput&)>;

}  // namespace cria
