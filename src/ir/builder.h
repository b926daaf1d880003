// Builds a graph op by op, with types inferred.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"

namespace cria::ir {

// The first mistake (shapes that do not fit) is kept and returned by finish(); until then calls
// carry on with made-up values, so that a model reads as straight code without error checks.
class Builder {
 public:
  explicit Builder(std::string graph_name);

  // The weight of this name; asking twice gives the same one. A different shape is a mistake.
  WeightId weight(const std::string& name, std::int64_t n_rows, std::int64_t n_cols);
  WeightId vector(const std::string& name, std::int64_t n_cols) { return weight(name, 1, n_cols); }

  ValueId input(const std::string& name, Type type);
  ValueId embed(const std::string& name, ValueId tokens, WeightId table);
  ValueId rms_normalize(const std::string& name, ValueId x, float epsilon);
  ValueId mul(const std::string& name, ValueId x, ValueId y);
  ValueId scale(const std::string& name, ValueId x, WeightId gain);  // mul by a vector
  ValueId add(const std::string& name, ValueId x, ValueId y);
  ValueId linear(const std::string& name, ValueId x, WeightId weight);
  ValueId silu(const std::string& name, ValueId x);
  ValueId last_row(const std::string& name, ValueId x);
  void output(ValueId x);

  // Any op; `op.output` is filled in. Used for the kinds with many attributes.
  ValueId append(const std::string& name, Op op);

  // The verified graph, or the first mistake.
  Result<Graph> finish();

 private:
  Graph graph_;
  std::unordered_map<std::string, WeightId> weight_ids_;
  Status mistake_;
};

}  // namespace cria::ir
