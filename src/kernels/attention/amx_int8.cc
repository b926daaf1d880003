// attention with AMX-INT8, over a cache in int8; what has few rows or half floats goes to AVX-512
// VNNI.
//
// Rows go through a tile of the cache 16 at a time. Scores: 16 rows times 16 positions times a
// group of columns, whose sums leave the tile registers for their scales, as in linear_a8. Values:
// 16 rows times 64 positions times 16 columns; the panels of the cache, which have 16 positions,
// are put together once for all rows. Weights are cut into planes as in avx512.h.
//
// Most of the time goes into the softmax between the two, and tile instructions are strewn over it:
// while scores of some rows are made of products, the weights of the rows before are multiplied,
// and while these scores become weights, the keys of the rows to come. Measured on a Xeon, tile
// instructions after some thousand cycles without cost 1500 cycles more than they take.
#include <utility>

#include "kernels/attention/avx512.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace amx_attention {
namespace {

using namespace avx512;
using attention_block::kTile;

constexpr int kRows = kAmxRows;
constexpr int kMaxRows = 4 * kRows;  // that share a tile of the cache read once
// Fewer rows (tokens times heads) are faster without tiles.
constexpr std::int64_t kLeastRows = 16;
constexpr int kKeyPanels = kTile / kKvPanel;
constexpr int kMaxGroups = kMaxHeadDim / kColumnGroup;
constexpr int kDeep = 64;     // positions of a tile register of values
constexpr int kColumns = 16;  // of a tile register of values

using Products = std::int32_t[kRows][16];

// --- a tile of the cache -------------------------------------------------------------------------

struct Keys {
  alignas(64) std::uint8_t codes[kKeyPanels][kMaxGroups][kQuads][64];  // signed
  alignas(64) float scales[kKeyPanels][kMaxGroups][kKvPanel];
};

// The panels of positions [p0, p0 + n).
inline void load_keys(const AttentionArgs& args, std::int64_t p0, int n, Keys& keys) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const auto n_groups = static_cast<int>(args.head_dim / kColumnGroup);
  const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
    const std::byte* scales = panel + kv_panel_scales(args.head_dim);
    for (int g = 0; g < n_groups; ++g) {
      CRIA_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        const __m512i codes = load_512(panel + (g * kQuads + q) * 64);
        _mm512_storeu_si512(keys.codes[p][g][q], _mm512_sub_epi8(codes, offset));
      }
      _mm512_storeu_ps(keys.scales[p][g], load_halves(scales + g * 2 * kKvPanel));
    }
  }
}

struct Values {
  int n_deep;  // in 64 positions
  alignas(64) std::byte codes[kTile / kDeep][kMaxHeadDim / kColumns][kDeep / 4][64];
  alignas(64) ValueScales scales;
  attention_block::LargestScale largest[kMaxGroups];
};

// Of positions [p0, p0 + n); codes past them are zeros up to the next 64.
inline void load_values(const AttentionArgs& args, std::int64_t p0, int n, Values& out) {
  constexpr int kQuadsOfPanel = kKvPanel / 4, kQuadsOfTile = kDeep / 4;
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panels = args.v + p0 / kKvPanel * panel_bytes;
  const int n_stored = (n + 3) / 4, n_quads = (n + kDeep - 1) / kDeep * kQuadsOfTile;
  for (int q = 0; q < n_quads; ++q) {
    const std::byte* from = panels + q / kQuadsOfPanel * panel_bytes + q % kQuadsOfPanel * 4 * dim;
    auto* to = out.codes[q / kQuadsOfTile];
    for (std::int64_t c = 0; c < dim / kColumns; ++c) {
      const __m512i codes = q < n_stored ? load_512(from + 64 * c) : _mm512_setzero_si512();
      _mm512_storeu_si512(to[c][q % kQuadsOfTile], codes);
    }
  }
  out.n_deep = n_quads / kQuadsOfTile;
  avx2::load_value_scales(args, p0, n, out.scales);
  for (std::int64_t g = 0; g < dim / kColumnGroup; ++g) {
    out.largest[g] = attention_block::LargestScale(out.scales[g]);
  }
}

// --- 16 rows -------------------------------------------------------------------------------------

// Rows of a call, each seeing at least as many positions as the one before, and their running state
// as spec::AttentionState.
struct Rows {
  int n;
  float* out[kRows];
  std::int64_t n_positions[kRows];
  // The queries; those past n are zeros.
  alignas(64) std::int8_t codes[kMaxGroups][kRows][kColumnGroup];
  A8Block blocks[kMaxGroups][kRows];
  alignas(64) float top[kRows];
  alignas(64) float sum[kRows][8];
  alignas(64) float acc[kRows][kMaxHeadDim];

  void clear(std::int64_t head_dim) {
    n = 0;
    std::memset(codes, 0, static_cast<std::size_t>(kRows * head_dim));
    std::memset(sum, 0, sizeof(sum));
    for (int r = 0; r < kRows; ++r) {
      top[r] = -std::numeric_limits<float>::infinity();
      std::memset(acc[r], 0, static_cast<std::size_t>(head_dim) * sizeof(float));
    }
  }

  void add(const float* q, float* to, std::int64_t n_seen, std::int64_t head_dim) {
    out[n] = to;
    n_positions[n] = n_seen;
    quantize_a8_avx2({q, 0, kRows, n, 1, head_dim, codes[0][0], blocks[0]});
    ++n;
  }

  // Positions that row r sees of the tile at p0.
  int n_in_tile(int r, std::int64_t p0) const { return spec::n_in_tile(n_positions[r], p0); }
};

// A step: 16 rows and a tile of the cache.
struct Step {
  Rows* rows = nullptr;
  Values* values = nullptr;
  int first = 0;      // the first row that sees anything of the tile
  int n_seen[kRows];  // positions that each row sees, not decreasing
  int n_panels = 0;   // of keys that any row sees

  Step() = default;
  Step(Rows& of_rows, Values& of_values, std::int64_t p0) : rows(&of_rows), values(&of_values) {
    for (int r = rows->n; r-- > 0;) {
      n_seen[r] = rows->n_in_tile(r, p0);
      if (n_seen[r] > 0) first = r;
    }
    n_panels = static_cast<int>((n_seen[rows->n - 1] + kKvPanel - 1) / kKvPanel);
  }
};

// Weights of a step.
struct Weights {
  alignas(64) float to_code[kMaxGroups][kRows];
  alignas(64) float of_code[kMaxGroups][kRows];
  WeightPlanes planes[kMaxGroups][kRows];
};

// --- tile instructions ---------------------------------------------------------------------------

using KeyProducts = Products[kMaxGroups][kKeyPanels];

// The products of a step's queries and keys, a few at each of 16 calls: in begin() they are begun,
// in end() they are stored.
class KeyMultiplier {
 public:
  KeyMultiplier(const Rows* rows, const Keys& keys, int n_groups, int n_panels, KeyProducts& out)
      : rows_(rows), keys_(keys), out_(out), n_panels_(n_panels), n_(n_groups * n_panels) {
    a_call_ = (n_ + kRows - 1) / kRows;
  }

  // a_call_ is 4 at most.
  void begin() {
    n_begun_ = std::min(a_call_, n_ - at_);
    for (int i = 0; i < n_begun_; ++i) {
      _tile_loadd(6, rows_->codes[(at_ + i) / n_panels_], kColumnGroup);
      _tile_loadd(7, keys_.codes[(at_ + i) % n_panels_][(at_ + i) / n_panels_], 64);
      switch (i) {
        case 0:
          _tile_zero(0);
          _tile_dpbssd(0, 6, 7);
          break;
        case 1:
          _tile_zero(1);
          _tile_dpbssd(1, 6, 7);
          break;
        case 2:
          _tile_zero(2);
          _tile_dpbssd(2, 6, 7);
          break;
        default:
          _tile_zero(3);
          _tile_dpbssd(3, 6, 7);
      }
    }
  }

  void end() {
    if (n_begun_ > 0) _tile_stored(0, at(0), 64);
    if (n_begun_ > 1) _tile_stored(1, at(1), 64);
    if (n_begun_ > 2) _tile_stored(2, at(2), 64);
    if (n_begun_ > 3) _tile_stored(3, at(3), 64);
    at_ += n_begun_;
  }

 private:
  Products& at(int i) { return out_[(at_ + i) / n_panels_][(at_ + i) % n_panels_]; }

  const Rows* rows_;
  const Keys& keys_;
  KeyProducts& out_;
  int n_panels_, n_;
  int a_call_;
  int at_ = 0, n_begun_ = 0;
};

// Sums of both planes: [16 columns][low, high].
using PlaneSums = Products[kMaxHeadDim / kColumns][2];

// The products of a step's weights and values, in 16 calls likewise.
class ValueMultiplier {
 public:
  ValueMultiplier(const Weights& weights, const Values* values, int n_groups, PlaneSums& out)
      : weights_(weights), values_(values), out_(out), n_(values == nullptr ? 0 : 2 * n_groups) {}

  void begin() {
    is_due_ = at_ < n_ && at_ * kRows <= call_ * n_;
    ++call_;
    if (!is_due_) return;
    constexpr auto kStride = static_cast<std::int64_t>(sizeof(WeightPlanes));
    const WeightPlanes* planes = weights_.planes[at_ / 2];
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < values_->n_deep; ++i) {
      _tile_loadd(5, values_->codes[i][at_], 64);
      _tile_loadd(4, planes->low + i * kDeep, kStride);
      _tile_dpbusd(2, 4, 5);
      _tile_loadd(4, planes->high + i * kDeep, kStride);
      _tile_dpbusd(3, 4, 5);
    }
  }

  void end() {
    if (!is_due_) return;
    _tile_stored(2, out_[at_][0], 64);
    _tile_stored(3, out_[at_][1], 64);
    ++at_;
  }

 private:
  const Weights& weights_;
  const Values* values_;
  PlaneSums& out_;
  int n_;
  int at_ = 0, call_ = 0;
  bool is_due_ = false;
};

template <typename Multiplier>
inline void multiply_all(Multiplier multiplier) {
  for (int r = 0; r < kRows; ++r) {
    multiplier.begin();
    multiplier.end();
  }
}

// --- scores --------------------------------------------------------------------------------------

struct Scores {
  alignas(64) float of[kRows][kTile];
  alignas(64) float tops[kRows];
};

// The scores of row r from its products, as linear_a8 makes them; kGroups is 0 for any number.
template <int kGroups>
inline void score_row(const Step& step, const Keys& keys, const KeyProducts& products,
                      const AttentionArgs& args, int r, Scores& scores) {
  const auto n_groups = kGroups > 0 ? kGroups : static_cast<int>(args.head_dim / kColumnGroup);
  const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  const __m512 scale = _mm512_set1_ps(args.scale);
  __m512 tops = infinity;
  for (int p = 0; p < kKeyPanels; ++p) {
    __m512 score = infinity;
    if (p < step.n_panels) {
      score = _mm512_setzero_ps();
      CRIA_UNROLL
      for (int g = 0; g < n_groups; ++g) {
        const __m512 x_scale = _mm512_set1_ps(step.rows->blocks[g][r].scale);
        const __m512 both = _mm512_mul_ps(_mm512_loadu_ps(keys.scales[p][g]), x_scale);
        score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load_512(products[g][p][r])), both, score);
      }
      score = _mm512_mul_ps(score, scale);
      if (step.n_seen[r] < kKvPanel * (p + 1)) {
        score = _mm512_mask_blend_ps(below(kKvPanel * p, step.n_seen[r]), infinity, score);
      }
      tops = _mm512_max_ps(score, tops);  // in this order not-a-number is passed over
    }
    _mm512_storeu_ps(scores.of[r] + kKvPanel * p, score);
  }
  scores.tops[r] = avx2::max_of_lanes(_mm256_max_ps(low_half(tops), high_half(tops)));
}

template <int kGroups>
inline void score_rows(const Step& step, const Keys& keys, const KeyProducts& products,
                       const AttentionArgs& args, ValueMultiplier meanwhile, Scores& scores) {
  for (int r = 0; r < kRows; ++r) {
    meanwhile.begin();
    if (r >= step.first && r < step.rows->n) {
      score_row<kGroups>(step, keys, products, args, r, scores);
    }
    meanwhile.end();
  }
}

// --- weights -------------------------------------------------------------------------------------

// spec::weight_scale of 16 rows.
inline void set_weight_scales(__m512 top, float* to_code, float* of_code) {
  const __m512 zero = _mm512_setzero_ps(), max = _mm512_set1_ps(spec::kWeightMax);
  const __mmask16 finite =
      _mm512_cmp_ps_mask(top, _mm512_set1_ps(std::numeric_limits<float>::infinity()), _CMP_LT_OQ);
  const __mmask16 tiny = _mm512_cmp_ps_mask(top, _mm512_set1_ps(spec::kA8Smallest), _CMP_LT_OQ);
  const __m512 not_a_number = _mm512_set1_ps(std::numeric_limits<float>::quiet_NaN());
  const __m512 to = _mm512_mask_blend_ps(finite, zero, _mm512_div_ps(max, top));
  const __m512 of = _mm512_mask_blend_ps(finite, not_a_number, _mm512_div_ps(top, max));
  _mm512_storeu_ps(to_code, _mm512_mask_blend_ps(tiny, to, zero));
  _mm512_storeu_ps(of_code, _mm512_mask_blend_ps(tiny, of, zero));
}

// Raises the running tops to those of the tile; what was summed before shrinks where it must.
// Returns exp of the tile's tops - the tops.
inline __m512 raise_tops(const Step& step, std::int64_t head_dim, const Scores& scores) {
  Rows& rows = *step.rows;
  const __m512 old = _mm512_loadu_ps(rows.top), tile = _mm512_loadu_ps(scores.tops);
  const __m512 top = _mm512_max_ps(tile, old);
  _mm512_storeu_ps(rows.top, top);
  alignas(64) float shrinks[kRows];
  _mm512_storeu_ps(shrinks, exp_of_negative(_mm512_sub_ps(old, top)));
  const unsigned raised = _mm512_cmp_ps_mask(tile, old, _CMP_GT_OQ);
  for (int r = step.first; r < rows.n; ++r) {
    if ((raised >> r & 1) == 0) continue;
    const __m512 shrink = _mm512_set1_ps(shrinks[r]);
    for (std::int64_t d = 0; d < head_dim; d += 16) {
      _mm512_storeu_ps(rows.acc[r] + d, _mm512_mul_ps(_mm512_loadu_ps(rows.acc[r] + d), shrink));
    }
    _mm256_store_ps(rows.sum[r], _mm256_mul_ps(_mm256_load_ps(rows.sum[r]), low_half(shrink)));
  }
  return exp_of_negative(_mm512_sub_ps(tile, top));
}

// The scores of row r -> weights -> planes.
inline void weigh_row(const Step& step, int n_groups, const Scores& scores, int r, Weights& out) {
  Rows& rows = *step.rows;
  const __m512 top = _mm512_set1_ps(rows.top[r]);
  __m512 p[kVectors];
  __m256 sum = _mm256_load_ps(rows.sum[r]);
  CRIA_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    p[i] = exp_of_negative(_mm512_sub_ps(_mm512_loadu_ps(scores.of[r] + 16 * i), top));
    sum = _mm256_add_ps(_mm256_add_ps(sum, low_half(p[i])), high_half(p[i]));
  }
  _mm256_store_ps(rows.sum[r], sum);
  for (int g = 0; g < n_groups; ++g) {
    __m512 w[kVectors];
    CRIA_UNROLL
    for (int i = 0; i < kVectors; ++i) {  // past what the row sees p is 0, and so is a code
      w[i] = _mm512_mul_ps(p[i], _mm512_loadu_ps(step.values->scales[g] + 16 * i));
    }
    quantize_weights(w, {out.to_code[g][r], out.of_code[g][r]}, out.planes[g][r]);
  }
}

inline void weigh_rows(const Step& step, std::int64_t head_dim, const Scores& scores,
                       KeyMultiplier meanwhile, Weights& out) {
  const auto n_groups = static_cast<int>(head_dim / kColumnGroup);
  const __m512 largest = raise_tops(step, head_dim, scores);
  for (int g = 0; g < n_groups; ++g) {
    alignas(64) float scales[kRows] = {};
    for (int r = step.first; r < step.rows->n; ++r) {
      scales[r] = step.values->largest[g].of(step.n_seen[r]);
    }
    set_weight_scales(_mm512_mul_ps(largest, _mm512_loadu_ps(scales)), out.to_code[g],
                      out.of_code[g]);
  }
  for (int r = 0; r < kRows; ++r) {
    meanwhile.begin();
    if (r >= step.first && r < step.rows->n) weigh_row(step, n_groups, scores, r, out);
    meanwhile.end();
  }
}

// acc += the sums of a step.
inline void add_sums(const Step& step, const PlaneSums& sums, const Weights& weights,
                     std::int64_t head_dim) {
  if (step.rows == nullptr) return;
  for (int r = step.first; r < step.rows->n; ++r) {
    for (int c = 0; c < head_dim / kColumns; ++c) {
      const __m512 scale = _mm512_set1_ps(weights.of_code[c / 2][r]);
      const __m512i low = load_512(sums[c][0][r]), high = load_512(sums[c][1][r]);
      const __m512i both = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
      float* acc = step.rows->acc[r] + c * kColumns;
      _mm512_storeu_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(both), scale, _mm512_loadu_ps(acc)));
    }
  }
}

// --- a block of rows -----------------------------------------------------------------------------

class Block {
 public:
  explicit Block(const AttentionArgs& args)
      : args_(args), n_groups_(static_cast<int>(args.head_dim / kColumnGroup)) {}

  int n_rows() const { return n_; }

  void add(const float* q, float* out, std::int64_t n_positions) {
    Rows& last = rows_[n_ / kRows];
    if (n_ % kRows == 0) last.clear(args_.head_dim);
    last.add(q, out, n_positions, args_.head_dim);
    ++n_;
  }

  // All rows; there are none afterwards.
  void attend() {
    Step last;
    Weights* now = &weights_[0];     // of `step`
    Weights* before = &weights_[1];  // of `last`
    enter(0);
    Step step = {rows_[0], values_[0], 0};
    p0_ = 0;
    at_ = 0;
    asm volatile("" : : : "memory");  // what tileloadd reads was stored before
    multiply_all(keys_of(step));
    while (step.rows != nullptr) {
      score(step, last, *before);
      add_sums(last, sums_, *before, args_.head_dim);
      const Step next = next_step();
      asm volatile("" : : : "memory");
      weigh_rows(step, args_.head_dim, scores_, keys_of(next), *now);
      asm volatile("" : : : "memory");
      std::swap(now, before);
      last = step;
      step = next;
    }
    multiply_all(ValueMultiplier(*before, last.values, n_groups_, sums_));
    add_sums(last, sums_, *before, args_.head_dim);
    write();
  }

 private:
  // Reads the tile at p0.
  void enter(std::int64_t p0) {
    const Rows& last = rows_[(n_ - 1) / kRows];
    const int n = last.n_in_tile(last.n - 1, p0);
    load_keys(args_, p0, n, keys_);
    load_values(args_, p0, n, values_[p0 / kTile % 2]);
  }

  // The next rows that see the tile at hand, or the first of the next tile; none at the end.
  Step next_step() {
    const int n_blocks = (n_ + kRows - 1) / kRows;
    if (++at_ == n_blocks) {
      at_ = 0;
      p0_ += kTile;
      while (at_ < n_blocks && rows_[at_].n_positions[rows_[at_].n - 1] <= p0_) ++at_;
      if (at_ == n_blocks) return {};
      enter(p0_);
    }
    return {rows_[at_], values_[p0_ / kTile % 2], p0_};
  }

  KeyMultiplier keys_of(const Step& step) {
    return {step.rows, keys_, n_groups_, step.n_panels, products_};
  }

  // `before`: of the last step.
  void score(const Step& step, const Step& last, const Weights& before) {
    const ValueMultiplier values(before, last.values, n_groups_, sums_);
    if (n_groups_ == 2) return score_rows<2>(step, keys_, products_, args_, values, scores_);
    if (n_groups_ == 4) return score_rows<4>(step, keys_, products_, args_, values, scores_);
    score_rows<0>(step, keys_, products_, args_, values, scores_);
  }

  void write() {
    for (int i = 0; i < n_; ++i) {
      const Rows& rows = rows_[i / kRows];
      const int r = i % kRows;
      spec::divide_by_sum(rows.acc[r], rows.sum[r], args_.head_dim, rows.out[r]);
    }
    n_ = 0;
  }

  const AttentionArgs& args_;
  const int n_groups_;
  int n_ = 0;  // rows
  Rows rows_[kMaxRows / kRows];
  std::int64_t p0_;  // the tile at hand, and
  int at_;           // whose turn it is
  Keys keys_;
  Values values_[2];  // of the tile at hand and the one before
  KeyProducts products_;
  Scores scores_;
  Weights weights_[2];  // of the step at hand and the one before, in turn
  PlaneSums sums_;
};

inline void attention(const AttentionArgs& args) {
  const AmxTiles tiles;
  Block block(args);
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      block.add(args.q + t * args.q_stride + h * args.head_dim,
                args.out + t * args.out_stride + h * args.head_dim, args.first_position + t + 1);
      if (block.n_rows() == kMaxRows) block.attend();
    }
  }
  if (block.n_rows() > 0) block.attend();
}

}  // namespace
}  // namespace amx_attention

void CRIA_AMX_INT8_NAME(attention)(const AttentionArgs& args) {
  const bool q8 = args.k_type == KvType::kQ8 && args.v_type == KvType::kQ8;
  if (!q8 || args.n_tokens * args.n_heads < amx_attention::kLeastRows) {
    return CRIA_AVX512VNNI_NAME(attention)(args);
  }
  amx_attention::attention(args);
}

}  // namespace cria
