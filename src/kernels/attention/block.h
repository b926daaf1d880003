// attention by blocks of rows: what all instruction sets share. Internal linkage throughout, as in
// panel/generic.h.
//
// Rows (a token and a query head) go through the cache together, up to 32 at a time, tile by tile,
// so that a tile is read from memory once. Half floats are converted for two heads at a time. A
// tile of int8 keys is a linear over its panels. What is left to the instruction set: Form, below.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/attention/generic.h"
#include "kernels/isa.h"

namespace cria::attention_block {
namespace {

inline constexpr int kTile = spec::kAttentionTile;
inline constexpr int kMaxRows = kA8TileTokens;

// One token and query head, and its running state as spec::AttentionState.
struct Row {
  const float* q;
  float* out;
  std::int64_t n_positions;  // that it sees
  float factor;              // as spec::AttentionQuery has it
  float top;
  float grow;                                   // of the tile at hand, as in spec::TileFactors
  alignas(64) float sum[spec::kAttentionSums];  // of int8 values: the first
  alignas(64) float acc[kMaxHeadDim];

  // Positions of the tile at p0 that it sees.
  int n_in_tile(std::int64_t p0) const { return spec::n_in_tile(n_positions, p0); }
};

// The largest of some scores, passing over not-a-number, and whether their sum is not-a-number: one
// of them is then, or one is so large that it makes no difference (spec::kScoreLimit).
struct TopScore {
  float score;
  bool has_nan;
};

// Consecutive rows of a call, and what they share.
struct Block {
  // Leaves the arrays as they are: they are 60 KB, which for a short context takes longer to clear
  // than all else.
  explicit Block(const AttentionArgs& of_call) : args(of_call), n_rows(0) {}

  const AttentionArgs& args;
  int n_rows;
  Row rows[kMaxRows];             // each sees at least as many positions as the one before
  float scores[kMaxRows][kTile];  // of the tile at hand; then weights, if values are half floats
  // Weights, if values are int8: what spec::exp2_word gave, zeros where a row sees nothing, in the
  // order that Form wants.
  alignas(64) std::int16_t words[kMaxRows][kTile];
  // The queries as int8, when the keys are.
  std::int8_t codes[kMaxRows * kMaxHeadDim];
  A8Block blocks[kMaxRows * kMaxHeadDim / kColumnGroup];

  // The first row that sees anything of the tile at p0: those after it do, too.
  int first_row(std::int64_t p0) const {
    int r = 0;
    while (rows[r].n_positions <= p0) ++r;
    return r;
  }
};

// --- scores --------------------------------------------------------------------------------------

// Whether row r and the next are heads of one token: then they see the same positions.
inline bool is_pair(const Block& block, int r) {
  return r + 1 < block.n_rows && block.rows[r].n_positions == block.rows[r + 1].n_positions &&
         block.rows[r].q + block.args.head_dim == block.rows[r + 1].q;
}

template <typename Form>
inline void score_tile_f16(Block& block, std::int64_t p0, int n_seen) {
  if constexpr (requires { Form::score_tile_f16(block, p0, n_seen); }) {
    if (Form::score_tile_f16(block, p0, n_seen)) return;
  }
  for (int r = 0; r < block.n_rows;) {
    const int n = block.rows[r].n_in_tile(p0);
    if (is_pair(block, r)) {
      Form::template score_halves<2>(block.args, block.rows[r].q, p0, n, block.scores + r);
      r += 2;
    } else {
      Form::template score_halves<1>(block.args, block.rows[r].q, p0, n, block.scores + r);
      ++r;
    }
  }
}

inline void quantize_queries(Block& block) {
  const std::int64_t dim = block.args.head_dim;
  for (int r = 0; r < block.n_rows; ++r) {
    Row& row = block.rows[r];
    row.factor =
        spec::score_factor(block.args) *
        spec::quantize_query({row.q, 0, block.n_rows, r, 1, dim, block.codes, block.blocks});
  }
}

// All rows with all panels that any of them sees: what a row does not see is masked later.
template <typename Form>
inline void score_tile_q8(Block& block, std::int64_t p0, int n) {
  const AttentionArgs& args = block.args;
  const std::int64_t n_keys = (n + kKvPanel - 1) / kKvPanel * kKvPanel;
  Form::linear_a8({.encoding = Encoding::kQ8,
                   .panels = args.k + p0 / kKvPanel * kv_panel_bytes(args.head_dim),
                   .n_rows = n_keys,
                   .n_cols = args.head_dim,
                   .codes = block.codes,
                   .blocks = block.blocks,
                   .n_tokens = block.n_rows,
                   .out = block.scores[0],
                   .out_stride = kTile,
                   .accumulate = false});
  if (args.v_type == KvType::kQ8) return;  // what makes words applies the factor
  for (int r = 0; r < block.n_rows; ++r) {
    const float factor = block.rows[r].factor;  // a copy, which stores cannot change
    for (std::int64_t i = 0; i < n_keys; ++i) block.scores[r][i] *= factor;
  }
}

inline void shrink_values(float shrink, std::int64_t head_dim, Row& row) {
  if (shrink == 1.0f) return;
  for (std::int64_t d = 0; d < head_dim; ++d) row.acc[d] *= shrink;
}

// For values as half floats. Raises the running maximum to that of a tile and returns what sums
// shrink by; the values summed so far do.
inline float raise_top(const AttentionArgs& args, float tile_top, Row& row) {
  const float before = row.top;
  row.top = tile_top > before ? tile_top : before;
  row.grow = 1.0f;
  const float shrink = spec::exp2_of_negative(before - row.top);
  shrink_values(shrink, args.head_dim, row);
  return shrink;
}

// For int8 values. The first `n` scores of row r become words; kWhole: they are all of the tile.
template <typename Form, bool kWhole>
inline void weigh_words(Block& block, int r, int n) {
  Row& row = block.rows[r];
  const TopScore top = Form::template top_of<kWhole>(block.scores[r], n);
  const float tile_top = top.score * row.factor;
  const spec::TileFactors factors = spec::raise_top(tile_top, top.has_nan, row.top);
  row.grow = factors.grow;
  shrink_values(factors.shrink, block.args.head_dim, row);
  const spec::WordOfScore word(row.factor, tile_top);
  const int of_words = Form::template make_words<kWhole>(block.scores[r], word, n, block.words[r]);
  row.sum[0] = spec::grown_sum(row.sum[0], factors, of_words);
}

// --- values --------------------------------------------------------------------------------------

template <typename Form>
inline void add_values_f16(Block& block, std::int64_t p0, int n_seen) {
  if constexpr (requires { Form::add_values_f16(block, p0, n_seen); }) {
    if (Form::add_values_f16(block, p0, n_seen)) return;
  }
  for (int r = 0; r < block.n_rows;) {
    if (is_pair(block, r)) {
      Form::template add_row_halves<2>(block, r, p0);
      r += 2;
    } else {
      Form::template add_row_halves<1>(block, r, p0);
      ++r;
    }
  }
}

// The scales of a tile of int8 values for 32 columns, for rows that see more and more of it.
struct ColumnScales {
  alignas(64) float of_positions[kTile];
  // spec::scale_word of the positions of normalize(), zeros after them, in the order of words.
  alignas(64) std::int16_t words[kTile];
  float of_code;

  // Once scales were loaded.
  void begin() {
    n_ = 0;
    top_bits_ = 0;
  }

  // For rows that see the first n positions. REQUIRES: n is no smaller than in the call before.
  template <typename Form>
  void normalize(int n) {
    if (n != n_) normalize_anew<Form>(n);
  }

 private:
  // Not inlined: it is long, and rare where rows see whole tiles.
  template <typename Form>
  [[gnu::noinline]] void normalize_anew(int n) {
    for (int i = n_; i < n; ++i) {
      top_bits_ = std::max(top_bits_, std::bit_cast<std::uint32_t>(of_positions[i]) & 0x7fffffffu);
    }
    n_ = n;
    const spec::WeightScale scale = spec::weight_scale(std::bit_cast<float>(top_bits_));
    of_code = scale.of_code;
    Form::scale_words(of_positions, scale.to_word, n, words);
  }

  int n_;
  std::uint32_t top_bits_;  // of the largest magnitude
};

// Of all columns.
using ValueScales = ColumnScales[kMaxHeadDim / kColumnGroup];

// Of a tile.
struct TileValueScales {
  bool one_scale;  // all groups of each position have the same, as store_q8 writes them
  ValueScales of;

  // Different scales of a position, and so bytes of its weight.
  int n(std::int64_t head_dim) const {
    return one_scale ? 1 : static_cast<int>(head_dim / kColumnGroup);
  }

  // Those of positions [p0, p0 + n).
  template <typename Form>
  void load(const AttentionArgs& args, std::int64_t p0, int n) {
    Form::load_value_scales(args, p0, n, of);
    const auto n_bytes = static_cast<std::size_t>(n) * sizeof(float);
    one_scale = true;
    for (int g = 1; g < args.head_dim / kColumnGroup; ++g) {
      one_scale &= std::memcmp(of[g].of_positions, of[0].of_positions, n_bytes) == 0;
    }
  }
};

// The panels of a tile of int8 values.
struct ValuePanels {
  const std::byte* first;
  std::int64_t panel_bytes;
  std::int64_t quad_bytes;  // of all columns
  int n;
};

// kRows rows from r on.
template <typename Form, int kRows>
inline void add_rows_q8(Block& block, TileValueScales& scales, int r, std::int64_t p0) {
  const std::int64_t dim = block.args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const int n = block.rows[r + kRows - 1].n_in_tile(p0);  // the most
  const ValuePanels panels = {block.args.v + p0 / kKvPanel * panel_bytes, panel_bytes, 4 * dim,
                              static_cast<int>((n + kKvPanel - 1) / kKvPanel)};
  typename Form::WeightBytes weights[kRows];
  const int n_scales = scales.n(dim);
  for (int g = 0; g < dim / kColumnGroup; ++g) {
    for (int i = 0; i < kRows && g < n_scales; ++i) {
      const Row& row = block.rows[r + i];
      const int n_seen = row.n_in_tile(p0);
      ColumnScales& of_group = scales.of[g];
      of_group.normalize<Form>(n_seen);
      const int factor = Form::quantize_row(block.words[r + i], of_group.words, n_seen, weights[i]);
      weights[i].scale = of_group.of_code * row.grow * spec::codes_a_byte(factor);
    }
    Form::template add_codes<kRows>(panels, weights, g * kColumnGroup, &block.rows[r]);
  }
}

template <typename Form>
inline void add_values_q8(Block& block, std::int64_t p0, int n_seen) {
  if constexpr (requires { Form::add_values_q8(block, p0, n_seen); }) {
    return Form::add_values_q8(block, p0, n_seen);
  } else {
    TileValueScales scales;
    scales.load<Form>(block.args, p0, n_seen);
    int r = block.first_row(p0);
    for (; r + 4 <= block.n_rows; r += 4) add_rows_q8<Form, 4>(block, scales, r, p0);
    const int left = block.n_rows - r;
    if (left == 3) add_rows_q8<Form, 3>(block, scales, r, p0);
    if (left == 2) add_rows_q8<Form, 2>(block, scales, r, p0);
    if (left == 1) add_rows_q8<Form, 1>(block, scales, r, p0);
  }
}

// --- a block of rows -----------------------------------------------------------------------------

template <typename Form>
inline void attend_tile(Block& block, std::int64_t p0) {
  const AttentionArgs& args = block.args;
  const int n = block.rows[block.n_rows - 1].n_in_tile(p0);
  if (args.k_type == KvType::kQ8) {
    score_tile_q8<Form>(block, p0, n);
  } else {
    score_tile_f16<Form>(block, p0, n);
  }
  for (int r = block.first_row(p0); r < block.n_rows; ++r) {
    Row& row = block.rows[r];
    const int n_seen = row.n_in_tile(p0);
    if (args.v_type == KvType::kF16) {
      Form::weigh_tile(args, block.scores[r], n_seen, row);
    } else if (n_seen == kTile) {
      weigh_words<Form, true>(block, r, n_seen);
    } else {
      weigh_words<Form, false>(block, r, n_seen);
    }
  }
  if (args.v_type == KvType::kQ8) {
    add_values_q8<Form>(block, p0, n);
  } else {
    add_values_f16<Form>(block, p0, n);
  }
}

template <typename Form>
inline void attend(Block& block) {
  const std::int64_t dim = block.args.head_dim;
  for (int r = 0; r < block.n_rows; ++r) {
    Row& row = block.rows[r];
    row.factor = 1.0f;
    row.top = -std::numeric_limits<float>::infinity();
    for (float& sum : row.sum) sum = 0.0f;
    for (std::int64_t d = 0; d < dim; ++d) row.acc[d] = 0.0f;
  }
  if (block.args.k_type == KvType::kQ8) quantize_queries(block);
  const std::int64_t n_positions = block.rows[block.n_rows - 1].n_positions;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kTile) attend_tile<Form>(block, p0);
  for (int r = 0; r < block.n_rows; ++r) {
    const Row& row = block.rows[r];
    spec::divide_by_sum(row.acc, spec::sum_of_weights(row.sum), dim, row.out);
  }
}

// For head_dim % 8 == 0. Form is how an instruction set does its part (`static` members):
//   linear_a8(args)                              the op
//   score_halves<heads>(args, q, p0, n, scores)  scores[h][i] of q[h] . k[p0 + i], i < n, of 1 or 2
//                                                heads whose queries follow each other
//   weigh_tile(args, scores, n, row)             scores -> weights for half floats, in place;
//                                                shrinks what was summed before
//   top_of<whole>(scores, n)                     their TopScore; whole: n is kTile
//   make_words<whole>(scores, word, n, words)    the first n scores -> words, zeros up to the end
//                                                of the tile; returns their sum
//   scale_words(scales, to_word, n, words)       spec::scale_word of the first n, then zeros
//   add_row_halves<heads>(block, r, p0)          acc of rows r .. += weights times half floats
//   score_tile_f16(block, p0, n), add_values_f16(block, p0, n)
//                                                if there are such: both for all rows of a tile;
//                                                false leaves it to the two above
//   add_values_q8(block, p0, n)                  if there is such: acc of the rows from first_row
//   on
//                                                += weights times int8 values, of the n positions
//                                                that any row sees. Else these four:
//   WeightBytes                                  weights of a row for 32 columns as integers
//   load_value_scales(args, p0, n, scales)
//   quantize_row(words, scales, n, out)          spec::weight_code of the first n of a tile as
//                                                WeightBytes, but for their scale; returns
//                                                spec::byte_factor
//   add_codes<rows>(panels, weights, d, rows)    acc of 1 to 4 rows, columns d .. d + 31, +=
//                                                WeightBytes times int8 values
template <typename Form>
inline void attention(const AttentionArgs& args) {
  if (args.head_dim % 8 != 0) return spec::attention(args);  // no such model is known
  Block block(args);
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      Row& row = block.rows[block.n_rows++];
      row.q = args.q + t * args.q_stride + h * args.head_dim;
      row.out = args.out + t * args.out_stride + h * args.head_dim;
      row.n_positions = args.first_position + t + 1;
      if (block.n_rows == kMaxRows) {
        attend<Form>(block);
        block.n_rows = 0;
      }
    }
  }
  if (block.n_rows > 0) attend<Form>(block);
}

}  // namespace
}  // namespace cria::attention_block
