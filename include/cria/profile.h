// What every op of a run took: the hook of `cria profile`.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace cria {

// One op, right after it ran. Texts are valid during the call.
struct OpRecord {
  std::string_view method;     // of the program: "prefill", "decode", "verify"
  std::string_view delegate;   // what ran it: "CriaCpuBackend"
  std::string_view op;         // its kind: "linear"
  std::string_view name;       // which one: "blk.3.qkv"; may be empty
  std::int32_t layer = -1;     // -1: of no layer
  std::int32_t n_tokens = 0;   // of the step
  std::uint64_t start_ns = 0;  // of std::chrono::steady_clock
  std::uint64_t end_ns = 0;
  std::uint64_t weight_bytes = 0;  // that it had to read
  std::uint64_t kv_bytes = 0;      // of the cache that it had to read or write
  std::uint64_t macs = 0;          // multiply-adds of matrices and attention
};

// Called on the thread that called forward(), in the order of the ops, one at a time. What it takes
// itself makes the run longer. Must not throw and must not use the engine.
using OnOp = std::function<void(const OpRecord&)>;

}  // namespace cria
