#include "compile/edited_model.h"

#include <cassert>

#include "compile/convert_weight.h"

namespace cria {
namespace {

constexpr const char* kEmbedding = "token_embd.weight";
constexpr const char* kHead = "output.weight";

Status check_width(const StoredWeight& stored, std::int64_t n_cols) {
  if (n_cols == stored.n_cols) return Status();
  return invalid_argument("{}: {} inputs, the statistics are of {}", stored.name, stored.n_cols,
                          n_cols);
}

}  // namespace

void EditedModel::edit(const std::string& weight_name, WeightEdit edit) {
  edits_[weight_name].push_back(std::move(edit));
}

const WeightEdits& EditedModel::edits_of(std::string_view weight_name) const {
  static const WeightEdits kNone;
  const auto found = edits_.find(weight_name);
  return found == edits_.end() ? kNone : found->second;
}

void EditedModel::set_vector(const std::string& name, std::vector<float> values) {
  vectors_[name] = std::move(values);
}

Result<std::vector<float>> EditedModel::vector(std::string_view name) const {
  if (const auto own = vectors_.find(name); own != vectors_.end()) return own->second;
  CRIA_ASSIGN_OR_RETURN(const StoredWeight* stored, checkpoint_.weight(name));
  return convert_vector(*stored);
}

Result<Matrix> EditedModel::rows(const StoredWeight& stored, std::int64_t first,
                                 std::int64_t n_rows) const {
  CRIA_RETURN_IF_ERROR(check_stored(stored));
  assert(first >= 0 && first + n_rows <= stored.n_rows);
  Matrix matrix(n_rows, stored.n_cols);
  std::vector<Status> statuses(static_cast<std::size_t>(n_rows));
  pool_.parallel_for(n_rows, [&](std::int64_t r, int) {
    statuses[r] = decode_finite_row(stored, first + r, matrix.row(r));
  });
  for (Status& status : statuses) CRIA_RETURN_IF_ERROR(std::move(status));
  apply_edits(edits_of(stored.name), first, matrix, pool_);
  return matrix;
}

bool EditedModel::has_input(std::string_view weight_name) const {
  return weight_name != kEmbedding || config().tied_embeddings;
}

Result<std::string> EditedModel::statistics_name(std::string_view weight_name) const {
  if (statistics_ == nullptr) {
    return invalid_argument("{}: statistics of its input are needed, there are none", weight_name);
  }
  if (!has_input(weight_name)) {
    return invalid_argument("{}: only looked up, so that there are no statistics of its input",
                            weight_name);
  }
  return std::string(weight_name == kEmbedding ? kHead : weight_name);
}

Result<InputStatistics> EditedModel::input_of(const StoredWeight& stored) const {
  CRIA_ASSIGN_OR_RETURN(const std::string name, statistics_name(stored.name));
  CRIA_ASSIGN_OR_RETURN(InputStatistics statistics, statistics_->input_of(name));
  CRIA_RETURN_IF_ERROR(
      check_width(stored, static_cast<std::int64_t>(statistics.mean_square.size())));
  edit_statistics(edits_of(stored.name), statistics);
  return statistics;
}

Result<Matrix> EditedModel::hessian_of(const StoredWeight& stored) const {
  CRIA_ASSIGN_OR_RETURN(const std::string name, statistics_name(stored.name));
  CRIA_ASSIGN_OR_RETURN(Matrix hessian, statistics_->hessian_of(name));
  CRIA_RETURN_IF_ERROR(check_width(stored, hessian.n_cols));
  edit_hessian(edits_of(stored.name), hessian, pool_);
  return hessian;
}

std::string layer_weight(std::int64_t layer, std::string_view part) {
  return fmt::format("blk.{}.{}.weight", layer, part);
}

}  // namespace cria
