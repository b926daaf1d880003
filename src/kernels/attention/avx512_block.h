// attention over a cache in int8 on 512-bit registers, in steps of 16 rows and a tile of the cache:
// what AVX-512 VNNI and AMX share. Internal linkage throughout, as in panel/generic.h.
//
// Most of the time goes into the softmax between the two products, and the data of a step of 16
// rows is as large as the first-level cache. So a step has two passes: its products with keys
// become scores panel by panel; then scores become weights, and strewn over that are the products
// of the step before with values. Weights and their bytes are as in avx512.h. Where all groups of a
// position have one scale, as store_q8 writes them, the sums of all groups are made as one, and
// values of all groups share the bytes of their weights: the same bits in less time.
#pragma once

#include "kernels/attention/avx512_softmax.h"

namespace cria {
namespace attention_steps {
namespace {

constexpr int kMaxRows = 32 * kRows;  // that share a tile of the cache read once

// Way is how an instruction set multiplies:
//   Keys, Values          a tile of the cache; they have `scales` and load(args, p0, n)
//   Products              room for what it multiplies
//   kStepsAsk             whether its passes mind Step::ahead
//   score(step, keys, head_dim, products, scores)
//                         the scores of a step, but for the factors of its rows; -infinity where a
//                         row sees nothing
//   weigh(pass, before, products)
//                         all of a WeighPass, and beside it add_values(before, products)
//   add_values(mix, products)
//                         the weights of a step times its values, added to what its rows have;
//                         nothing if there are no rows
template <typename Way>
class Block {
 public:
  explicit Block(const AttentionArgs& args)
      : args_(args), panel_bytes_(kv_panel_bytes(args.head_dim)) {}

  int n_rows() const { return n_; }

  void add(const float* q, float* out, std::int64_t n_positions) {
    if (n_ == 0) {
      look_ahead(0, 1);
      prefetch();
    }
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
    Step step = step_at_hand(), before;
    int turn = 0;
    for (; step.rows != nullptr; turn ^= 1) {
      asm volatile("" : : : "memory");  // what tileloadd reads was stored before
      Way::score(step, keys_, args_.head_dim, products_, scores_);
      const bool may_have_nan = keys_.scales.has_nan;
      // What this reads is stored, and out of the way of tile instructions, when it is wanted.
      const Step next = next_step();
      WeighPass pass(step, values(step.p0).scales, args_.head_dim, scores_, weights_[turn]);
      pass.begin(may_have_nan);
      Way::weigh(pass, mix_of(before, turn ^ 1), products_);
      pass.finish();
      before = step;
      step = next;
    }
    asm volatile("" : : : "memory");
    Way::add_values(mix_of(before, turn ^ 1), products_);
    write();
  }

 private:
  int n_blocks() const { return (n_ + kRows - 1) / kRows; }

  // Reads the tile at p0.
  void enter(std::int64_t p0) {
    const Rows& last = rows_[(n_ - 1) / kRows];
    const int n = last.n_in_tile(last.n - 1, p0);
    keys_.load(args_, p0, n);
    values(p0).load(args_, p0, n);
    look_ahead(p0 + kTile, n_blocks());
    for (int p = 0; steps_ask() && p < kKeyPanels; ++p) {  // they do not ask for scales
      const std::int64_t panel = ahead_ + p * panel_bytes_;
      ask_for(args_.k + panel + key_scales_offset(0));
      ask_for(args_.v + panel + value_scales_offset(args_.head_dim, 0));
    }
  }

  // The tile at p0 is to be in the second-level cache when it is entered, after `n_steps`: a cache
  // comes from memory, and reading it then took 5 % of all time.
  void look_ahead(std::int64_t p0, int n_steps) {
    const std::int64_t n_positions = args_.first_position + args_.n_tokens;
    const std::int64_t n_panels = (spec::n_in_tile(n_positions, p0) + kKvPanel - 1) / kKvPanel;
    ahead_ = p0 / kKvPanel * panel_bytes_;
    end_ahead_ = ahead_ + n_panels * panel_bytes_;
    ahead_of_step_ = (n_panels * panel_bytes_ / n_steps + 63) / 64 * 64;
  }

  // Asks for a step's share of it.
  void prefetch() {
    const std::int64_t end = std::min(ahead_ + ahead_of_step_, end_ahead_);
    for (; ahead_ < end; ahead_ += 64) {
      ask_for(args_.k + ahead_);
      ask_for(args_.v + ahead_);
    }
  }

  // Where a tile has one step, that would have to be waited for: the step asks line by line.
  bool steps_ask() const { return Way::kStepsAsk && n_blocks() == 1; }

  Step step_at_hand() {
    Step step(rows_[at_], p0_);
    if (steps_ask()) step.ahead = kKeyPanels * panel_bytes_;
    return step;
  }

  typename Way::Values& values(std::int64_t p0) { return values_[p0 / kTile % 3]; }

  // The next rows that see the tile at hand, or the first of the next tile; none at the end.
  Step next_step() {
    if (!steps_ask()) prefetch();
    if (++at_ == n_blocks()) {
      at_ = 0;
      p0_ += kTile;
      while (at_ < n_blocks() && rows_[at_].n_positions[rows_[at_].n - 1] <= p0_) ++at_;
      if (at_ == n_blocks()) return {};
      enter(p0_);
    }
    return step_at_hand();
  }

  Mix<typename Way::Values> mix_of(const Step& step, int turn) {
    return {step, values(step.p0), weights_[turn], args_.head_dim};
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
  const std::int64_t panel_bytes_;
  int n_ = 0;  // rows
  Rows rows_[kMaxRows / kRows];
  std::int64_t p0_;                                 // the tile at hand, and
  int at_;                                          // whose turn it is
  std::int64_t ahead_, end_ahead_, ahead_of_step_;  // in bytes of the cache
  typename Way::Keys keys_;
  typename Way::Values values_[3];  // of the tile at hand, the one before and the next
  typename Way::Products products_;
  alignas(64) float scores_[kRows][kTile];
  Weights weights_[2];  // of the step at hand and the one before, in turn
};

template <typename Way>
inline void attention(const AttentionArgs& args) {
  Block<Way> block(args);
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
}  // namespace attention_steps
}  // namespace cria
