// Small random decoders as plans, and programs made of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/plan/plan.h"
#include "format/pte/program_builder.h"
#include "reference.h"

namespace cria {

struct DecoderShape {
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;
  std::int64_t n_vocab = 0;
  std::int32_t n_heads = 0;
  std::int32_t n_kv_heads = 0;
  std::int32_t head_dim = 0;
  // Weight i has encoding (first_encoding + i) modulo the number of encodings.
  int first_encoding = 0;
  KvType kv_type = KvType::kF16;  // of keys and values
};

enum class MethodKind { kPrefill, kDecode, kVerify };

inline constexpr std::int64_t kMaxTokens = 8;  // of prefill and verify
inline constexpr std::int64_t kContext = 32;   // positions

// Two layers that between them use every kind of op; projections of several weights mix encodings.
Plan decoder_plan(const DecoderShape& shape, MethodKind kind);

// Weights of unit gain (variance 1 / columns) for a plan of decoder_plan.
WeightBytes random_weights(const Plan& plan, unsigned seed);

// The program at `path`: prefill, decode and verify for a delegate that runs plans.
Status write_decoder(const std::string& path, const DecoderShape& shape, const WeightBytes& weights,
                     const std::string& delegate);

// The parts of the same, for programs that are wrong on purpose.
pte::ProgramSpec decoder_spec(const DecoderShape& shape, const std::string& delegate);

}  // namespace cria
