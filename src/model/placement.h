// Where the numbers of a small decoder go in a large one that computes the same function.
//
// The large decoder (hidden size H, head size D, capitals throughout) does in each step what the
// small one (h, d) does, on more numbers:
//
// - The residual stream holds H / 4h copies of the small one and zeros, so that its mean square is
//   a quarter of the small one's: RMSNorm with a quarter of epsilon gives twice the small one's
//   result, and norm weights are halved, which every float format does without loss. Projections
//   that write the stream have their rows once a copy. Norm weights are zero except for the copies
//   that are read: copy 0, and copy 1 by Q if D > d.
// - A query head goes to the group of a copy of its key head; pair i of a rotated head of d becomes
//   pair i * D/d of a head of D, which has the same frequency. The attention's scale 1/sqrt(D)
//   instead of 1/sqrt(d) is made up for by a factor sqrt(D/d) in the norm weights of copy 1, which
//   are kept as float32: bfloat16 matrices could not carry it.
// - A layer beyond the small ones has weights of a small layer and zeros in attn_output and
//   ffn_down, so that it adds nothing to the stream. All else is zero.
// - Ids that only the large vocabulary has must lose. Two channels that are free in the stream hold
//   a constant v from the embedding on; the output norm gives them the weights +w and -w, and so
//   the values +-vw / rms_H, rms_H being half of the small stream's rms_h. A row (v, v) of the
//   embedding, which is also the head, has a logit that is neither more nor less; the rows of the
//   padded ids, (-L, +L), have the logit -2vwL / rms_H = -2^23 / rms_h. The two channels add
//   2v^2 / H to the mean square; epsilon is less by as much.
//
// Copies and runs begin at multiples of h, d and 32, so blocks of 32 columns hold the same numbers
// as in the small matrices and are quantized in the same way.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"

namespace cria {

// Columns [to, to + n) of a large row are columns [from, from + n) of the small one.
struct ColumnRun {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t n = 0;
};

// How one matrix of the large model is made.
struct MatrixPlacement {
  std::string source;              // canonical name of the small matrix
  std::vector<std::int64_t> rows;  // of each large row: its small row, or kZeroRow
  std::vector<ColumnRun> columns;  // the rest is zero
};
inline constexpr std::int64_t kZeroRow = -1;

// A factor a copy: weights [factor[0] * w, factor[1] * w, ...] and zeros.
struct NormPlacement {
  std::string source;
  std::vector<double> factors;
};

// The two constant channels: columns column and column + 1 of the stream.
struct ConstantChannels {
  std::int64_t column = 0;
  float value = 0x1p-10F;       // v: not lost in the half-precision scale of a block of 8 bits
  float norm_weight = 0x1p16F;  // w
  float padded = 0x1p15F;       // L: a half float holds it
};

class Placement {
 public:
  // `large` needs its sizes only. kInvalidArgument says which of them cannot hold the small model.
  static Result<Placement> create(const LlamaConfig& small, const LlamaConfig& large);

  // `canonical_name`: a weight of the large model (model/checkpoint.h).
  MatrixPlacement matrix(std::string_view canonical_name) const;
  NormPlacement norm(std::string_view canonical_name) const;

  const ConstantChannels& constant() const { return constant_; }
  float norm_epsilon() const { return norm_epsilon_; }  // of the large model

 private:
  Placement(const LlamaConfig& small, const LlamaConfig& large);
  Status check() const;

  std::vector<std::int64_t> straight(std::int64_t n_small, std::int64_t n_large) const;
  std::vector<std::int64_t> in_every_copy() const;
  std::vector<std::int64_t> q_rows() const;
  std::vector<std::int64_t> kv_rows(bool rotated) const;
  std::vector<ColumnRun> attention_columns() const;
  std::int64_t q_head_of(std::int64_t large_head) const;
  std::int64_t kv_head_of(std::int64_t large_head) const;
  void put_head(std::int64_t from_head, std::int64_t to_head, bool rotated,
                std::vector<std::int64_t>& rows) const;

  LlamaConfig small_;
  LlamaConfig large_;
  std::int64_t n_copies_;     // of the small stream
  std::int64_t q_copy_;       // the copy that Q reads
  std::int64_t group_;        // query heads a small key head
  std::int64_t large_group_;  // query heads a large key head
  std::int64_t kv_copies_;    // large key heads a small one
  ConstantChannels constant_;
  float norm_epsilon_;
};

}  // namespace cria
