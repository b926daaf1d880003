// attention with AMX-INT8, over a cache in int8; what has few rows or half floats goes to AVX-512
// VNNI.
//
// Rows go through a tile of the cache 16 at a time. Scores: 16 rows times 16 positions times a
// group of columns, whose sums leave the tile registers for their scales, as in linear_a8. Values:
// 16 rows times 64 positions times 16 columns; the panels of the cache, which have 16 positions,
// are put together once for all rows. Weights and their planes are as in avx512.h. Where all groups
// of a position have one scale, as store_q8 writes them, the sums of all groups leave a tile
// register as one, and values of all groups share the planes of their weights: the same bits in a
// quarter to a third less time.
//
// Most of the time goes into the softmax between the two, and the data of a step of 16 rows is as
// large as the first-level cache. So a step has two passes: its products with keys become scores
// panel by panel; then scores become weights, and strewn over that are the products of the step
// before with values.
#include "kernels/attention/amx_scores.h"
#include "kernels/attention/amx_weights.h"

namespace cria {
namespace amx_attention {
namespace {

constexpr int kMaxRows = 32 * kRows;  // that share a tile of the cache read once
// Fewer rows (tokens times heads) are faster without tiles.
constexpr std::int64_t kLeastRows = 16;

class Block {
 public:
  explicit Block(const AttentionArgs& args)
      : args_(args), n_groups_(static_cast<int>(args.head_dim / kColumnGroup)) {}

  int n_rows() const { return n_; }

  void add(const float* q, float* out, std::int64_t n_positions) {
    if (n_ == 0) prefetch(0, 0, 1);
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

  // Asks for a share of the tile at p0, which is to be in the second-level cache when it is
  // entered: a cache comes from memory, and reading it then took 5 % of all time.
  void prefetch(std::int64_t p0, int share, int n_shares) const {
    const std::int64_t n_positions = args_.first_position + args_.n_tokens;
    const std::int64_t n_panels = (spec::n_in_tile(n_positions, p0) + kKvPanel - 1) / kKvPanel;
    const std::int64_t panel_bytes = kv_panel_bytes(args_.head_dim);
    const std::int64_t n_bytes = n_panels * panel_bytes, at = p0 / kKvPanel * panel_bytes;
    for (std::int64_t i = n_bytes * share / n_shares; i < n_bytes * (share + 1) / n_shares;
         i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(args_.k + at + i), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(args_.v + at + i), _MM_HINT_T1);
    }
  }

  Values& values(std::int64_t p0) { return values_[p0 / kTile % 3]; }

  // The next rows that see the tile at hand, or the first of the next tile; none at the end.
  Step next_step() {
    const int n_blocks = (n_ + kRows - 1) / kRows;
    prefetch(p0_ + kTile, at_, n_blocks);
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
    if (n_groups_ == 2) return score<2>(step);
    if (n_groups_ == 4) return score<4>(step);
    ScorePass<0, false>(step, keys_, args_.head_dim, scratch_).run();
  }
  template <int kGroups>
  void score(const Step& step) {
    if (keys_.one_scale) {
      return ScorePass<kGroups, true>(step, keys_, args_.head_dim, scratch_).run();
    }
    ScorePass<kGroups, false>(step, keys_, args_.head_dim, scratch_).run();
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
