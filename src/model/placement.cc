#include "model/placement.h"

#include <cassert>
#include <cmath>

namespace cria {
namespace {

// The share of the stream's square that the copies make up is 1 / kStreamShare: a square, so that
// norm weights change by a power of two, and the rest is free for the constant channels. Rejected:
// one copy and norm weights times sqrt(h / H), which rounds each of them; a stream full of copies,
// which leaves no channel free.
//
// Rejected for the padded ids: zero rows (their logit 0 beats negative ones), the row of a token
// that is never said (a hundred thousand of them are a large part of the probability when
// sampling), one constant channel (it moves all logits), an untied head (512 MB that no 1B has).
constexpr std::int64_t kStreamShare = 4;

struct LayerName {
  std::int64_t layer = 0;
  std::string_view weight;  // "attn_q.weight"
};

// REQUIRES: "blk.N.weight", of a decoder.
LayerName split_name(std::string_view name) {
  assert(name.starts_with("blk."));
  name.remove_prefix(4);
  LayerName split;
  while (name.front() != '.') {
    split.layer = 10 * split.layer + (name.front() - '0');
    name.remove_prefix(1);
  }
  split.weight = name.substr(1);
  return split;
}

bool writes_stream(std::string_view weight) {
  return weight == "attn_output.weight" || weight == "ffn_down.weight";
}

struct Minimum {
  const char* what;
  std::int64_t LlamaConfig::*member;
};
constexpr Minimum kMinima[] = {
    {"layers", &LlamaConfig::n_layers},       {"as FFN size", &LlamaConfig::ffn},
    {"tokens", &LlamaConfig::n_vocab},        {"key heads", &LlamaConfig::n_kv_heads},
    {"as head size", &LlamaConfig::head_dim}, {"query heads", &LlamaConfig::n_heads},
    {"positions", &LlamaConfig::max_context},
};

}  // namespace

Placement::Placement(const LlamaConfig& small, const LlamaConfig& large)
    : small_(small),
      large_(large),
      n_copies_(large.hidden / (kStreamShare * small.hidden)),
      q_copy_(large.head_dim == small.head_dim ? 0 : 1),
      group_(small.n_heads / small.n_kv_heads),
      large_group_(large.n_heads / large.n_kv_heads),
      kv_copies_((group_ + large_group_ - 1) / large_group_) {
  constant_.column = n_copies_ * small.hidden;
  const double v = constant_.value;
  norm_epsilon_ = static_cast<float>(static_cast<double>(small.norm_epsilon) / kStreamShare -
                                     2.0 * v * v / static_cast<double>(large.hidden));
}

Result<Placement> Placement::create(const LlamaConfig& small, const LlamaConfig& large) {
  CRIA_RETURN_IF_ERROR(validate_sizes(small));
  CRIA_RETURN_IF_ERROR(validate_sizes(large));
  Placement placement(small, large);
  CRIA_RETURN_IF_ERROR(placement.check());
  return placement;
}

Status Placement::check() const {
  for (const Minimum& minimum : kMinima) {
    const std::int64_t found = large_.*minimum.member, least = small_.*minimum.member;
    if (found < least) {
      return invalid_argument("{} {}: fewer than the {} of the model", found, minimum.what, least);
    }
  }
  // Q needs a copy of its own when the head size changes.
  const std::int64_t unit = kStreamShare * small_.hidden * (q_copy_ + 1);
  if (large_.hidden % (kStreamShare * small_.hidden) != 0 || large_.hidden < unit) {
    return invalid_argument("hidden size {}, expected a multiple of {}, at least {}", large_.hidden,
                            kStreamShare * small_.hidden, unit);
  }
  if (large_.head_dim % small_.head_dim != 0) {
    return invalid_argument("head size {}, expected a multiple of {}", large_.head_dim,
                            small_.head_dim);
  }
  if (small_.n_kv_heads * kv_copies_ > large_.n_kv_heads) {
    return invalid_argument(
        "{} query heads on {} key heads: the model's groups of {} need {} key heads",
        large_.n_heads, large_.n_kv_heads, group_, small_.n_kv_heads * kv_copies_);
  }
  if (!(norm_epsilon_ > 0.0F)) {
    return unsupported("norm_epsilon is {}, too small to widen the model", small_.norm_epsilon);
  }
  return {};
}

std::vector<std::int64_t> Placement::straight(std::int64_t n_small, std::int64_t n_large) const {
  std::vector<std::int64_t> rows(n_large, kZeroRow);
  for (std::int64_t row = 0; row < n_small; ++row) rows[row] = row;
  return rows;
}

std::vector<std::int64_t> Placement::in_every_copy() const {
  std::vector<std::int64_t> rows(large_.hidden, kZeroRow);
  for (std::int64_t row = 0; row < n_copies_ * small_.hidden; ++row) {
    rows[row] = row % small_.hidden;
  }
  return rows;
}

std::int64_t Placement::kv_head_of(std::int64_t large_head) const {
  const std::int64_t head = large_head / kv_copies_;
  return head < small_.n_kv_heads ? head : kZeroRow;
}

// The members of a small group fill the groups of the copies of its key head, in order.
std::int64_t Placement::q_head_of(std::int64_t large_head) const {
  const std::int64_t large_kv = large_head / large_group_;
  const std::int64_t kv = kv_head_of(large_kv);
  const std::int64_t member = (large_kv % kv_copies_) * large_group_ + large_head % large_group_;
  return kv == kZeroRow || member >= group_ ? kZeroRow : kv * group_ + member;
}

void Placement::put_head(std::int64_t from_head, std::int64_t to_head, bool rotated,
                         std::vector<std::int64_t>& rows) const {
  const std::int64_t d = small_.head_dim, ratio = large_.head_dim / d;
  for (std::int64_t i = 0; i < d; ++i) {
    // Half-split order: the members of pair p are p and p + d/2.
    const std::int64_t pair = i % (d / 2), second = i / (d / 2);
    const std::int64_t to = rotated ? pair * ratio + second * (large_.head_dim / 2) : i;
    rows[to_head * large_.head_dim + to] = from_head * d + i;
  }
}

std::vector<std::int64_t> Placement::q_rows() const {
  std::vector<std::int64_t> rows(large_.n_heads * large_.head_dim, kZeroRow);
  for (std::int64_t head = 0; head < large_.n_heads; ++head) {
    const std::int64_t from = q_head_of(head);
    if (from != kZeroRow) put_head(from, head, /*rotated=*/true, rows);
  }
  return rows;
}

std::vector<std::int64_t> Placement::kv_rows(bool rotated) const {
  std::vector<std::int64_t> rows(large_.n_kv_heads * large_.head_dim, kZeroRow);
  for (std::int64_t head = 0; head < large_.n_kv_heads; ++head) {
    const std::int64_t from = kv_head_of(head);
    if (from != kZeroRow) put_head(from, head, rotated, rows);
  }
  return rows;
}

std::vector<ColumnRun> Placement::attention_columns() const {
  std::vector<ColumnRun> runs;
  for (std::int64_t head = 0; head < large_.n_heads; ++head) {
    const std::int64_t from = q_head_of(head);
    if (from == kZeroRow) continue;
    runs.push_back({from * small_.head_dim, head * large_.head_dim, small_.head_dim});
  }
  return runs;
}

MatrixPlacement Placement::matrix(std::string_view canonical_name) const {
  if (!canonical_name.starts_with("blk.")) {  // embedding or head
    std::vector<ColumnRun> copies;
    for (std::int64_t i = 0; i < n_copies_; ++i) {
      copies.push_back({0, i * small_.hidden, small_.hidden});
    }
    return {std::string(canonical_name), straight(small_.n_vocab, large_.n_vocab), copies};
  }
  const auto [layer, weight] = split_name(canonical_name);
  const auto reads_copy = [this](std::int64_t copy) {
    return std::vector<ColumnRun>{{0, copy * small_.hidden, small_.hidden}};
  };
  MatrixPlacement made;
  made.source = fmt::format("blk.{}.{}", layer % small_.n_layers, weight);
  made.columns = reads_copy(0);
  if (weight == "attn_q.weight") {
    made.rows = q_rows();
    made.columns = reads_copy(q_copy_);
  } else if (weight == "attn_k.weight" || weight == "attn_v.weight") {
    made.rows = kv_rows(/*rotated=*/weight == "attn_k.weight");
  } else if (writes_stream(weight)) {
    const bool adds_nothing = layer >= small_.n_layers;
    made.rows = adds_nothing ? straight(0, large_.hidden) : in_every_copy();
    made.columns = weight == "attn_output.weight" ? attention_columns()
                                                  : std::vector<ColumnRun>{{0, 0, small_.ffn}};
  } else {
    made.rows = straight(small_.ffn, large_.ffn);  // gate and up
  }
  return made;
}

NormPlacement Placement::norm(std::string_view canonical_name) const {
  const double unscaled = 1.0 / std::sqrt(static_cast<double>(kStreamShare));
  if (canonical_name == "output_norm.weight") return {"output_norm.weight", {unscaled}};
  const auto [layer, weight] = split_name(canonical_name);
  NormPlacement made{fmt::format("blk.{}.{}", layer % small_.n_layers, weight), {unscaled}};
  if (weight == "attn_norm.weight" && q_copy_ == 1) {
    const double ratio =
        static_cast<double>(large_.head_dim) / static_cast<double>(small_.head_dim);
    made.factors.push_back(unscaled * std::sqrt(ratio));
  }
  return made;
}

}  // namespace cria
