// A plan run in double precision, one plain loop per op: what every delegate is held against.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "format/plan/plan.h"

namespace cria {

using WeightBytes = std::map<std::string, std::vector<std::byte>>;

// Keeps its own cache (rounded to half floats, as the cache's element type says); positions follow
// the order of the calls. REQUIRES: a verified plan, weights of the right sizes.
class ReferenceModel {
 public:
  // `quantize_activations`: linear ops with weights in a block encoding see their input rounded to
  // 8 bits a value, as the mode a8 does.
  ReferenceModel(const Plan& plan, const WeightBytes& weights, bool quantize_activations);

  // The rows of the output op: [1 or tokens.size(), n_vocab].
  std::vector<double> run(std::span<const std::int64_t> tokens);
  void reset();

 private:
  using Rows = std::vector<std::vector<double>>;  // of one buffer

  void run_op(const PlanOp& op, std::span<const std::int64_t> tokens);
  void embed(const PlanOp& op, std::span<const std::int64_t> tokens);
  void rms_norm(const PlanOp& op);
  void linear(const PlanOp& op);
  void rope(const PlanOp& op);
  void kv_append(const PlanOp& op);
  void attention(const PlanOp& op);
  void elementwise(const PlanOp& op);
  void hadamard(const PlanOp& op);
  std::vector<double> quantized(const std::vector<double>& row) const;
  Rows& rows(std::uint32_t buffer) { return buffers_[buffer]; }

  Plan plan_;
  bool quantize_activations_;
  std::vector<Rows> weights_;  // decoded, [n_rows][n_cols]
  std::vector<Rows> buffers_;
  std::vector<Rows> keys_, values_;  // by layer, [position][n_kv_heads * head_dim]
  std::int64_t position_ = 0;
};

}  // namespace cria
