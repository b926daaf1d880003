// The signature of cria's language-model methods: what the compiler writes and the runtime expects.
//
//   argument     type      shape                              arena       role
//   tokens       int64     [1, max_tokens]                    1           input 0
//   input_pos    int64     [1]                                1           input 1
//   kv_cache     uint8     [n_positions, bytes_per_position]  2           internal
//   scratch      uint8     [scratch_bytes]                    1           internal
//   logits       float32   [1, 1 or max_tokens, n_vocab]      1           output 0
//
// tokens, kv_cache (and logits if all_rows) are dynamic with these bounds. A caller of a stock
// runtime sees the two inputs and the output; cria's runtime passes its own cache as kv_cache, with
// as many positions as it has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/pte/program_builder.h"

namespace cria::pte {

inline constexpr int kTokensArgument = 0;
inline constexpr int kInputPosArgument = 1;
inline constexpr int kKvCacheArgument = 2;
inline constexpr int kScratchArgument = 3;
inline constexpr int kLogitsArgument = 4;
inline constexpr int kLlmArgumentCount = 5;

struct LlmMethodShape {
  std::int64_t max_tokens = 1;           // of one call
  std::int64_t n_positions = 0;          // the context that the program is compiled for
  std::uint64_t bytes_per_position = 0;  // of the cache
  std::uint64_t scratch_bytes = 0;
  std::int64_t n_vocab = 0;
  bool all_rows = false;  // logits of every token (verify), not only of the last (prefill, decode)
  bool operator==(const LlmMethodShape&) const = default;
};

// The five arguments. Fails with kUnsupported when a size exceeds the format's 32 bits.
Result<std::vector<ArgumentSpec>> llm_arguments(const LlmMethodShape& shape);

// The other way: the shape of a method that has this signature. Fails with kUnsupported, naming
// what differs, when `plan` is something else (a program that cria did not make).
Result<LlmMethodShape> read_llm_method(const ExecutionPlan& plan);

}  // namespace cria::pte
