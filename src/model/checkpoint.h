// A checkpoint, whatever its file format: config, weights under one set of names, tokenizer, end
// tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "tensor/row_source.h"
#include "tensor/storage_type.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// One weight matrix (or vector: n_rows == 1) where it lies in its mapped file: either rows of one
// storage type, one after another, or what a RowSource makes rows of.
struct StoredWeight {
  std::string name;                      // canonical (see below)
  std::string file_name;                 // as the file calls it, for errors
  StorageType type = StorageType::kF32;  // of `bytes`
  std::int64_t n_rows = 0;               // output features
  std::int64_t n_cols = 0;               // input features, contiguous
  std::span<const std::byte>
      bytes;  // n_rows * storage_row_bytes(type, n_cols); lives as long as the checkpoint
  // Heads whose rows are in interleaved rotary order (GGUF, llama2.c) in the file; 0 if in
  // half-split order.
  std::int64_t interleaved_heads = 0;

  std::shared_ptr<const RowSource> source;  // null: the rows are in `bytes`; else `bytes` is empty

  // Bytes of row `row` in half-split order (the order of all of cria), wherever the file keeps it.
  // REQUIRES: no source.
  std::span<const std::byte> row(std::int64_t row) const;

  // Row `row`, in half-split order, as floats. out.size() == n_cols.
  void decode_row(std::int64_t row, std::span<float> out) const;
  // The encoding that holds the weight without loss, or else (see is_exact) the one to round it to.
  Encoding native_encoding() const;
  // Whether every number has itself in `encoding`.
  bool is_exact(Encoding encoding) const;
  // Row `row` as codes of the native encoding, without loss. REQUIRES: is_exact(native_encoding()),
  // which is no dense encoding; `out` was sized for it.
  void split_row(std::int64_t row, RowCodes& out) const;

  std::string type_name() const;  // "BF16", "Q4_K", "GPTQ 4 bits"
  std::uint64_t stored_bytes() const;
};

// Canonical names (GGUF's): token_embd.weight,
// blk.N.{attn_norm,attn_q,attn_k,attn_v,attn_output,ffn_norm, ffn_gate,ffn_up,ffn_down}.weight,
// output_norm.weight, output.weight (absent when tied).
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const LlamaConfig& config() const { return config_; }
  const Vocabulary* vocabulary() const { return vocabulary_ ? vocabulary_.get() : nullptr; }
  const std::string& description() const { return description_; }  // "GGUF v3, 16 layers, Q4_0"
  const std::vector<StoredWeight>& weights() const { return weights_; }
  // kNotFound names the weight.
  Result<const StoredWeight*> weight(std::string_view canonical_name) const;
  // Tells the kernel that the bytes of a weight will not be needed soon, so that reading a large
  // checkpoint does not keep all of it resident. Advice only: it may be read again.
  virtual void forget(const StoredWeight&) const {}

 protected:
  LlamaConfig config_;
  std::shared_ptr<const Vocabulary> vocabulary_;  // null when the checkpoint brings none
  std::string description_;
  std::vector<StoredWeight> weights_;
};

struct OpenOptions {
  std::string
      tokenizer_path;  // overrides the checkpoint's own; needed by llama2.c files, which have none
};

// Opens a GGUF file (any part of a split one), a Hugging Face folder, or a llama2.c `.bin`, by
// looking at the content, not the name. All weights that a Llama decoder needs are there and have
// the right shape when this succeeds. `path` must exist: ids of models are resolved before
// (model/resolve.h).
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path,
                                                    const OpenOptions& options = {});

}  // namespace cria
