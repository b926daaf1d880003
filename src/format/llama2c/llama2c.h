// Models of karpathy/llama2.c: `.bin` files of float32 weights, read in place.
//
// Version 0 (no magic): seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size --
// negative when the head is a table of its own --, seq_len), then token_embedding; for all layers
// rms_att, wq, wk, wv, wo, rms_ffn, w1, w2, w3; rms_final; cos and sin tables (not needed); wcls.
// Version 1: "ak42" (u32 0x616b3432), i32 1, the seven i32, u8 shared head, zeros up to byte 256;
// then rms_att, rms_ffn, rms_final, token_embedding, wq, wk, wv, wo, w1, w2, w3, wcls.
// Version 2 (int8 groups) is refused. Source: llama2.c, run.c and export.py.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cria {

// One float32 weight of one layer.
struct Llama2cTensor {
  std::string name;  // "wq.3", "rms_final"
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::uint64_t offset = 0;          // from the start of the file
  std::span<const std::byte> bytes;  // in place
};

struct Llama2cFile {
  int version = 0;
  std::int64_t dim = 0;
  std::int64_t hidden_dim = 0;
  std::int64_t n_layers = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t vocab_size = 0;  // positive
  std::int64_t seq_len = 0;
  bool shared_classifier = true;
  std::vector<Llama2cTensor> tensors;

  const Llama2cTensor* find_tensor(std::string_view name) const;  // null: no such tensor
};

// The header's sizes must be sane and account for every byte of the file. kBadInput otherwise.
// `what` names the file in errors. Touches no tensor data.
Result<Llama2cFile> parse_llama2c(std::span<const std::byte> bytes, std::string_view what);

// Whether the header is one of llama2.c: the magic, or seven plausible sizes. (Version 0 has no
// magic, so this is a guess; ask after the formats that have one.)
bool recognizes_llama2c(std::span<const std::byte> bytes);

}  // namespace cria
