// The ops of a plan, each shared among the host's threads. Every task computes its output elements
// whole, so that neither the number of threads nor who runs what shows in the bits.
#include <algorithm>
#include <cstring>
#include <utility>

#include "delegates/cpu/cpu_method.h"
#include "delegates/cpu/linear_tasks.h"
#include "delegates/cpu/sparse_linear.h"
#include "tensor/packing.h"

namespace cria {
namespace {

// Tokens of an attention task: enough that what is done for a tile of the cache pays, fewer where
// threads would have nothing to do.
constexpr std::int64_t kMostAttentionTokens = 128;
constexpr std::int64_t kLeastAttentionTokens = 16;
constexpr std::int64_t kRowTile = 4;  // rows of a task of a cheap op
// A task that quantizes has rows whose blocks are whole cache lines, or, of few rows, all in some
// blocks of columns: threads would else take the line from each other. So many blocks of a column
// kernels take at once.
constexpr std::int64_t kQuantizedRows = 16;
constexpr std::int64_t kQuantizedBlocks = 128;   // of all rows together, a microsecond or two
constexpr std::int64_t kHadamardColumns = 1024;  // of a task: some 10000 additions

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

void CpuMethod::run(std::size_t index, const CpuCall& call) {
  const PlanOp& op = plan_.ops[index];
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      return embed(op, call);
    case PlanOpKind::kRmsNorm:
      return rms_norm(op, call);
    case PlanOpKind::kLinear:
      return linear(index, call);
    case PlanOpKind::kRope:
      return rope(op, call);
    case PlanOpKind::kKvAppend:
      return kv_append(op, call);
    case PlanOpKind::kAttention:
      return attention(op, call);
    case PlanOpKind::kSwiGlu:
      return swiglu(op, call);
    case PlanOpKind::kAdd:
    case PlanOpKind::kMul:
    case PlanOpKind::kSilu:
      return elementwise(op, call);
    case PlanOpKind::kHadamard:
      return hadamard(op, call);
    case PlanOpKind::kScores:
    case PlanOpKind::kSoftmax:
    case PlanOpKind::kMix:
      return split_attention(op, call);
    case PlanOpKind::kLastRow:
      std::copy_n(row(op.x, call, call.n_tokens() - 1), plan_.buffers[op.x].width,
                  row(op.out, call, 0));
      return;
    case PlanOpKind::kOutput:
      if (op.x == output_buffer_) return;
      std::copy_n(row(op.x, call, 0), n_rows(op.x, call) * plan_.n_vocab, call.logits);
      return;
  }
}

void CpuMethod::embed(const PlanOp& op, const CpuCall& call) {
  const CpuWeight& table = weights_[op.weights[0]];
  parallel_for(call.n_tokens(), [&](std::int64_t t) {
    if (table.sparse) {
      std::vector<std::byte> panel(table.panel_bytes);
      table.sparse->fill_panel(call.tokens[t] / kPanelRows, panel);
      return decode_packed_row(table.encoding, panel, table.n_cols, call.tokens[t] % kPanelRows,
                               {row(op.out, call, t), static_cast<std::size_t>(table.n_cols)});
    }
    decode_packed_row(table.encoding, table.bytes, table.n_cols, call.tokens[t],
                      {row(op.out, call, t), static_cast<std::size_t>(table.n_cols)});
  });
}

void CpuMethod::rms_norm(const PlanOp& op, const CpuCall& call) {
  const std::int64_t width = plan_.buffers[op.x].width;
  const std::int64_t n = n_rows(op.x, call);
  parallel_for(ceil_div(n, kRowTile), [&](std::int64_t tile) {
    const std::int64_t first = tile * kRowTile;
    kernels_.rms_norm({.x = row(op.x, call, first),
                       .x_stride = width,
                       .n_tokens = std::min(kRowTile, n - first),
                       .n_cols = width,
                       .weight = weights_[op.weights[0]].floats(),
                       .epsilon = op.epsilon,
                       .out = row(op.out, call, first),
                       .out_stride = width});
  });
}

void CpuMethod::quantize(const PlanOp& op, const CpuCall& call) {
  if (std::exchange(quantized_, kNoBuffer) == op.x) return;
  const std::int64_t width = plan_.buffers[op.x].width;
  const std::int64_t n = n_rows(op.x, call);
  const QuantizeA8Args all = {.x = row(op.x, call, 0),
                              .x_stride = width,
                              .n_rows = n,
                              .first_token = 0,
                              .n_tokens = n,
                              .n_cols = width,
                              .codes = x_.codes(),
                              .blocks = x_.blocks()};
  if (n > kA8TileTokens) {
    return parallel_for(ceil_div(n, kQuantizedRows), [&](std::int64_t task) {
      QuantizeA8Args part = all;
      part.first_token = task * kQuantizedRows;
      part.n_tokens = std::min(kQuantizedRows, n - part.first_token);
      kernels_.quantize_a8(part);
    });
  }
  // The blocks of a column lie side by side: columns are shared.
  const std::int64_t columns = ceil_div(kQuantizedBlocks, n) * kColumnGroup;
  parallel_for(ceil_div(width, columns), [&](std::int64_t task) {
    const std::int64_t first = task * columns;
    const std::int64_t at = a8_index(0, first / kColumnGroup, n, a8_blocks(width));
    QuantizeA8Args part = all;
    part.x += first;
    part.n_cols = std::min(columns, width - first);
    part.codes += at * kColumnGroup;
    part.blocks += at;
    kernels_.quantize_a8(part);
  });
}

// Panels [first_panel, first_panel + n_panels) of one of the op's weights, for all rows of x.
void CpuMethod::linear_rows(const PlanOp& op, const CpuCall& call, A8View x,
                            std::size_t weight_slot, std::int64_t first_panel,
                            std::int64_t n_panels) {
  const CpuWeight& weight = weights_[op.weights[weight_slot]];
  std::int64_t column = op.column + first_panel * kPanelRows;
  for (std::size_t i = 0; i < weight_slot; ++i) column += weights_[op.weights[i]].n_rows;
  const std::byte* panels = nullptr;
  if (!weight.sparse) {
    panels = weight.bytes.data() + static_cast<std::size_t>(first_panel) * weight.panel_bytes;
  }
  const std::int64_t n_out =
      std::min(n_panels * kPanelRows, weight.n_rows - first_panel * kPanelRows);
  float* out = row(op.out, call, 0) + column;
  if (quantizes(weight)) {
    const LinearA8Args args = {.encoding = weight.encoding,
                               .panels = panels,
                               .n_rows = n_out,
                               .n_cols = weight.n_cols,
                               .codes = x.codes,
                               .blocks = x.blocks,
                               .n_tokens = n_rows(op.x, call),
                               .out = out,
                               .out_stride = plan_.buffers[op.out].width,
                               .accumulate = op.accumulate};
    weight.sparse ? sparse_linear_a8(kernels_, *weight.sparse, first_panel, args)
                  : kernels_.linear_a8(args);
  } else {
    const LinearA16Args args = {.encoding = weight.encoding,
                                .panels = panels,
                                .n_rows = n_out,
                                .n_cols = weight.n_cols,
                                .x = row(op.x, call, 0),
                                .x_stride = plan_.buffers[op.x].width,
                                .n_tokens = n_rows(op.x, call),
                                .out = out,
                                .out_stride = plan_.buffers[op.out].width,
                                .accumulate = op.accumulate};
    weight.sparse ? sparse_linear_a16(kernels_, *weight.sparse, first_panel, args)
                  : kernels_.linear_a16(args);
  }
}

std::vector<LinearWeight> CpuMethod::linear_weights(const PlanOp& op) const {
  std::vector<LinearWeight> weights;
  for (std::uint32_t index : op.weights) {
    weights.push_back({ceil_div(weights_[index].n_rows, kPanelRows), weights_[index].panel_bytes});
  }
  return weights;
}

LinearTasks CpuMethod::linear_tasks(std::span<const LinearWeight> weights,
                                    std::int64_t n_tokens) const {
  return n_tokens < kManyTokens
             ? LinearTasks::halving(weights, kLeastTaskBytes, host_.n_threads)
             : LinearTasks::equal(weights, kManyTokensWeightBytes, host_.n_threads);
}

void CpuMethod::linear(std::size_t index, const CpuCall& call) {
  const PlanOp& op = plan_.ops[index];
  const LinearInput input = prepare_input(index, call);
  const std::vector<LinearWeight> weights = linear_weights(op);
  const LinearTasks tasks = linear_tasks(weights, n_rows(op.x, call));
  parallel_for(tasks.n_tasks(), [&](std::int64_t task, std::int32_t thread) {
    const A8View x = input_of(op, input, call, thread);
    tasks.for_each_part(task, [&](std::size_t slot, std::int64_t first, std::int64_t n_panels) {
      linear_rows(op, call, x, slot, first, n_panels);
    });
  });
}

void CpuMethod::rope(const PlanOp& op, const CpuCall& call) {
  const std::int64_t half_dim = plan_.kv.head_dim / 2;
  float* cos = reinterpret_cast<float*>(angles_.data());
  float* sin = cos + plan_.max_tokens * half_dim;
  // All layers rotate by the same angles: the first op of a call computes them.
  if (angles_weight_ != op.weights[0]) {
    const float* frequencies = weights_[op.weights[0]].floats();
    parallel_for(call.n_tokens(), [&](std::int64_t t) {
      rope_angles(call.position + t, frequencies, half_dim, cos + t * half_dim, sin + t * half_dim);
    });
    angles_weight_ = op.weights[0];
  }
  const std::int64_t width = plan_.buffers[op.out].width;
  parallel_for(ceil_div(call.n_tokens(), kRowTile), [&](std::int64_t tile) {
    const std::int64_t first = tile * kRowTile;
    kernels_.rope({.x = row(op.out, call, first) + op.column,
                   .x_stride = width,
                   .n_tokens = std::min(kRowTile, call.n_tokens() - first),
                   .n_heads = op.n_heads,
                   .head_dim = plan_.kv.head_dim,
                   .cos = cos + first * half_dim,
                   .sin = sin + first * half_dim});
  });
}

std::byte* CpuMethod::kv_head(const CpuCall& call, std::int32_t layer, std::int64_t head,
                              bool is_value) const {
  const KvShape& kv = plan_.kv;
  const std::int64_t k_bytes = call.n_ctx * kv_row_bytes(kv.k_type, kv.head_dim);
  const std::int64_t v_bytes = call.n_ctx * kv_row_bytes(kv.v_type, kv.head_dim);
  std::byte* keys = call.kv + layer * kv.n_kv_heads * (k_bytes + v_bytes);
  return is_value ? keys + kv.n_kv_heads * k_bytes + head * v_bytes : keys + head * k_bytes;
}

void CpuMethod::append_row(KvType type, const float* x, std::int64_t position, bool is_value,
                           std::byte* head) const {
  const std::int64_t head_dim = plan_.kv.head_dim;
  if (type == KvType::kF16) {
    auto* halves = reinterpret_cast<std::uint16_t*>(head) + position * head_dim;
    return kernels_.store_f16({x, halves, head_dim});
  }
  std::byte* panel = head + position / kKvPanel * kv_panel_bytes(head_dim);
  kernels_.store_q8({x, head_dim, position, panel, is_value});
}

void CpuMethod::append_head(const PlanOp& op, const CpuCall& call, std::int64_t head, bool is_value,
                            std::int64_t begin, std::int64_t end) const {
  const KvShape& kv = plan_.kv;
  std::byte* to = kv_head(call, op.layer, head, is_value);
  const std::int64_t column = (is_value ? op.column_v : op.column) + head * kv.head_dim;
  for (std::int64_t position = begin; position < end; ++position) {
    append_row(is_value ? kv.v_type : kv.k_type, row(op.x, call, position - call.position) + column,
               position, is_value, to);
  }
}

// Few tokens are shared by heads, since positions of one head share cache lines; many by panels of
// positions, so that each row is read from end to end.
void CpuMethod::kv_append(const PlanOp& op, const CpuCall& call) {
  const std::int64_t n_heads = plan_.kv.n_kv_heads;
  const std::int64_t begin = call.position, end = begin + call.n_tokens();
  if (call.n_tokens() < kManyTokens) {
    return parallel_for(2 * n_heads, [&](std::int64_t task) {
      append_head(op, call, task / 2, task % 2 != 0, begin, end);
    });
  }
  const std::int64_t first_panel = begin / kKvPanel;
  parallel_for(ceil_div(end, kKvPanel) - first_panel, [&](std::int64_t task) {
    const std::int64_t first = (first_panel + task) * kKvPanel;
    const std::int64_t from = std::max(first, begin), to = std::min(first + kKvPanel, end);
    for (std::int64_t head = 0; head < n_heads; ++head) {
      append_head(op, call, head, false, from, to);
      append_head(op, call, head, true, from, to);
    }
  });
}

void CpuMethod::attention(const PlanOp& op, const CpuCall& call) {
  const KvShape& kv = plan_.kv;
  const std::int64_t group = op.n_heads / kv.n_kv_heads;
  const std::int64_t width = group * kv.head_dim;
  std::int64_t n_tokens = kMostAttentionTokens;  // of a task
  while (n_tokens > kLeastAttentionTokens &&
         kv.n_kv_heads * call.n_tokens() < kTasksPerThread * host_.n_threads * n_tokens) {
    n_tokens /= 2;
  }
  const std::int64_t n_parts = ceil_div(call.n_tokens(), n_tokens);
  parallel_for(kv.n_kv_heads * n_parts, [&](std::int64_t task) {
    const std::int64_t head = task / n_parts;
    const std::int64_t first = task % n_parts * n_tokens;
    kernels_.attention({.q = row(op.x, call, first) + op.column + head * width,
                        .q_stride = plan_.buffers[op.x].width,
                        .n_tokens = std::min(n_tokens, call.n_tokens() - first),
                        .n_heads = group,
                        .head_dim = kv.head_dim,
                        .k_type = kv.k_type,
                        .v_type = kv.v_type,
                        .k = kv_head(call, op.layer, head, false),
                        .v = kv_head(call, op.layer, head, true),
                        .first_position = call.position + first,
                        .scale = op.scale,
                        .out = row(op.out, call, first) + head * width,
                        .out_stride = plan_.buffers[op.out].width});
  });
}

void CpuMethod::swiglu(const PlanOp& op, const CpuCall& call) {
  const std::int64_t width = plan_.buffers[op.out].width;
  const std::int64_t n = n_rows(op.x, call);
  parallel_for(ceil_div(n, kRowTile), [&](std::int64_t tile) {
    const std::int64_t first = tile * kRowTile;
    const float* x = row(op.x, call, first);
    kernels_.swiglu({.gate = x,
                     .up = x + width,
                     .in_stride = 2 * width,
                     .n_tokens = std::min(kRowTile, n - first),
                     .width = width,
                     .out = row(op.out, call, first),
                     .out_stride = width});
  });
}

// The blocks of a row are independent: rows wider than a task are shared as well.
void CpuMethod::hadamard(const PlanOp& op, const CpuCall& call) {
  const std::int64_t width = plan_.buffers[op.x].width;
  const std::int64_t step = std::max(op.block, kHadamardColumns);  // powers of two
  const std::int64_t n_steps = ceil_div(width, step);
  parallel_for(n_rows(op.x, call) * n_steps, [&](std::int64_t task) {
    const std::int64_t column = task % n_steps * step;
    const std::int64_t token = task / n_steps;
    kernels_.hadamard({.x = row(op.x, call, token) + column,
                       .x_stride = width,
                       .n_tokens = 1,
                       .n_cols = std::min(step, width - column),
                       .block = op.block,
                       .signs = weights_[op.weights[0]].floats() + column,
                       .inverse = op.inverse,
                       .out = row(op.out, call, token) + column,
                       .out_stride = width});
  });
}

void CpuMethod::elementwise(const PlanOp& op, const CpuCall& call) {
  const std::int64_t width = plan_.buffers[op.out].width;
  const std::int64_t n = n_rows(op.out, call);
  parallel_for(ceil_div(n, kRowTile), [&](std::int64_t tile) {
    const std::int64_t first = tile * kRowTile;
    const std::int64_t n_values = std::min(kRowTile, n - first) * width;
    const float* x = row(op.x, call, first);
    float* out = row(op.out, call, first);
    if (op.kind == PlanOpKind::kSilu) return kernels_.silu({x, out, n_values});
    const float* y = row(op.y, call, first);
    const BinaryArgs args{x, y, out, n_values};
    return op.kind == PlanOpKind::kAdd ? kernels_.add(args) : kernels_.mul(args);
  });
}

}  // namespace cria
