#include "format/plan/plan_cost.h"

#include <charconv>

namespace cria {
namespace {

std::uint64_t weight_bytes(const PlanWeight& weight, const StoredBytes& stored_bytes) {
  if (stored_bytes) return stored_bytes(weight);
  if (!weight.packed) return static_cast<std::uint64_t>(weight.n_cols) * sizeof(float);
  return packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value_or(0);
}

std::uint64_t elements(const PlanWeight& weight) {
  return static_cast<std::uint64_t>(weight.n_rows) * static_cast<std::uint64_t>(weight.n_cols);
}

// Positions that the tokens of a call see, added up: position + 1 for the first, and so on.
std::uint64_t seen_positions(std::uint64_t n_tokens, std::uint64_t position) {
  return n_tokens * position + n_tokens * (n_tokens + 1) / 2;
}

}  // namespace

PlanCost plan_op_cost(const Plan& plan, const PlanOp& op, std::int64_t n_tokens,
                      std::int64_t position, const StoredBytes& stored_bytes) {
  const auto n = static_cast<std::uint64_t>(n_tokens);
  const auto first = static_cast<std::uint64_t>(position);
  const auto layer_bytes = [&plan](std::uint64_t n_positions) {  // in one layer's part of the cache
    return n_positions * plan.kv.bytes_per_position() /
           static_cast<std::uint64_t>(plan.kv.n_layers);
  };
  PlanCost cost;
  switch (op.kind) {
    case PlanOpKind::kEmbed: {  // one row a token
      const PlanWeight& table = plan.weights[op.weights[0]];
      cost.weight_bytes =
          n * (weight_bytes(table, stored_bytes) / static_cast<std::uint64_t>(table.n_rows));
      return cost;
    }
    case PlanOpKind::kLinear:
      for (std::uint32_t weight : op.weights) {
        cost.weight_bytes += weight_bytes(plan.weights[weight], stored_bytes);
        cost.linear_macs +=
            (plan.buffers[op.x].single_row ? 1 : n) * elements(plan.weights[weight]);
      }
      return cost;
    case PlanOpKind::kKvAppend:
      cost.kv_bytes = layer_bytes(n);
      return cost;
    case PlanOpKind::kAttention:
      cost.kv_bytes = layer_bytes(first + n);
      cost.attention_macs = 2 * seen_positions(n, first) * static_cast<std::uint64_t>(op.n_heads) *
                            static_cast<std::uint64_t>(plan.kv.head_dim);
      return cost;
    case PlanOpKind::kScores:
    case PlanOpKind::kMix:  // one half of attention each
      cost.kv_bytes =
          layer_bytes(first + n) *
          static_cast<std::uint64_t>(kv_row_bytes(
              op.kind == PlanOpKind::kScores ? plan.kv.k_type : plan.kv.v_type, plan.kv.head_dim)) /
          static_cast<std::uint64_t>(kv_row_bytes(plan.kv.k_type, plan.kv.head_dim) +
                                     kv_row_bytes(plan.kv.v_type, plan.kv.head_dim));
      cost.attention_macs = seen_positions(n, first) * static_cast<std::uint64_t>(op.n_heads) *
                            static_cast<std::uint64_t>(plan.kv.head_dim);
      return cost;
    default:
      for (std::uint32_t weight : op.weights)
        cost.weight_bytes += weight_bytes(plan.weights[weight], stored_bytes);
      return cost;
  }
}

const std::string& plan_op_label(const Plan& plan, const PlanOp& op) {
  if (op.accumulate && !op.weights.empty()) return plan.weights[op.weights[0]].key;
  return plan.buffers[op.out == kNoBuffer ? op.x : op.out].name;
}

std::int32_t plan_op_layer(const Plan& plan, const PlanOp& op) {
  switch (op.kind) {
    case PlanOpKind::kKvAppend:
    case PlanOpKind::kAttention:
    case PlanOpKind::kScores:
    case PlanOpKind::kSoftmax:
    case PlanOpKind::kMix:
      return op.layer;
    default:
      break;
  }
  constexpr std::string_view kPrefix = "blk.";  // "blk.3.qkv"
  const std::string_view label = plan_op_label(plan, op);
  if (!label.starts_with(kPrefix)) return -1;
  std::int32_t layer = -1;
  const char* const end = label.data() + label.size();
  const auto [at, error] = std::from_chars(label.data() + kPrefix.size(), end, layer);
  return error == std::errc() && at != end && *at == '.' && layer >= 0 ? layer : -1;
}

PlanCost plan_cost(const Plan& plan, std::int64_t n_tokens, std::int64_t position,
                   const StoredBytes& stored_bytes) {
  PlanCost cost;
  for (const PlanOp& op : plan.ops)
    cost.add(plan_op_cost(plan, op, n_tokens, position, stored_bytes));
  return cost;
}

}  // namespace cria
