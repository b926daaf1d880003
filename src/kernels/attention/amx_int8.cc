// attention with AMX-INT8, over a cache in int8; what has few rows or half floats goes to AVX-512
// VNNI.
//
// Rows go through a tile of the cache 16 at a time. Scores: 16 rows times 16 positions times a
// group of columns, whose sums leave the tile registers for their scales, as in linear_a8. Values:
// 16 rows times 64 positions times 16 columns; the panels of the cache, which have 16 positions,
// are put together once for all rows. Weights and their planes are as in avx512.h.
//
// Most of the time goes into the softmax between the two, and the data of a step of 16 rows is as
// large as the first-level cache. So a step has two passes: its products with keys become scores
// panel by panel; then scores become weights, and strewn over that are the products of the step
// before with values. As in linear_a8, three things go on at a time in the first: while the scores
// of a panel are made, the products of the next leave the tile registers, and those of the one
// behind it are begun. Read right after they are stored, products had to be waited for: that was a
// twentieth of all time.
#include "kernels/attention/avx512.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace amx_attention {
namespace {

using namespace avx512;
using attention_block::kTile;

constexpr int kRows = kAmxRows;
constexpr int kMaxRows = 32 * kRows;  // that share a tile of the cache read once
// Fewer rows (tokens times heads) are faster without tiles.
constexpr std::int64_t kLeastRows = 16;
constexpr int kKeyPanels = kTile / kKvPanel;
constexpr int kMaxGroups = kMaxHeadDim / kColumnGroup;
constexpr int kDeep = 64;     // positions of a tile register of values
constexpr int kColumns = 16;  // of a tile register of values

// --- a tile of the cache -------------------------------------------------------------------------

// [panel][group], one after the other: with room between them for larger heads they would crowd a
// few sets of the first-level cache.
struct Keys {
  bool has_nan;  // or infinity, among the scales: only then scores may be not-a-number
  alignas(64) std::uint8_t codes[kKeyPanels * kMaxGroups][kQuads][64];  // signed
  alignas(64) float scales[kKeyPanels * kMaxGroups][kKvPanel];
};

// The panels of positions [p0, p0 + n).
inline void load_keys(const AttentionArgs& args, std::int64_t p0, int n, Keys& keys) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const auto n_groups = static_cast<int>(args.head_dim / kColumnGroup);
  const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  unsigned nans = 0;
  for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
    const std::byte* scales = panel + kv_panel_scales(args.head_dim);
    for (int g = 0; g < n_groups; ++g) {
      const int at = p * n_groups + g;
      CRIA_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        const __m512i codes = load_512(panel + (g * kQuads + q) * 64);
        _mm512_storeu_si512(keys.codes[at][q], _mm512_sub_epi8(codes, offset));
      }
      const __m512 of_positions = load_halves(scales + g * 2 * kKvPanel);
      const __m512 zero_or_nan = _mm512_sub_ps(of_positions, of_positions);
      nans |= _mm512_cmp_ps_mask(zero_or_nan, zero_or_nan, _CMP_UNORD_Q);
      _mm512_storeu_ps(keys.scales[at], of_positions);
    }
  }
  keys.has_nan = nans != 0;
}

struct Values {
  int n_deep;  // in 64 positions
  alignas(64) std::byte codes[kTile / kDeep][kMaxHeadDim / kColumns][kDeep / 4][64];
  ValueScales scales;
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
  alignas(64) float factor[kRows];  // what makes scores of their products with keys
  alignas(64) float top[kRows];
  alignas(64) float sum[kRows];
  alignas(64) float acc[kRows * kMaxHeadDim];  // [row][head_dim]

  void clear(std::int64_t head_dim) {
    n = 0;
    std::memset(codes, 0, static_cast<std::size_t>(kRows * head_dim));
    std::memset(factor, 0, sizeof(factor));
    std::memset(sum, 0, sizeof(sum));
    for (float& of_row : top) of_row = -std::numeric_limits<float>::infinity();
    std::memset(acc, 0, static_cast<std::size_t>(kRows * head_dim) * sizeof(float));
  }

  void add(const AttentionArgs& args, const float* q, float* to, std::int64_t n_seen) {
    out[n] = to;
    n_positions[n] = n_seen;
    factor[n] = spec::score_factor(args) *
                spec::quantize_query({q, 0, kRows, n, 1, args.head_dim, codes[0][0], blocks[0]});
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
    if (rows->n_positions[0] >= p0 + kTile) {  // as most often, all rows see all of it
      std::fill_n(n_seen, kRows, kTile);
      n_panels = kKeyPanels;
      return;
    }
    for (int r = rows->n; r-- > 0;) {
      n_seen[r] = rows->n_in_tile(r, p0);
      if (n_seen[r] > 0) first = r;
    }
    n_panels = static_cast<int>((n_seen[rows->n - 1] + kKvPanel - 1) / kKvPanel);
  }
};

// --- scores --------------------------------------------------------------------------------------

// Weights of a step, what a code is worth, and what the values of steps before shrink by.
struct Weights {
  alignas(64) std::uint8_t low[kMaxGroups][kRows][kTile];
  alignas(64) std::uint8_t high[kMaxGroups][kRows][kTile];
  float scale[kMaxGroups][kRows];
  alignas(64) float shrink[kRows];
};

// What passes of a step share.
struct Scratch {
  AmxProducts of_keys[2][kMaxGroups];      // of the panel at hand and the next
  AmxProducts of_values[2];                // [low, high], of 16 columns
  alignas(64) float scores[kRows][kTile];  // but for the factors of rows
  Weights weights[2];                      // of the step at hand and the one before, in turn
};

// The scores of a step. kGroups is 0 for any number.
template <int kGroups>
class ScorePass {
 public:
  ScorePass(const Step& step, const Keys& keys, std::int64_t head_dim, Scratch& scratch)
      : step_(step),
        keys_(keys),
        scratch_(scratch),
        any_groups_(static_cast<int>(head_dim / kColumnGroup)) {}

  void run() {
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int u = 0; u < n_parts(); ++u) {
      begin(u);
      keep(u);
    }
    begin(n_parts());
    const int n_units = step_.n_panels * n_parts();
    for (int u = 0; u < n_units; ++u) {
      score_quarter(u, 0);
      score_quarter(u, 1);
      keep(u + n_parts());
      score_quarter(u, 2);
      begin(u + n_parts() + 1);
      score_quarter(u, 3);
    }
    for (int p = step_.n_panels; p < kKeyPanels; ++p) {
      for (auto& row : scratch_.scores) _mm512_storeu_ps(row + kKvPanel * p, infinity);
    }
  }

 private:
  int n_groups() const { return kGroups > 0 ? kGroups : any_groups_; }
  // Of as many groups as there are registers for sums: what a panel's products, and the making of
  // its scores, are cut into.
  static constexpr int kPart = 4;
  int n_parts() const { return (n_groups() + kPart - 1) / kPart; }

  // Queries times a part of a panel, which are in tile registers until keep(). `unit` counts the
  // parts of all panels; past the last nothing happens.
  void begin(int unit) {
    const int p = unit / n_parts(), g = unit % n_parts() * kPart;
    if (p >= step_.n_panels) return;
    begin_group<0>(p, g);
    begin_group<1>(p, g);
    begin_group<2>(p, g);
    begin_group<3>(p, g);
  }
  template <int i>
  void begin_group(int p, int g) {
    if (g + i >= n_groups()) return;
    _tile_loadd(6, step_.rows->codes[g + i], kColumnGroup);
    _tile_loadd(7, keys_.codes[p * n_groups() + g + i], 64);
    multiply_groups<i>();
    drop_groups();
  }
  void keep(int unit) {
    const int p = unit / n_parts(), g = unit % n_parts() * kPart;
    if (p >= step_.n_panels) return;
    AmxProducts* out = scratch_.of_keys[p % 2] + g;
    const int n = n_groups() - g;
    store_products<0>(out[0]);
    if (n > 1) store_products<1>(out[1]);
    if (n > 2) store_products<2>(out[2]);
    if (n > 3) store_products<3>(out[3]);
  }

  // A quarter of the rows that are the unit's share of its panel's, from products of the whole
  // panel, as linear_a8 makes them.
  void score_quarter(int unit, int quarter) {
    const int p = unit / n_parts(), n = 4 * n_parts(), i = unit % n_parts() * 4 + quarter;
    const int begin = kRows * i / n, end = kRows * (i + 1) / n;
    if (step_.first == 0 && step_.n_seen[0] >= kKvPanel * (p + 1)) {
      score_rows<false>(p, begin, end);
    } else {
      score_rows<true>(p, begin, end);
    }
    asm volatile("" : : : "memory");  // in this order: tile instructions strewn over the others
  }

  // kMasked: some rows do not see all of the panel.
  template <bool kMasked>
  void score_rows(int p, int begin, int end) {
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    const int n_groups = this->n_groups();
    const AmxProducts* products = scratch_.of_keys[p % 2];
    const auto* scales = keys_.scales + p * n_groups;
    for (int r = begin; r < end; ++r) {
      __m512 score = _mm512_setzero_ps();
      CRIA_UNROLL
      for (int g = 0; g < n_groups; ++g) {
        const __m512 product = _mm512_cvtepi32_ps(load_512(products[g][r]));
        score = _mm512_fmadd_ps(product, _mm512_loadu_ps(scales[g]), score);
      }
      if constexpr (kMasked) {
        score = _mm512_mask_blend_ps(below(kKvPanel * p, step_.n_seen[r]), infinity, score);
      }
      _mm512_storeu_ps(scratch_.scores[r] + kKvPanel * p, score);
    }
  }

  const Step& step_;
  const Keys& keys_;
  Scratch& scratch_;
  const int any_groups_;
};

// --- values --------------------------------------------------------------------------------------

// Times 256, by bytes: that is left to the port that has nothing to do with floats.
inline __m512i shift_8(__m512i v) {
  alignas(64) static constexpr std::int8_t kFrom[64] = {
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14};
  return _mm512_shuffle_epi8(v, load_512(kFrom));
}

// The weights of a step times its values, which are added to what its rows have, in calls that are
// strewn over something else: 16 columns after the other, begun in one call, stored in the next and
// added in the one after that, when others are begun.
class ValueMultiplier {
 public:
  // `step`: its rows may be null, and then there is nothing to do.
  ValueMultiplier(const Step& step, const Weights& weights, std::int64_t head_dim, Scratch& scratch)
      : step_(step),
        weights_(weights),
        sums_(scratch.of_values),
        head_dim_(head_dim),
        n_columns_(step.rows == nullptr ? 0 : static_cast<int>(head_dim / kColumns)) {}

  int n_calls() const { return n_columns_ == 0 ? 0 : 2 * n_columns_ + 1; }

  void advance() {
    const int column = n_calls_ / 2;
    if (n_calls_ % 2 == 0) {
      if (column > 0 && column <= n_columns_) add(column - 1);
      if (column < n_columns_) multiply(column);
    } else if (column < n_columns_) {
      store_products<2>(sums_[0]);
      store_products<3>(sums_[1]);
    }
    ++n_calls_;
  }

  void finish() {
    while (n_calls_ < n_calls()) advance();
  }

 private:
  void multiply(int column) {
    const int g = column / 2;
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < step_.values->n_deep; ++i) {
      _tile_loadd(5, step_.values->codes[i][column], 64);
      _tile_loadd(4, weights_.low[g][0] + i * kDeep, kTile);
      _tile_dpbusd(2, 4, 5);
      _tile_loadd(4, weights_.high[g][0] + i * kDeep, kTile);
      _tile_dpbusd(3, 4, 5);
    }
  }

  // acc += the stored sums.
  void add(int column) {
    const float* scales = weights_.scale[column / 2];
    const auto& low = sums_[0];
    const auto& high = sums_[1];
    const std::int64_t head_dim = head_dim_;
    const int n = step_.rows->n;
    float* acc = step_.rows->acc + step_.first * head_dim + column * kColumns;
    for (int r = step_.first; r < n; ++r, acc += head_dim) {
      const __m512i both = _mm512_add_epi32(shift_8(load_512(high[r])), load_512(low[r]));
      const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(acc), _mm512_set1_ps(weights_.shrink[r]));
      const __m512 scale = _mm512_set1_ps(scales[r]);
      _mm512_storeu_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(both), scale, shrunk));
    }
  }

  const Step& step_;
  const Weights& weights_;
  AmxProducts* sums_;  // [low, high]
  const std::int64_t head_dim_;
  const int n_columns_;  // in 16
  int n_calls_ = 0;
};

// --- weights -------------------------------------------------------------------------------------

// Codes of 64 positions in both planes, from the words of them.
inline void store_planes(__m512i a, __m512i b, std::uint8_t* low, std::uint8_t* high) {
  // Where the low bytes of 32 words are, in the order of positions.
  alignas(64) static constexpr std::uint8_t kLowBytes[64] = {
      0, 2,  4,  6,  16, 18, 20, 22, 32, 34, 36, 38, 48, 50, 52, 54,  //
      8, 10, 12, 14, 24, 26, 28, 30, 40, 42, 44, 46, 56, 58, 60, 62,  //
      0, 2,  4,  6,  16, 18, 20, 22, 32, 34, 36, 38, 48, 50, 52, 54,  //
      8, 10, 12, 14, 24, 26, 28, 30, 40, 42, 44, 46, 56, 58, 60, 62};
  constexpr __mmask64 kSecond = std::uint64_t{0xffffffff} << 32;
  const __m512i at_low = load_512(kLowBytes);
  const __m512i at_high = _mm512_or_si512(at_low, _mm512_set1_epi8(1));
  const __m512i low_of_a = _mm512_permutexvar_epi8(at_low, a);
  const __m512i high_of_a = _mm512_permutexvar_epi8(at_high, a);
  _mm512_storeu_si512(low, _mm512_mask_permutexvar_epi8(low_of_a, kSecond, at_low, b));
  _mm512_storeu_si512(high, _mm512_mask_permutexvar_epi8(high_of_a, kSecond, at_high, b));
}

// Lane r of the result is all lanes of v[r], put together by `op`: two registers become one that
// has pairs of lanes of both, and so on. v is used up.
template <typename Op>
inline __m512 lanes_of_rows(__m512 (&v)[kRows], Op op) {
  constexpr int kEven = 0x88, kOdd = 0xdd;  // of four lanes, or of four quarters
  const auto by_lanes = [op](__m512 a, __m512 b) {
    return op(_mm512_shuffle_ps(a, b, kEven), _mm512_shuffle_ps(a, b, kOdd));
  };
  const auto by_quarters = [op](__m512 a, __m512 b) {
    return op(_mm512_shuffle_f32x4(a, b, kEven), _mm512_shuffle_f32x4(a, b, kOdd));
  };
  CRIA_UNROLL
  for (int r = 0; r < kRows; r += 2) v[r / 2] = by_lanes(v[r], v[r + 1]);
  CRIA_UNROLL
  for (int r = 0; r < kRows / 2; r += 2) v[r / 2] = by_lanes(v[r], v[r + 1]);
  CRIA_UNROLL
  for (int r = 0; r < kRows / 4; r += 2) v[r / 2] = by_quarters(v[r], v[r + 1]);
  return by_quarters(v[0], v[1]);
}

// The largest score of each row; not-a-number is passed over.
inline __m512 max_of_rows(const float (*scores)[kTile]) {
  __m512 tops[kRows];
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    CRIA_UNROLL
    for (int i = 0; i < kTile; i += 16) top = _mm512_max_ps(_mm512_loadu_ps(scores[r] + i), top);
    tops[r] = top;
  }
  return lanes_of_rows(tops, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
}

// Which rows have not-a-number among their scores.
inline unsigned rows_with_nan(const float (*scores)[kTile]) {
  unsigned rows = 0;
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kTile; i += 16) {
      const __m512 s = _mm512_loadu_ps(scores[r] + i);
      if (_mm512_cmp_ps_mask(s, s, _CMP_UNORD_Q) != 0) rows |= 1u << r;
    }
  }
  return rows;
}

// Scores -> weights of a step.
class WeighPass {
 public:
  WeighPass(const Step& step, std::int64_t head_dim, Scratch& scratch, Weights& out)
      : rows_(*step.rows), step_(step), head_dim_(head_dim), scores_(scratch.scores), out_(out) {}

  // And meanwhile the values of the step before. `may_have_nan`: scores may be not-a-number though
  // factors are not.
  void run(ValueMultiplier meanwhile, bool may_have_nan) {
    raise_tops(may_have_nan);
    const int n_rows = rows_.n - step_.first;
    for (int r = step_.first, calls = 0; r < rows_.n; ++r) {
      const int due = meanwhile.n_calls() * (r - step_.first + 1) / n_rows;
      for (; calls < due; ++calls) meanwhile.advance();
      for (int g = 0; g < n_groups(); ++g)
        step_.values->scales[g].normalize<Avx512Attention>(step_.n_seen[r]);
      n_groups() == 2 ? weigh_row<2>(r) : weigh_row<0>(r);
    }
    add_sums();
  }

 private:
  int n_groups() const { return static_cast<int>(head_dim_ / kColumnGroup); }

  // spec::raise_top and spec::WordOfScore of all rows.
  void raise_tops(bool may_have_nan) {
    const Exp2OfNegative exp2;
    const __m512 factor = _mm512_loadu_ps(rows_.factor), old = _mm512_loadu_ps(rows_.top);
    const __m512 tile = _mm512_mul_ps(max_of_rows(scores_), factor);
    const __m512 top = _mm512_max_ps(tile, old);
    _mm512_storeu_ps(rows_.top, top);
    _mm512_storeu_ps(out_.shrink, exp2(_mm512_sub_ps(old, top)));
    const __m512 limit = _mm512_set1_ps(spec::kScoreLimit),
                 negative = _mm512_set1_ps(-spec::kScoreLimit);
    unsigned sound = _mm512_cmp_ps_mask(tile, limit, _CMP_LT_OQ) &
                     _mm512_cmp_ps_mask(tile, negative, _CMP_GT_OQ);
    if (may_have_nan) sound &= ~rows_with_nan(scores_);
    const __m512 nan = _mm512_set1_ps(std::numeric_limits<float>::quiet_NaN());
    const __m512 grow = exp2(_mm512_sub_ps(tile, top));
    _mm512_storeu_ps(grow_, _mm512_mask_blend_ps(static_cast<__mmask16>(sound), nan, grow));
    const __m512 steps = _mm512_set1_ps(spec::kExp2WordStep);
    _mm512_storeu_ps(slope_, _mm512_mul_ps(factor, steps));
    _mm512_storeu_ps(
        offset_, _mm512_sub_ps(_mm512_set1_ps(spec::kExp2WordOfZero), _mm512_mul_ps(tile, steps)));
  }

  // kGroups is 0 for any number.
  template <int kGroups>
  void weigh_row(int r) {
    const Exp2Words exp2;
    const __m512 slope = _mm512_set1_ps(slope_[r]), offset = _mm512_set1_ps(offset_[r]);
    const __m512i one = _mm512_set1_epi16(1);
    const auto x_at = [&](int i) {
      const __m512 score = _mm512_loadu_ps(scores_[r] + 16 * i);
      return _mm512_cvtps_epi32(_mm512_fmadd_ps(score, slope, offset));
    };
    __m512i words[kWordVectors];
    __m512i sum = _mm512_setzero_si512();
    CRIA_UNROLL
    for (int i = 0; i < kWordVectors; ++i) {
      words[i] = exp2(_mm512_packus_epi32(x_at(2 * i), x_at(2 * i + 1)));
      sum = _mm512_dpwssd_epi32(sum, words[i], one);
    }
    _mm512_storeu_si512(sums_[r], sum);
    const int n_groups = kGroups > 0 ? kGroups : this->n_groups();
    CRIA_UNROLL
    for (int g = 0; g < n_groups; ++g) {
      const attention_block::ColumnScales& scales = step_.values->scales[g];
      out_.scale[g][r] = scales.of_code * grow_[r];
      CRIA_UNROLL
      for (int i = 0; i < kWordVectors; i += 2) {
        const __m512i a = _mm512_mulhrs_epi16(words[i], load_512(scales.words + 32 * i));
        const __m512i b = _mm512_mulhrs_epi16(words[i + 1], load_512(scales.words + 32 * i + 32));
        store_planes(a, b, out_.low[g][r] + 32 * i, out_.high[g][r] + 32 * i);
      }
    }
  }

  // spec::grown_sum of the rows of the step: the lanes of those before its first are masked.
  void add_sums() {
    __m512 of_rows[kRows];
    CRIA_UNROLL
    for (int r = 0; r < kRows; ++r) of_rows[r] = _mm512_loadu_ps(sums_[r]);
    const __m512i of_words = _mm512_castps_si512(lanes_of_rows(of_rows, [](__m512 a, __m512 b) {
      return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
    }));
    const __m512 of_tile =
        _mm512_mul_ps(_mm512_cvtepi32_ps(of_words), _mm512_set1_ps(1.0f / spec::kExp2WordOne));
    const __m512 before = _mm512_loadu_ps(rows_.sum);
    const __m512 shrunk = _mm512_mul_ps(before, _mm512_loadu_ps(out_.shrink));
    const __m512 sum = _mm512_fmadd_ps(of_tile, _mm512_loadu_ps(grow_), shrunk);
    _mm512_storeu_ps(rows_.sum, _mm512_mask_blend_ps(below(0, step_.first), sum, before));
  }

  Rows& rows_;
  const Step& step_;
  const std::int64_t head_dim_;
  const float (*scores_)[kTile];
  Weights& out_;
  alignas(64) float slope_[kRows];
  alignas(64) float offset_[kRows];
  alignas(64) float grow_[kRows];      // what the tile's sums grow by
  alignas(64) float sums_[kRows][16];  // of words, as integers
};

// --- a block of rows -----------------------------------------------------------------------------

class Block {
 public:
  explicit Block(const AttentionArgs& args)
      : args_(args), n_groups_(static_cast<int>(args.head_dim / kColumnGroup)) {}

  int n_rows() const { return n_; }

  void add(const float* q, float* out, std::int64_t n_positions) {
    Rows& last = rows_[n_ / kRows];
    if (n_ % kRows == 0) last.clear(args_.head_dim);
    last.add(args_, q, out, n_positions);
    ++n_;
  }

  // All rows; there are none afterwards.
  void attend() {
    enter(0);
    p0_ = 0;
    at_ = 0;
    Step step = {rows_[0], values(0), 0}, before;
    int turn = 0;
    for (; step.rows != nullptr; turn ^= 1) {
      asm volatile("" : : : "memory");  // what tileloadd reads was stored before
      score(step);
      const bool may_have_nan = keys_.has_nan;
      // What this reads is stored, and out of the way of tile instructions, when it is wanted.
      const Step next = next_step();
      WeighPass(step, args_.head_dim, scratch_, scratch_.weights[turn])
          .run(values_of(before, turn ^ 1), may_have_nan);
      before = step;
      step = next;
    }
    asm volatile("" : : : "memory");
    values_of(before, turn ^ 1).finish();
    write();
  }

 private:
  // Reads the tile at p0.
  void enter(std::int64_t p0) {
    const Rows& last = rows_[(n_ - 1) / kRows];
    const int n = last.n_in_tile(last.n - 1, p0);
    load_keys(args_, p0, n, keys_);
    load_values(args_, p0, n, values(p0));
  }

  Values& values(std::int64_t p0) { return values_[p0 / kTile % 3]; }

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
    return {rows_[at_], values(p0_), p0_};
  }

  ValueMultiplier values_of(const Step& step, int turn) {
    return {step, scratch_.weights[turn], args_.head_dim, scratch_};
  }

  void score(const Step& step) {
    if (n_groups_ == 2) return ScorePass<2>(step, keys_, args_.head_dim, scratch_).run();
    if (n_groups_ == 4) return ScorePass<4>(step, keys_, args_.head_dim, scratch_).run();
    ScorePass<0>(step, keys_, args_.head_dim, scratch_).run();
  }

  void write() {
    for (int i = 0; i < n_; ++i) {
      const Rows& rows = rows_[i / kRows];
      const int r = i % kRows;
      spec::divide_by_sum(rows.acc + r * args_.head_dim, rows.sum[r], args_.head_dim, rows.out[r]);
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
  Values values_[3];  // of the tile at hand, the one before and the next
  Scratch scratch_;
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
