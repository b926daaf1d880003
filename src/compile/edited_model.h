// The weights of a checkpoint after exact changes (quantize/weight_edit.h), tensor by tensor, with
// statistics that follow the changes. Nothing is kept in memory but what is asked for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "quantize/statistics.h"
#include "quantize/weight_edit.h"

namespace cria {

// Works on the pool's threads: one call at a time.
class EditedModel {
 public:
  // `statistics` may be null. All three must outlive it.
  EditedModel(const Checkpoint& checkpoint, const Statistics* statistics, ThreadPool& pool)
      : checkpoint_(checkpoint), statistics_(statistics), pool_(pool) {}

  const LlamaConfig& config() const { return checkpoint_.config(); }
  ThreadPool& pool() const { return pool_; }

  // The edit comes after those that the weight has.
  void edit(const std::string& weight_name, WeightEdit edit);
  const WeightEdits& edits_of(std::string_view weight_name) const;

  // Vectors (norm gains, signs): what was set, else the checkpoint's. kNotFound.
  void set_vector(const std::string& name, std::vector<float> values);
  Result<std::vector<float>> vector(std::string_view name) const;

  // Rows [first, first + n_rows) of a matrix, edited. REQUIRES: as apply_edits. kBadInput: not a
  // number or infinity, with tensor, row and column.
  Result<Matrix> rows(const StoredWeight& stored, std::int64_t first, std::int64_t n_rows) const;

  // Of the edited input of the linear with this weight, which for a tied head is the embedding.
  // kInvalidArgument: there are no statistics, this weight multiplies nothing (the embedding of an
  // untied head), or they are of another width. kNotFound: none for this weight.
  Result<InputStatistics> input_of(const StoredWeight& stored) const;
  Result<Matrix> hessian_of(const StoredWeight& stored) const;
  bool has_input(std::string_view weight_name) const;

 private:
  Result<std::string> statistics_name(std::string_view weight_name) const;

  const Checkpoint& checkpoint_;
  const Statistics* statistics_;
  ThreadPool& pool_;
  std::map<std::string, WeightEdits, std::less<>> edits_;
  std::map<std::string, std::vector<float>, std::less<>> vectors_;
};

// "blk.3.attn_q.weight"
std::string layer_weight(std::int64_t layer, std::string_view part);

}  // namespace cria
