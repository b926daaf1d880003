// What running a plan must touch and compute at least, op by op, for profiles and for the measure
// of how good a kernel is.
#pragma once

#include <cstdint>
#include <functional>

#include "format/plan/plan.h"

namespace cria {

// Of one op or one call. Bytes count each weight and each position of the cache once a call,
// however often a kernel comes back to them; activations are not counted, they stay in the
// processor's caches.
struct PlanCost {
  std::uint64_t weight_bytes = 0;  // of matrices, gains and embedding rows, as packed
  std::uint64_t kv_bytes = 0;      // of the cache, read and written
  std::uint64_t linear_macs = 0;   // multiply-adds of the matrices; padding is not counted
  std::uint64_t attention_macs = 0;

  std::uint64_t macs() const { return linear_macs + attention_macs; }
  void add(const PlanCost& other) {
    weight_bytes += other.weight_bytes;
    kv_bytes += other.kv_bytes;
    linear_macs += other.linear_macs;
    attention_macs += other.attention_macs;
  }
};

// Bytes of a weight as the program has it, which is less than its packed size where zero blocks are
// left out (tensor/zero_blocks.h). Empty: the packed size. Multiply-adds are those of the full
// matrix.
using StoredBytes = std::function<std::uint64_t(const PlanWeight&)>;

// `op`: of `plan`, which passed verify_plan. A call of `n_tokens` whose first one stands at
// `position`; both within what a cache may have.
PlanCost plan_op_cost(const Plan& plan, const PlanOp& op, std::int64_t n_tokens,
                      std::int64_t position, const StoredBytes& stored_bytes = {});

// What an op is called in a profile: by the value that it makes ("blk.3.qkv"), or by its weight
// when it adds to one that is there. Lives as long as the plan.
const std::string& plan_op_label(const Plan& plan, const PlanOp& op);

// The layer that an op belongs to; -1: none, or its label does not say so.
std::int32_t plan_op_layer(const Plan& plan, const PlanOp& op);

// The whole call.
PlanCost plan_cost(const Plan& plan, std::int64_t n_tokens, std::int64_t position,
                   const StoredBytes& stored_bytes = {});

}  // namespace cria
