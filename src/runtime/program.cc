#include "runtime/program.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "format/pte/pte_reader.h"

namespace cria {

Program::Program(MappedFile file, std::unique_ptr<const pte::PteFile> pte)
    : file_(std::move(file)), pte_(std::move(pte)) {
  for (const pte::ExecutionPlan& plan : pte_->program.execution_plans) {
    method_names_.push_back(plan.name);
  }
  named_data_.reserve(pte_->program.named_data.size());
  for (const pte::NamedData& data : pte_->program.named_data) {
    named_data_.emplace(data.key, pte_->segment(data.segment_index));
  }
}

Program::~Program() = default;

Result<std::shared_ptr<const Program>> Program::load(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Program> program, of_file(std::move(file), path));
  return program;
}

Result<std::shared_ptr<Program>> Program::load_for_edits(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open_for_edits(path));
  return of_file(std::move(file), path);
}

Result<std::shared_ptr<Program>> Program::of_file(MappedFile file, const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(pte::PteFile pte, pte::read_pte(file.bytes(), path));
  return std::shared_ptr<Program>(
      new Program(std::move(file), std::make_unique<const pte::PteFile>(std::move(pte))));
}

bool Program::has_method(std::string_view name) const {
  return std::ranges::find(method_names_, name) != method_names_.end();
}

Result<const pte::ExecutionPlan*> Program::plan(std::string_view method) const {
  const pte::ExecutionPlan* plan = pte_->program.find_method(method);
  if (plan != nullptr) return plan;
  return not_found("{}: no method {}, there are: {}", path(), method,
                   fmt::join(method_names_, ", "));
}

Result<std::vector<std::int64_t>> Program::constants(std::string_view name) const {
  CRIA_ASSIGN_OR_RETURN(const pte::ExecutionPlan* plan, this->plan(name));
  const bool has_code = std::ranges::any_of(
      plan->chains, [](const pte::Chain& chain) { return !chain.instructions.empty(); });
  if (has_code || !plan->inputs.empty() || plan->outputs.empty()) {
    return bad_input("{}: method {} is not a constant", path(), name);
  }
  std::vector<std::int64_t> constants;
  for (std::int32_t index : plan->outputs) {
    const pte::Value& value = plan->values[static_cast<std::size_t>(index)];
    if (const auto* number = std::get_if<std::int64_t>(&value)) {
      constants.push_back(*number);
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      constants.push_back(*flag ? 1 : 0);
    } else {
      return bad_input("{}: method {} returns a {}, expected an int or a bool", path(), name,
                       pte::value_kind_name(value));
    }
  }
  return constants;
}

Result<std::int64_t> Program::constant(std::string_view name) const {
  CRIA_ASSIGN_OR_RETURN(const std::vector<std::int64_t> values, constants(name));
  if (values.size() == 1) return values[0];
  return bad_input("{}: method {} returns {} values, expected one", path(), name, values.size());
}

Result<std::span<const std::byte>> Program::named_data(std::string_view key) const {
  const auto found = named_data_.find(key);
  if (found == named_data_.end()) return not_found("{}: no named data '{}'", path(), key);
  return found->second;
}

Result<std::span<std::byte>> Program::edit_named_data(std::string_view key) {
  CRIA_ASSIGN_OR_RETURN(const std::span<const std::byte> data, named_data(key));
  return file_.edit(offset_of(data), data.size());
}

Status Program::undo_edits(std::string_view key) {
  CRIA_ASSIGN_OR_RETURN(const std::span<const std::byte> data, named_data(key));
  return file_.undo_edits(offset_of(data), data.size());
}

std::uint64_t Program::named_data_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [key, bytes] : named_data_) total += bytes.size();
  return total;
}

}  // namespace cria
